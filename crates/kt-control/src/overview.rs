//! How things stand at a glance: traffic in figures, posture, and what waits for somebody.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::traffic::{Measure, Tally};
use kt_domain::unusual::is_unusual;
use kt_domain::words;
use kt_store::identity_providers::IdentityProvider;
use kt_store::{Tx, attention, events, identity_providers};

use crate::control::Control;
use crate::gateways::GONE_AFTER;
use crate::lateness::Lateness;
use crate::posture::{AllowlistStatus, Posture};
use crate::sso::OwnCertificates;

/// How far back figures of traffic reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 24 hours, hour by hour.
    Day,
    /// Seven days, six hours at a time.
    Week,
}

words!(Window { Day = "24h", Week = "7d" });

impl Window {
    /// How many steps, of how many hours each.
    const fn steps(self) -> (i64, i64) {
        match self {
            Self::Day => (24, 1),
            Self::Week => (28, 6),
        }
    }
}

/// Traffic in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// How far back it reaches.
    pub window: Window,
    /// Steps of equal length, the oldest first; the last one is under way.
    pub steps: Vec<Step>,
    /// All steps together.
    pub total: Tally,
}

/// The figures of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it begins: at a full hour.
    pub begins_at: Timestamp,
    /// What its events add up to.
    pub tally: Tally,
}

/// Something that waits for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// So many people wait to be let in.
    PeopleWaiting(i64),
    /// So many members ask that a gateway be set up.
    SetupRequested(i64),
    /// So many sign-ins failed within a day, far more than usual.
    SignInsFail(i64),
    /// So many events were lost by gateways.
    EventsLost(u64),
    /// So many entries of the audit log wait too long for a sink outside.
    AuditWaits(i64),
    /// So many messages wait too long, or were given up within a day.
    MailWaits(i64),
    /// So many gateways do not report.
    GatewaysSilent(i64),
    /// So many keys break what is demanded of keys.
    KeysToRotate(i64),
    /// So many keys expire within a week.
    KeysExpire(i64),
    /// So many members lack the second factor that is asked of them.
    FactorsMissing(i64),
    /// The allow list is to be applied, and lets in everybody because it is empty.
    AllowlistEmpty,
    /// The last certificate of the identity provider ends soon, or has.
    CertificateEnds,
    /// The certificate ends soon, or has, by which the identity provider knows us.
    OwnCertificateEnds,
    /// The identity provider cannot be asked for its metadata or keys, so that nobody comes in through it.
    ProviderUnreachable,
    /// The records of so many domains are gone that show them to be the organization's.
    DomainsMissing(i64),
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// What the gateways did.
    pub traffic: Traffic,
    /// How well the organization stands.
    pub posture: Posture,
    /// What waits, the most urgent first.
    pub concerns: Vec<Concern>,
    /// Whether a gateway has ever delivered something.
    pub has_events: bool,
}

/// The days before to which failed sign-ins are compared.
const DAYS_COMPARED: usize = 7;

/// How long figures of traffic are kept.
const KEPT: Duration = Duration::from_hours(90 * 24);

