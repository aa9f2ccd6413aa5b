//! `/events`: what the gateways have recorded, looked through, followed, copied out and explained.

use askama::Template;
use axum::extract::{Path, State};
use jiff::Timestamp;
use kt_control::{ChainStanding, EventView, EventsFormat, PageRequest};
use kt_domain::error::Error;
use kt_domain::events::{EventType, FailedAttempt, PolicyEvaluation, Verdict};
use kt_domain::secret::SecretDigest;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::connect_provider::{address_of, to_call};
use crate::Doors;
use crate::api::events::EventsParams;
use crate::console::answer::{Answer, Frame, page};
use crate::console::asked::{Asked, Listing};
use crate::console::filters;
use crate::console::places::{place_of, place_of_gateway};
use crate::console::visit::SignedIn;
use crate::download;

/// What of an event its pages show by itself. Newer gateways may say more.
#[derive(Deserialize)]
struct ShownEvent {
    id: String,
    timestamp: Timestamp,
    event_type: EventType,
    verdict: Option<Verdict>,
    method: Option<String>,
    request_path: Option<String>,
    request_id: Option<String>,
    model: Option<String>,
    target_id: Option<String>,
    status: Option<u16>,
    duration_ms: Option<u64>,
    source_ip: Option<String>,
    gateway_id: String,
    reason_code: Option<String>,
    key_id: Option<String>,
    user_id: Option<String>,
    count: Option<u64>,
    #[serde(default)]
    policies_evaluated: Vec<PolicyEvaluation>,
    #[serde(default)]
    failed_attempts: Vec<FailedAttempt>,
}

impl ShownEvent {
    fn read(body: &str) -> Result<Self, Error> {
        serde_json::from_str(body).map_err(Error::internal)
    }

    /// Whether a policy refused it: what is malformed is refused as well, before any policy is asked.
    fn is_blocked_by_policy(&self) -> bool {
        self.policies_evaluated.iter().any(PolicyEvaluation::blocks)
    }

    /// What it reports, in a word.
    fn word(&self) -> &'static str {
        match (self.event_type, self.verdict) {
            (EventType::Decision, Some(Verdict::Block)) if !self.is_blocked_by_policy() => "Not served",
            (EventType::Decision, Some(verdict)) => word_of(verdict),
            (event_type, _) => type_word(event_type),
        }
    }

    /// How that looks.
    fn mood(&self) -> &'static str {
        match (self.event_type, self.verdict) {
            (EventType::Decision, Some(Verdict::Block)) if !self.is_blocked_by_policy() => "warn",
            (EventType::Decision, Some(verdict)) => mood_of(verdict),
            (EventType::EventsLost, _) => "bad",
            (EventType::Decision, None) => "",
            _ => "warn",
        }
    }
}

fn word_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "Allowed",
        Verdict::Block => "Blocked",
        Verdict::Redact => "Redacted",
        Verdict::Escalate => "Escalated",
    }
}

fn mood_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "good",
        Verdict::Block => "bad",
        Verdict::Redact => "warn",
        Verdict::Escalate => "accent",
    }
}

fn type_word(event_type: EventType) -> &'static str {
    match event_type {
        EventType::AuthFailed => "Key refused",
        EventType::Decision => "Decision",
        EventType::EventsLost => "Events lost",
        EventType::IpDenied => "Address refused",
        EventType::RateLimited => "Limit reached",
        EventType::RequestTooLarge => "Too large",
    }
}

/// What can be chosen to narrow the list: the word of the API, and the one for people.
const TYPES: [(&str, &str); 6] = [
    ("decision", "Decision"),
    ("ip_denied", "Address refused"),
    ("auth_failed", "Key refused"),
    ("rate_limited", "Limit reached"),
    ("request_too_large", "Too large"),
    ("events_lost", "Events lost"),
];

const VERDICTS: [(&str, &str); 4] = [
    ("allow", "Allowed"),
    ("block", "Blocked or not served"),
    ("redact", "Redacted"),
    ("escalate", "Escalated"),
];

#[derive(Template)]
#[template(path = "pages/events.html")]
struct EventsPage {
    frame: Frame,
    listing: Listing,
    asked: EventsParams,
    events: Vec<ShownEvent>,
    chains: Vec<ChainStanding>,
    /// Where a gateway says that it is reached.
    address: String,
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<EventsParams>,
) -> Answer {
    let found = doors.control.events(&visit.ctx, &asked.filter.filter()?, &asked.page).await?;
    let events = found.items.iter().map(|body| ShownEvent::read(body)).collect::<Result<Vec<_>, _>>()?;
    // One that comes late stands behind others that were here before it: the newest alone does not tell that it has come.
    let shown: String = events.iter().map(|event| event.id.as_str()).collect();
    let shown = (!shown.is_empty()).then(|| SecretDigest::of(&shown).to_string());
    if let Some(nothing) = asked.nothing_new(shown.as_deref()) {
        return Ok(nothing);
    }
    let listing = asked.listing(shown.as_deref(), found.next_cursor.as_deref());
    let chains = doors.control.event_chains(&visit.ctx).await?;
    let gateways = if events.is_empty() {
        doors.control.gateways(&visit.ctx, "", &PageRequest::default()).await?.items
    } else {
        Vec::new()
    };
    let address = address_of(to_call(&gateways, None)).to_owned();
    let template =
        EventsPage { frame: Frame::of(&visit), listing, asked: asked.filter, events, chains, address };
    page(&visit.look, &template)
}

#[derive(Template)]
#[template(path = "pages/event.html")]
struct EventPage {
    frame: Frame,
    event: ShownEvent,
    /// Every field that has no place of its own, by its name in the API.
    fields: Vec<(String, String)>,
    /// The whole of it.
    text: String,
    view: EventView,
    /// Where whoever asked, the key that they came with, and the gateway are shown.
    user_place: Option<String>,
    key_place: Option<String>,
    gateway_place: Option<String>,
}

/// One event.
pub(crate) async fn show_one(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let view = doors.control.event(&visit.ctx, &id).await?;
    let event = ShownEvent::read(&view.body)?;
    let all: Map<String, Value> = serde_json::from_str(&view.body).map_err(Error::internal)?;
    let text = serde_json::to_string_pretty(&all).map_err(Error::internal)?;
    let fields = all.iter().filter(|(name, _)| !is_shown_apart(name)).map(field).collect();
    let template = EventPage {
        frame: Frame::of(&visit),
        user_place: place_of(&doors, &visit, event.user_id.as_deref()).await?,
        key_place: place_of(&doors, &visit, event.key_id.as_deref()).await?,
        gateway_place: place_of_gateway(&doors, &visit, &event.gateway_id).await?,
        event,
        fields,
        text,
        view,
    };
    page(&visit.look, &template)
}

fn is_shown_apart(name: &str) -> bool {
    matches!(name, "policies_evaluated" | "failed_attempts")
}

fn field((name, value): (&String, &Value)) -> (String, String) {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (name.clone(), text)
}

/// A copy of the events that fit, as a file in the form that the address ends in.
pub(crate) async fn export(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(format): Path<String>,
    asked: Asked<EventsParams>,
) -> Answer {
    let format = format.parse().map_err(|_| Error::not_found("form of a copy"))?;
    let copy = doors.control.export_events(&visit.ctx, format, asked.filter.filter()?).await?;
    let (content_type, disposition) = match format {
        EventsFormat::Jsonl => ("application/jsonl", "attachment; filename=\"events.jsonl\""),
        EventsFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"events.csv\""),
    };
    Ok(download::attachment(&doors.control, copy, content_type, disposition))
}
