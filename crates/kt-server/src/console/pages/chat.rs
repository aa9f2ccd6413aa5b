//! `/chat`: conversations with models, through a gateway. An answer streams to the page as plain text; what it says as
//! Markdown is shown once it is there.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use askama::Template;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame as BodyFrame;
use jiff::Timestamp;
use kt_control::{Ask, Conversation, ConversationView, Streaming, TurnView};
use kt_domain::actor::Permission;
use kt_domain::error::Error;
use kt_domain::events::Verdict;
use kt_domain::id::{ConversationId, TurnId};
use kt_domain::workspace::{Decision, Ending, Judged, Spent};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Fields, connect_provider};
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_and_say, page, see_and_say};
use crate::console::filters;
use crate::console::markdown::to_html;
use crate::console::visit::{SignedIn, Visit};

const PAGE: &str = "/chat";

/// So many conversations are found without a search.
const FEW: usize = 10;

/// For how long a page waits for the event of an answer, in seconds.
const EVENT_WITHIN: i64 = 120;

#[derive(Template)]
#[template(path = "pages/chat.html")]
struct ChatPage {
    frame: Frame,
    conversations: Vec<Conversation>,
    /// What is searched for among them.
    q: String,
    open: Option<Conversation>,
    shown: Vec<Shown>,
    models: Vec<String>,
    /// The model that is chosen unless somebody chooses another.
    chosen: Option<String>,
    may_read_gateways: bool,
    /// Whether to lead to the guided set-up.
    is_to_connect: bool,
}

/// A question with its answer, ready to be shown.
struct Shown {
    view: TurnView,
    html: String,
    decision: Option<DecisionPart>,
    is_last: bool,
}

/// What the gateway decided, beside an answer. Asks for itself until the gateway's event has arrived.
#[derive(Template)]
#[template(path = "parts/decision.html")]
struct DecisionPart {
    /// Its name in the page.
    id: String,
    /// Where it is asked for again.
    place: String,
    request_id: String,
    standing: Standing,
    /// What the answer took, as far as it said so itself.
    spent: Spent,
    may_read_events: bool,
}

/// Where what a gateway decided stands.
pub(super) enum Standing {
    /// It is here.
    Told(Box<Decision>),
    /// It is on its way.
    Awaited,
    /// It has not come, and will not: gateways may keep no record of what they let pass.
    Unrecorded,
    /// Nobody has asked for it.
    NotAskedFor,
}

impl Standing {
    /// Where what was asked for stands, of a request that ended then.
    pub(super) fn of(decision: Option<Decision>, ended_at: Timestamp, now: Timestamp) -> Self {
        match decision {
            Some(decision) => Self::Told(Box::new(decision)),
            None if now.as_second() - ended_at.as_second() < EVENT_WITHIN => Self::Awaited,
            None => Self::Unrecorded,
        }
    }
}

/// A new conversation.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Query(Sought { awaits, q }): Query<Sought>,
) -> Answer {
    if awaits.is_some() && visit.is_partial && doors.control.models(&visit.ctx).await?.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    page_with(&doors, &visit, None, q).await
}

/// What is sought on the page.
#[derive(Deserialize)]
pub(crate) struct Sought {
    /// What a page that is open waits for: a model, which a gateway names that has just been started.
    awaits: Option<String>,
    /// Which of one's conversations.
    #[serde(default)]
    q: String,
}

/// One of one's own.
pub(crate) async fn show_one(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let view = doors.control.conversation(&visit.ctx, &conversation_id(&id)?).await?;
    page_with(&doors, &visit, Some(view), String::new()).await
}

async fn page_with(doors: &Doors, visit: &Visit, view: Option<ConversationView>, q: String) -> Answer {
    let conversations = doors.control.conversations(&visit.ctx, &q).await?;
    let models = doors.control.models(&visit.ctx).await?;
    let (open, turns) = view.map_or((None, Vec::new()), |view| (Some(view.conversation), view.turns));
    let mut shown = Vec::with_capacity(turns.len());
    let count = turns.len();
    for (place, view) in turns.into_iter().enumerate() {
        let is_last = place + 1 == count;
        let decision = match &open {
            Some(open) if is_last => {
                let (_, decision) = doors.control.turn(&visit.ctx, &open.id, &view.turn.id).await?;
                decision_part(visit, &open.id, &view, standing_of(&view, decision, visit))
            }
            // Those before are asked for when somebody wants to see them.
            Some(open) => decision_part(visit, &open.id, &view, Standing::NotAskedFor),
            None => None,
        };
        let html = to_html(&view.turn.answer);
        shown.push(Shown { view, html, decision, is_last });
    }
    let last = open.as_ref().or(conversations.first()).map(|conversation| conversation.model.clone());
    let template = ChatPage {
        chosen: last.filter(|model| models.contains(model)).or_else(|| models.first().cloned()),
        frame: Frame::of(visit),
        conversations,
        q,
        open,
        shown,
        models,
        may_read_gateways: visit.may(Permission::ReadSettings),
        is_to_connect: connect_provider::is_to_connect(doors, visit).await?,
    };
    page(&visit.look, &template)
}