impl Control {
    /// How the organization stands at this moment.
    pub async fn overview(&self, ctx: &Ctx, window: Window) -> Result<Overview, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let traffic = self.traffic(ctx, window).await?;
        let posture = self.posture(ctx).await?;
        let silent_since = ctx.now - GONE_AFTER;
        let restrictions = self.security_of(&self.store, organization).await?.value.api_keys;
        let waiting =
            attention::waiting(&self.store, organization, &restrictions, silent_since, ctx.now).await?;
        let without_factor = self.members_asked(organization).await?;
        let provider = identity_providers::enabled(&self.store, organization).await?;
        let provider = provider.filter(|provider| self.offers(provider.details.protocol()));
        let lateness = self.lateness(ctx, organization).await?;
        let single_sign_on =
            provider.map_or(Ok(SingleSignOn::default()), |it| SingleSignOn::of(&it, ctx.now))?;
        let concerns = concerns(&waiting, without_factor, &posture, &traffic.total, lateness, single_sign_on);
        let has_events = events::any(&self.store, organization).await?;
        Ok(Overview { traffic, posture, concerns, has_events })
    }

    /// What the organization's gateways did, in figures.
    pub async fn traffic(&self, ctx: &Ctx, window: Window) -> Result<Traffic, Error> {
        let organization = ctx.require(Permission::ReadEvents)?;
        let (count, hours) = window.steps();
        let last = events::hour_of(ctx.now).div_euclid(hours) * hours;
        let from = last - (count - 1) * hours;
        let mut tallies =
            events::tallies(&self.store, organization, from, from + count * hours, hours).await?;
        let mut total = Tally::default();
        let mut steps = Vec::new();
        for step in 0..count {
            let tally = tallies.remove(&step).unwrap_or_default();
            total.absorb(&tally);
            let begins_at = Timestamp::from_second((from + step * hours) * 3600).map_err(Error::internal)?;
            steps.push(Step { begins_at, tally });
        }
        Ok(Traffic { window, steps, total })
    }
}

/// Forgets the figures of traffic that are older than 90 days.
pub(crate) async fn forget_old_counts(tx: &Tx<'_>, now: Timestamp) -> Result<(), Error> {
    Ok(events::forget_counts(tx, events::hour_of(now - KEPT)).await?)
}

/// What there is to say of the identity provider that is turned on.
#[derive(Clone, Copy, Debug, Default)]
struct SingleSignOn {
    is_unreachable: bool,
    certificate_ends: bool,
    own_certificate_ends: bool,
}

impl SingleSignOn {
    fn of(provider: &IdentityProvider, now: Timestamp) -> Result<Self, Error> {
        let saml = provider.details.saml();
        let own = saml.map(OwnCertificates::of).transpose()?;
        Ok(Self {
            is_unreachable: provider.problem.is_some(),
            certificate_ends: saml.is_some_and(|saml| saml.certificates_end_soon(now).is_some()),
            own_certificate_ends: own.is_some_and(|own| own.ends_soon(now).is_some()),
        })
    }
}

fn concerns(
    waiting: &attention::Waiting,
    without_factor: i64,
    posture: &Posture,
    traffic: &Tally,
    lateness: Lateness,
    single_sign_on: SingleSignOn,
) -> Vec<Concern> {
    let figures = &posture.figures;
    let days = posture.history.iter().rev().take(DAYS_COMPARED);
    let before: Vec<i64> = days.map(|(_, day)| day.failed_logins_24h).collect();
    let lost = traffic.of(Measure::EventsLost);
    let all = [
        (single_sign_on.is_unreachable, Concern::ProviderUnreachable),
        (waiting.people > 0, Concern::PeopleWaiting(waiting.people)),
        (waiting.setup_requests > 0, Concern::SetupRequested(waiting.setup_requests)),
        (is_unusual(figures.failed_logins_24h, &before), Concern::SignInsFail(figures.failed_logins_24h)),
        (lost > 0, Concern::EventsLost(lost)),
        (lateness.entries > 0, Concern::AuditWaits(lateness.entries)),
        (lateness.messages > 0, Concern::MailWaits(lateness.messages)),
        (waiting.silent_gateways > 0, Concern::GatewaysSilent(waiting.silent_gateways)),
        (waiting.flagged_keys > 0, Concern::KeysToRotate(waiting.flagged_keys)),
        (figures.keys_expiring_soon > 0, Concern::KeysExpire(figures.keys_expiring_soon)),
        (without_factor > 0, Concern::FactorsMissing(without_factor)),
        (posture.allowlist == AllowlistStatus::Empty, Concern::AllowlistEmpty),
        (single_sign_on.certificate_ends, Concern::CertificateEnds),
        (single_sign_on.own_certificate_ends, Concern::OwnCertificateEnds),
        (waiting.missing_domains > 0, Concern::DomainsMissing(waiting.missing_domains)),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, concern)| concern).collect()
}
