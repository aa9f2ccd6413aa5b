//! `/settings/security`: how one's own account is protected, and for those who may see it how the organization is.

pub(in crate::console) mod forms;
pub(in crate::console) mod network;
mod ranges;
pub(in crate::console) mod saml;
pub(in crate::console) mod sessions;
pub(in crate::console) mod sso;

use askama::Template;
use axum::extract::State;
use kt_control::{FactorFilter, MemberView, PageRequest, Posture, SecondFactors, SecurityView, WhichMembers};
use kt_domain::actor::{Permission, Role};
use kt_domain::deployment_settings::ManagedBy;
use kt_domain::error::Error;
use kt_domain::mfa::{Demand, MfaSettings};
use kt_domain::passwords::Preset;
use kt_domain::span::Span;
use serde_json::Value;

use self::network::Network;
use super::mfa::Signal;
use crate::Doors;
use crate::console::answer::{Answer, Frame, page};
use crate::console::chart::DailyChart;
use crate::console::filters;
use crate::console::labels::Label;
use crate::console::visit::{SignedIn, Visit};

const PAGE: &str = "/settings/security";

/// The longest time that the form offers until a session ends.
const LONGEST_TIMEOUT: &str = "4h";

#[derive(Template)]
#[template(path = "pages/security.html")]
struct SecurityPage {
    frame: Frame,
    own: SecondFactors,
    signal: Signal,
    /// For whoever may see it.
    organization: Option<Organization>,
}

/// How an organization protects itself.
struct Organization {
    /// Whether whoever looks may change it.
    may_change: bool,
    security: SecurityView,
    posture: Posture,
    failed_sign_ins: DailyChart,
    without_second_factor: DailyChart,
    /// The policy that was to be saved and would shut somebody out.
    mfa_draft: Option<MfaDraft>,
    /// How many members lack a second factor, or the one that is asked of them, and the first of them.
    lacking: i64,
    late: Vec<MemberView>,
    network: Network,
}

/// A policy that was not saved, since it would leave members with nothing but enrolling at once.
struct MfaDraft {
    settings: MfaSettings,
    members: u64,
    /// Whether whoever has sent it is one of them.
    you: bool,
}

impl MfaDraft {
    /// What the refusal says of these settings.
    fn of(settings: MfaSettings, refusal: &Error) -> Self {
        let detail = |name: &str| refusal.details.get(name);
        Self {
            settings,
            members: detail("members").and_then(Value::as_u64).unwrap_or_default(),
            you: detail("you").and_then(Value::as_bool).unwrap_or_default(),
        }
    }
}

impl Organization {
    async fn of(doors: &Doors, visit: &Visit, network: Network) -> Result<Self, Error> {
        let posture = doors.control.posture(&visit.ctx).await?;
        let days = || posture.history.iter();
        let missing = WhichMembers { factor: Some(FactorFilter::Missing), ..WhichMembers::default() };
        let late = doors.control.members(&visit.ctx, &PageRequest::default(), &missing).await?;
        Ok(Self {
            may_change: visit.may(Permission::ChangeSettings),
            security: doors.control.security(&visit.ctx).await?,
            failed_sign_ins: DailyChart::new(days().map(|(day, figures)| (*day, figures.failed_logins_24h))),
            without_second_factor: DailyChart::new(
                days().map(|(day, figures)| (*day, figures.users_without_2fa)),
            ),
            mfa_draft: None,
            lacking: doors.control.members_lacking(&visit.ctx).await?,
            late: late.items,
            network,
            posture,
        })
    }

    /// Whether the deployment sets session lifetime, password policy and lockout.
    fn is_set_by_deployment(&self) -> bool {
        self.security.managed_by == ManagedBy::Deployment
    }

    /// Whether the sections that a deployment may set can be changed here by whoever looks.
    fn may_change_deployed(&self) -> bool {
        self.may_change && !self.is_set_by_deployment()
    }

    /// The name of the preset that the password policy holds; empty where it is none's.
    fn preset(&self) -> &'static str {
        match self.security.preset {
            Some(Preset::Recommended) => "recommended",
            Some(Preset::Nist80063b) => "NIST SP 800-63B",
            None => "",
        }
    }

    /// Whether this timeout is longer than the deployment allows. Where the deployment sets it, the whole form is locked.
    fn is_timeout_too_long(&self, timeout: &str) -> bool {
        timeout.parse::<Span>().is_ok_and(|timeout| timeout > self.security.loosest.session.timeout)
    }

    /// Whether a preset asks for less than the deployment does.
    fn is_preset_too_loose(&self, preset: Preset) -> bool {
        let policy = preset.policy(self.security.settings.mfa.is_enforced_for_all());
        !policy.looser_than(&self.security.loosest.password).is_empty()
    }

    /// Whether something of the session's form is greyed out, as it would be looser than the deployment allows.
    fn bounds_sessions(&self) -> bool {
        let loosest = &self.security.loosest.session;
        self.may_change_deployed() && (!loosest.idle || self.is_timeout_too_long(LONGEST_TIMEOUT))
    }

    /// The same for the password's forms.
    fn bounds_passwords(&self) -> bool {
        let floor = &self.security.loosest.password;
        let demands_kinds = floor.require_uppercase || floor.require_number || floor.require_special;
        let presets = [Preset::Recommended, Preset::Nist80063b];
        self.may_change_deployed()
            && (demands_kinds || presets.into_iter().any(|preset| self.is_preset_too_loose(preset)))
    }

    /// The fewest and the most days for which a password may last that can be chosen; 0 is for ever.
    fn ages(&self) -> (u32, u32) {
        match self.security.loosest.password.max_age_days {
            0 => (0, 3650),
            most => (1, most),
        }
    }

    /// Whom a second factor is asked of, as the form shows it.
    fn mfa(&self) -> &MfaSettings {
        self.mfa_draft.as_ref().map_or(&self.security.settings.mfa, |draft| &draft.settings)
    }

    /// Whether a second factor, or a better one, is asked of anybody.
    fn asks_for_factors(&self) -> bool {
        self.security.settings.mfa.asks(Role::Owner)
    }

    /// The time of grace, as the form's choices write it.
    fn grace(&self) -> String {
        self.mfa().grace_period.map_or_else(|| "0h".to_owned(), |grace| grace.to_string())
    }

    /// The ranges from which keys work, one in each line.
    fn key_ranges(&self) -> String {
        let ranges = self.security.settings.api_keys.allowed_ranges.iter();
        ranges.map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// The page.
pub(crate) async fn show(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    let network =
        if visit.may(Permission::ReadSettings) { Some(Network::kept(&doors, &visit).await?) } else { None };
    show_with(&doors, &visit, network).await
}

/// The page with this policy in its form.
async fn show_mfa_draft(doors: &Doors, visit: &Visit, draft: MfaDraft) -> Answer {
    let organization = Organization::of(doors, visit, Network::kept(doors, visit).await?).await?;
    show_of(doors, visit, Some(Organization { mfa_draft: Some(draft), ..organization })).await
}

/// The page with these IP restrictions in its form.
async fn show_with(doors: &Doors, visit: &Visit, network: Option<Network>) -> Answer {
    let organization = match network {
        Some(network) => Some(Organization::of(doors, visit, network).await?),
        None => None,
    };
    show_of(doors, visit, organization).await
}

async fn show_of(doors: &Doors, visit: &Visit, organization: Option<Organization>) -> Answer {
    let own = doors.control.second_factors(&visit.ctx).await?;
    let signal = Signal::of_holder(doors, visit).await?;
    page(&visit.look, &SecurityPage { frame: Frame::of(visit), own, signal, organization })
}
