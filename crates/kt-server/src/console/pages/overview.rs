//! `/overview`: how things stand, at a glance.

use askama::Template;
use axum::extract::State;
use kt_control::{AllowlistStatus, Concern, Overview, Step, Window};
use kt_domain::actor::Permission;
use kt_domain::traffic::Measure;
use serde::Deserialize;

use super::connect_provider;
use super::mfa::Signal;
use crate::Doors;
use crate::console::answer::{Answer, Frame, page};
use crate::console::asked::Asked;
use crate::console::columns::{Chart, Column, Series};
use crate::console::filters;
use crate::console::visit::SignedIn;

#[derive(Template)]
#[template(path = "pages/overview.html")]
struct OverviewPage {
    frame: Frame,
    overview: Overview,
    requests: Chart,
    durations: Chart,
    /// Whether to lead to the guided set-up.
    is_to_connect: bool,
    signal: Signal,
}

/// What somebody sees who uses the workspaces and looks after nothing.
#[derive(Template)]
#[template(path = "pages/welcome.html")]
struct WelcomePage {
    frame: Frame,
    name: String,
    organization: String,
    may_use_keys: bool,
    may_infer: bool,
    signal: Signal,
}

/// How far back the figures are to reach.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reach {
    window: Option<String>,
}

/// The page.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    asked: Asked<Reach>,
) -> Answer {
    let signal = Signal::of_holder(&doors, &visit).await?;
    if !visit.may(Permission::ReadSettings) {
        let template = WelcomePage {
            frame: Frame::of(&visit),
            name: session.name,
            organization: session.organization_name,
            may_use_keys: visit.may(Permission::UseKeys),
            may_infer: visit.may(Permission::Infer),
            signal,
        };
        return page(&visit.look, &template);
    }
    let window = asked.filter.window.and_then(|word| word.parse().ok()).unwrap_or(Window::Day);
    let overview = doors.control.overview(&visit.ctx, window).await?;
    let steps = &overview.traffic.steps;
    let requests = Chart::stacked(&REQUESTS, steps.iter().map(outcomes));
    let durations = Chart::nested(&DURATIONS, steps.iter().map(times));
    let is_to_connect = connect_provider::is_to_connect(&doors, &visit).await?;
    let frame = Frame::of(&visit);
    page(&visit.look, &OverviewPage { frame, overview, requests, durations, is_to_connect, signal })
}

const REQUESTS: [Series; 5] = [
    Series { name: "Allowed", class: "accent" },
    Series { name: "Redacted", class: "warn" },
    Series { name: "Escalated", class: "good" },
    Series { name: "Blocked by a policy", class: "bad" },
    Series { name: "Refused at the door", class: "soft" },
];

fn outcomes(step: &Step) -> Column {
    let tally = &step.tally;
    let outcomes = [Measure::Allowed, Measure::Redacted, Measure::Escalated, Measure::Blocked];
    let values = outcomes.map(|measure| tally.of(measure)).into_iter().chain([tally.refused()]).collect();
    Column { begins_at: step.begins_at, values }
}

const DURATIONS: [Series; 2] =
    [Series { name: "95 of 100 within", class: "soft" }, Series { name: "Half within", class: "accent" }];

fn times(step: &Step) -> Column {
    // What took less than a millisecond can be seen too.
    let within = |percent| step.tally.percentile(percent).map_or(0, |milliseconds| milliseconds.max(1));
    Column { begins_at: step.begins_at, values: vec![within(95), within(50)] }
}

impl OverviewPage {
    fn count(&self, measure: Measure) -> u64 {
        self.overview.traffic.total.of(measure)
    }

    /// The milliseconds within which this part of the requests was answered.
    fn within(&self, percent: u64) -> Option<u64> {
        self.overview.traffic.total.percentile(percent)
    }

    fn has_tokens(&self) -> bool {
        self.count(Measure::InputTokens) + self.count(Measure::OutputTokens) > 0
    }