/// The part beside an answer; `None` where no gateway has been asked, or still is.
fn decision_part(
    visit: &Visit,
    conversation: &ConversationId,
    view: &TurnView,
    standing: Standing,
) -> Option<DecisionPart> {
    let turn = &view.turn;
    let request_id = turn.request_id.clone().filter(|_| turn.state != Ending::Answering)?;
    Some(DecisionPart {
        id: format!("decision-{}", turn.id),
        place: format!("{PAGE}/{conversation}/turns/{}/decision", turn.id),
        request_id,
        standing,
        spent: turn.spent,
        may_read_events: visit.may(Permission::ReadEvents),
    })
}

/// Whoever answers is believed to until shortly after the end of the answer.
fn standing_of(view: &TurnView, decision: Option<Decision>, visit: &Visit) -> Standing {
    Standing::of(decision, view.turn.held_until, visit.ctx.now)
}

/// What the gateway decided about one question.
pub(crate) async fn show_decision(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path((id, turn)): Path<(String, String)>,
) -> Answer {
    let (id, turn) = (conversation_id(&id)?, turn.parse::<TurnId>().map_err(|_| no_conversation())?);
    let (view, decision) = doors.control.turn(&visit.ctx, &id, &turn).await?;
    let standing = standing_of(&view, decision, &visit);
    match decision_part(&visit, &id, &view, standing) {
        Some(part) => page(&visit.look, &part),
        None => Err(no_conversation().into()),
    }
}

/// What is asked of which model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    question: String,
    model: String,
}

/// Begins a conversation with a question.
pub(crate) async fn begin(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(Asked { question, model }): Fields<Asked>,
) -> Answer {
    Ok(stream(doors.control.ask_model(&visit.ctx, None, Ask { question, model }).await?))
}

/// Asks in a conversation.
pub(crate) async fn ask(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(Asked { question, model }): Fields<Asked>,
) -> Answer {
    let id = conversation_id(&id)?;
    Ok(stream(doors.control.ask_model(&visit.ctx, Some(&id), Ask { question, model }).await?))
}

/// Which model is asked again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Again {
    model: String,
}

/// Asks the last question again.
pub(crate) async fn retry(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(Again { model }): Fields<Again>,
) -> Answer {
    let id = conversation_id(&id)?;
    Ok(stream(doors.control.ask_model_again(&visit.ctx, &id, &model).await?))
}

/// A new title.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renamed {
    title: String,
}

/// Gives a conversation another title.
pub(crate) async fn rename(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(renamed): Fields<Renamed>,
) -> Answer {
    let id = conversation_id(&id)?;
    doors.control.rename_conversation(&visit.ctx, &id, &renamed.title).await?;
    let said = visit.look.language.text("The conversation has its new title.");
    Ok(see_and_say(&doors, &format!("{PAGE}/{id}"), said))
}

/// Forgets a conversation.
pub(crate) async fn delete(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    doors.control.delete_conversation(&visit.ctx, &conversation_id(&id)?).await?;
    Ok(leave_and_say(&doors, PAGE, visit.look.language.text("The conversation was deleted.")))
}

/// The text of an answer as it comes. Dropped, which is what becomes of it when its reader goes away, it stops the answer.
struct Parts(mpsc::Receiver<String>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|part| part.map(|text| Ok(BodyFrame::data(text.into()))))
    }
}

/// The text of an answer as it comes, and where its page is.
fn stream(Streaming { conversation, parts }: Streaming) -> Response {
    let mut response = Body::new(Parts(parts)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // Proxies that gather what passes would make a stream of it no more.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    if let Ok(place) = HeaderValue::from_str(&format!("{PAGE}/{conversation}")) {
        headers.insert(header::CONTENT_LOCATION, place);
    }
    response
}

fn conversation_id(text: &str) -> Result<ConversationId, Error> {
    text.parse().map_err(|_| no_conversation())
}

fn no_conversation() -> Error {
    Error::not_found("conversation")
}

/// What a policy's verdict is called, and the class of its badge.
pub(super) fn policy_badge(policy: &Judged) -> (&'static str, &'static str) {
    verdict_badge(policy.verdict)
}

fn verdict_badge(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Allow => ("Allowed", "good"),
        Verdict::Redact => ("Redacted", "warn"),
        Verdict::Escalate => ("Escalated", "warn"),
        Verdict::Block => ("Blocked", "bad"),
    }
}

/// What became of a request, and the class of its badge.
pub(super) fn decision_badge(decision: &Decision) -> Option<(&'static str, &'static str)> {
    let is_blocked = decision.policies.iter().any(Judged::blocks);
    match decision.verdict? {
        // Refused before any policy was asked.
        Verdict::Block if !is_blocked => Some(("Not served", "warn")),
        verdict => Some(verdict_badge(verdict)),
    }
}

pub(super) fn is_redacted(decision: &Decision) -> bool {
    decision.verdict == Some(Verdict::Redact)
}

impl DecisionPart {
    /// Tokens of the question and of the answer together.
    fn tokens(&self) -> Option<i64> {
        Some(self.spent.input_tokens.unwrap_or(0) + self.spent.output_tokens?)
    }

    fn milliseconds(&self) -> Option<u64> {
        u64::try_from(self.spent.duration_ms).ok()
    }
}
