//! How well an organization stands, in figures: now, and once a day for the chart (R149–R156).

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::network::console_rules::IpRestrictions;
use kt_domain::words;
use kt_store::posture::{self, Figures};
use kt_store::{Source, organizations};

use crate::control::Control;
use crate::ip_restrictions::IP_RESTRICTIONS;

/// How the allow list of addresses stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowlistStatus {
    /// It is applied.
    Enforced,
    /// It is to be applied and holds nothing, so that every address is let in.
    Empty,
    /// It is not applied.
    Off,
}

words!(AllowlistStatus { Enforced = "enforced", Empty = "empty", Off = "off" });

/// How an organization stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posture {
    /// The figures of this moment.
    pub figures: Figures,
    /// Since when sign-ins are counted that failed.
    pub failed_since: Timestamp,
    /// How the allow list stands.
    pub allowlist: AllowlistStatus,
    /// The figures of the days before and of this day's beginning, the oldest first.
    pub history: Vec<(Date, Figures)>,
}

/// How far the history reaches back.
const HISTORY: Duration = Duration::from_hours(90 * 24);

impl Control {
    /// How the organization stands at this moment, with its history.
    pub async fn posture(&self, ctx: &Ctx) -> Result<Posture, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let (figures, allowlist) = self.figures(ctx, &self.store, organization).await?;
        let history = posture::snapshots(&self.store, organization).await?;
        Ok(Posture { figures, failed_since: ctx.now - posture::DAY, allowlist, history })
    }

    /// Keeps the figures of each organization once a day (UTC), however many processes do this, and forgets those that
    /// are older than 90 days.
    pub(crate) async fn keep_postures(&self, ctx: &Ctx) -> Result<(), Error> {
        let day = ctx.now.to_zoned(TimeZone::UTC).date();
        let organizations = posture::without_snapshot(&self.store, day).await?;
        if organizations.is_empty() {
            return Ok(());
        }
        let tx = self.store.begin_write().await?;
        for organization in organizations {
            let (figures, _) = self.figures(ctx, &tx, &organization).await?;
            posture::keep_snapshot(&tx, &organization, day, &figures).await?;
        }
        let first_kept = day.saturating_sub(jiff::Span::try_from(HISTORY).map_err(Error::internal)?);
        posture::forget_snapshots(&tx, first_kept).await?;
        Ok(tx.commit().await?)
    }

    async fn figures(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        organization: &OrganizationId,
    ) -> Result<(Figures, AllowlistStatus), Error> {
        let settings = self.security_of(source, organization).await?.value;
        let lists =
            organizations::settings::<IpRestrictions>(source, organization, IP_RESTRICTIONS).await?.value;
        let allowlist = match (lists.enforce_allowlist, lists.allow.is_empty()) {
            (false, _) => AllowlistStatus::Off,
            (true, true) => AllowlistStatus::Empty,
            (true, false) => AllowlistStatus::Enforced,
        };
        let living = settings.session.living_since(ctx.now);
        let is_enforced = allowlist == AllowlistStatus::Enforced;
        let figures = posture::figures(source, organization, living, is_enforced, ctx.now).await?;
        Ok((figures, allowlist))
    }
}
