//! Asking each policy of the chain, in order, until one does not let the content pass: of the request before anything is
//! forwarded, of the answer before any of it reaches the client.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use kt_domain::events::{Event, Phase, PolicyEvaluation, Verdict};
use kt_domain::media_type;
use tokio::sync::Semaphore;

use crate::apart::apart;
use crate::exchange::Exchange;
use crate::policies::{Asked, Chain, Content, Judged, Outcome};
use crate::providers::response::drop_what_describes_bytes;
use crate::reply::{Refusal, Reply, ReplyBody};
use crate::shared::Worker;
use crate::stages::route::Route;
use crate::stages::safety;

/// From how many bytes on a body is long. To judge one takes a tenth of a millisecond, and a hundred times that where somebody
/// wrote it to be slow.
pub(crate) const LONG: usize = 64 * 1024;

/// Judges the request; says in its record which policies were asked and what came of it. Gives the body that goes on,
/// which is another one where something was cut out of it.
pub(crate) async fn judge_request(
    exchange: &mut Exchange<'_>,
    route: &Route,
    body: Bytes,
) -> Result<Bytes, Refusal> {
    let chain = Arc::clone(exchange.chain());
    if !chain.judges_requests() {
        let passed = chain.passed();
        note(exchange.record.event(), passed, Verdict::Allow);
        return Ok(body);
    }
    // A request without a type is one of JSON, as the stage before has it.
    let content = content(&exchange.head.headers, &body, true);
    let event = exchange.record.event();
    let asked = Asked {
        key: event.key_id.as_deref().or(event.user_id.as_deref()),
        group: event.consumer_group.as_deref(),
        model: event.model.as_deref(),
        hides_model: route.content.hides_model(),
    };
    let judged = judge(exchange.worker, &chain, Phase::Request, content, &body, asked).await;
    let Judged { evaluations, outcome, targets } = judged;
    let body = apply(event, evaluations, outcome, body)?;
    exchange.only = targets;
    safety::check(exchange, Phase::Request, &body).await?;
    Ok(body)
}

/// The same for an answer that is there as a whole.
pub(crate) async fn judge_answer(exchange: &mut Exchange<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let chain = Arc::clone(exchange.chain());
    let ReplyBody::Full(body) = &reply.body else { return Ok(()) };
    if chain.reads(Phase::Response) {
        let body = body.clone();
        let content = content(&reply.headers, &body, false);
        let asked = Asked::default();
        let judged = judge(exchange.worker, &chain, Phase::Response, content, &body, asked).await;
        if matches!(judged.outcome, Outcome::Redacted(_)) {
            drop_what_describes_bytes(&mut reply.headers);
        }
        let passed = apply(exchange.record.event(), judged.evaluations, judged.outcome, body)?;
        reply.body = ReplyBody::Full(passed);
    }
    let ReplyBody::Full(body) = &reply.body else { return Ok(()) };
    safety::check(exchange, Phase::Response, &body.clone()).await
}

/// What a chain says of a body.
async fn judge(
    worker: &Worker,
    chain: &Arc<Chain>,
    phase: Phase,
    content: Content<'_>,
    body: &Bytes,
    asked: Asked<'_>,
) -> Judged {
    if body.len() < LONG || !matches!(content, Content::Json(_)) {
        return chain.judge(phase, content, asked);
    }
    let [key, group, model] = [asked.key, asked.group, asked.model].map(|name| name.map(str::to_owned));
    let hides_model = asked.hides_model;
    let (chain, body) = (Arc::clone(chain), body.clone());
    in_turn(&worker.shared.long_bodies, move || {
        let asked =
            Asked { key: key.as_deref(), group: group.as_deref(), model: model.as_deref(), hides_model };
        chain.judge(phase, Content::Json(&body), asked)
    })
    .await
}

/// What `work` on a long body comes to. It is done on a thread of its own once one of `turns` has come, so that nobody else waits
/// for it, and no more are taken apart at once than there is memory for.
pub(crate) async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let turn = Arc::clone(turns).acquire_owned().await;
    apart(move || {
        let done = work();
        // Until here, also when whoever asked has gone away.
        drop(turn);
        done
    })
    .await
}

fn apply(
    event: &mut Event,
    evaluations: Vec<PolicyEvaluation>,
    outcome: Outcome,
    body: Bytes,
) -> Result<Bytes, Refusal> {
    let (verdict, passed) = match outcome {
        Outcome::Pass => (Verdict::Allow, Ok(body)),
        Outcome::Redacted(redacted) => (Verdict::Redact, Ok(redacted)),
        Outcome::Blocked(block) => (Verdict::Block, Err(block.refusal())),
    };
    note(event, evaluations, verdict);
    passed
}

/// Adds to an event what was said in one phase. The strictest verdict of all phases is that of the event.
pub(crate) fn note(event: &mut Event, evaluations: Vec<PolicyEvaluation>, verdict: Verdict) {
    match &mut event.policies_evaluated {
        Some(earlier) => earlier.extend(evaluations),
        none => *none = Some(evaluations),
    }
    event.verdict = Some(match (event.verdict, verdict) {
        (Some(earlier), Verdict::Allow) => earlier,
        (Some(Verdict::Block), _) => Verdict::Block,
        (_, later) => later,
    });
}

/// What a body holds, by its type. What is said to be JSON is read as such; the reader finds out whether it is.
fn content<'a>(headers: &HeaderMap, body: &'a Bytes, is_json_by_default: bool) -> Content<'a> {
    if body.is_empty() {
        return Content::Nothing;
    }
    let declared = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_json = declared.map_or(is_json_by_default, media_type::is_json);
    // A client may send JSON under another name, as `curl -d` does.
    let may_be_json =
        is_json || (is_json_by_default && matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')));
    if may_be_json { Content::Json(body) } else { Content::Other }
}