    fn allowlist(&self) -> &'static str {
        match self.overview.posture.allowlist {
            AllowlistStatus::Enforced => "Enforced",
            AllowlistStatus::Empty => "Enforced, and empty",
            AllowlistStatus::Off => "Off",
        }
    }

    /// Since when the figures of traffic count, as an address has it.
    fn since(&self) -> String {
        self.overview.traffic.steps.first().map(|step| step.begins_at.to_string()).unwrap_or_default()
    }

    /// Why requests were refused before any policy was asked: how many, the text for it, and where those are listed.
    fn refusals(&self) -> Vec<(u64, &'static str, String)> {
        let reasons = [
            (Measure::IpDenied, "{} for their address", "ip_denied"),
            (Measure::AuthFailed, "{} for their key", "auth_failed"),
            (Measure::RateLimited, "{} by a limit", "rate_limited"),
            (Measure::TooLarge, "{} for their size", "request_too_large"),
        ];
        let since = self.since();
        let listed = reasons.into_iter().map(|(measure, text, event_type)| {
            (self.count(measure), text, format!("/events?event_type={event_type}&since={since}"))
        });
        listed.filter(|(count, ..)| *count > 0).collect()
    }

    /// What waits: how many, what it is, where to go, and the sign for it.
    fn concerns(&self) -> Vec<(Option<u64>, &'static str, String, &'static str)> {
        let failed_since = self.overview.posture.failed_since;
        let row = |concern: &Concern| match *concern {
            Concern::PeopleWaiting(count) => {
                (some(count), "People who wait to be let in", "/settings/members", "user-check")
            }
            Concern::SetupRequested(count) => {
                (some(count), "Members who ask that a gateway be set up", "/request-setup", "message-square")
            }
            Concern::SignInsFail(count) => (
                some(count),
                "Failed sign-ins within 24 hours, far more than usual: somebody may be guessing passwords",
                FAILED_SIGN_INS,
                "shield-alert",
            ),
            Concern::EventsLost(count) => (
                Some(count),
                "Events that gateways could not keep: look at the disk of the gateway",
                "/events?event_type=events_lost",
                "triangle-alert",
            ),
            Concern::AuditWaits(count) => (
                some(count),
                "Entries of the audit log wait to be sent elsewhere: the operator finds out why with kt doctor",
                "/audit-log?action=audit.sink_late",
                "scroll-text",
            ),
            Concern::MailWaits(count) => (
                some(count),
                "Messages could not be sent: the operator finds out why with kt doctor",
                "/audit-log?action=mail.failed",
                "mail",
            ),
            Concern::GatewaysSilent(count) => {
                (some(count), "Gateways that have stopped reporting", "/gateways", "waypoints")
            }
            Concern::KeysToRotate(count) => (
                some(count),
                "Keys that break what the organization demands of keys",
                "/settings/access-keys?state=flagged",
                "key-round",
            ),
            Concern::KeysExpire(count) => (
                some(count),
                "Keys that expire within seven days",
                "/settings/access-keys?state=expiring",
                "clock",
            ),
            Concern::FactorsMissing(count) => (
                some(count),
                "Members who lack the second factor that is asked of them",
                "/settings/members?mfa=missing",
                "smartphone",
            ),
            Concern::AllowlistEmpty => (
                None,
                "The allow list is enforced and holds nothing, so every address is let in",
                "/settings/security#network",
                "network",
            ),
            Concern::CertificateEnds => (
                None,
                "The certificate of the identity provider ends within 30 days, or has ended: replace it once the provider has a new one",
                "/settings/security/sso",
                "clock",
            ),
            Concern::OwnCertificateEnds => (
                None,
                "Our own certificate for the identity provider ends within 30 days, or has ended: make the next key",
                "/settings/security/sso",
                "clock",
            ),
            Concern::ProviderUnreachable => (
                None,
                "The identity provider cannot be asked for its metadata or keys: nobody can sign in with SSO",
                "/settings/security/sso",
                "triangle-alert",
            ),
            Concern::DomainsMissing(count) => (
                some(count),
                "Domains whose TXT record is gone: they stop counting as yours",
                "/settings/security/sso",
                "triangle-alert",
            ),
        };
        let rows = self.overview.concerns.iter().map(row);
        let whole = |place: &str| match place {
            FAILED_SIGN_INS => format!("{place}&since={failed_since}"),
            _ => place.to_owned(),
        };
        rows.map(|(count, text, place, icon)| (count, text, whole(place), icon)).collect()
    }
}

/// Sign-ins that failed; the moment from which on they count is to follow.
const FAILED_SIGN_INS: &str = "/audit-log?action=auth.sign_in&outcome=failure";

fn some(count: i64) -> Option<u64> {
    u64::try_from(count).ok()
}
