//! Asking moderation services about a request that every other policy has let pass.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use kt_domain::events::{PolicyEvaluation, Verdict};
use kt_domain::policy_config::{SafetyFilter, Unreadable};

use crate::exchange::Exchange;
use crate::incoming::unless_gone;
use crate::policies::{Block, safety_filter};
use crate::providers::request::Forward;
use crate::providers::response::Answer;
use crate::reply::Refusal;
use crate::stages::policy_chain;

/// The largest answer of a moderation service that is read, in bytes.
const MAX_ANSWER: u64 = 1024 * 1024;

/// Asks each service of the chain, until one of them flags the request.
pub(crate) async fn check(exchange: &mut Exchange<'_>, body: &Bytes) -> Result<(), Refusal> {
    let chain = Arc::clone(exchange.chain());
    for (kind, settings) in chain.safety_filters() {
        let asked = ask(exchange, settings, body);
        let answer = tokio::time::timeout(settings.timeout.0, asked).await.unwrap_or(Ok(None))?;
        let rules = answer.as_deref().and_then(|answer| safety_filter::flagged(answer, settings));
        let not_scanned = rules.is_none();
        let rules: Vec<Arc<str>> = rules.into_iter().flatten().map(Into::into).collect();
        let refuses_unscanned = not_scanned && settings.on_failure == Unreadable::Block;
        let verdict = if refuses_unscanned || !rules.is_empty() { Verdict::Block } else { Verdict::Allow };
        let takes_effect = verdict == Verdict::Block && !settings.dry_run;
        let said = PolicyEvaluation {
            rules,
            not_scanned,
            dry_run: settings.dry_run,
            ..PolicyEvaluation::new(Arc::clone(kind), verdict)
        };
        let effect = if takes_effect { Verdict::Block } else { Verdict::Allow };
        policy_chain::note(exchange.record.event(), vec![said], effect);
        if takes_effect {
            return Err(if not_scanned {
                unavailable()
            } else {
                Block { policy: Arc::clone(kind), was_unreadable: false }.refusal()
            });
        }
    }
    Ok(())
}

fn unavailable() -> Refusal {
    let message =
        "The service that judges requests gave no answer, and none passes without. Try again later.";
    Refusal::unavailable(503, "safety_unavailable", message)
}

/// The service's answer; `None` when it gave none that could be read.
async fn ask(
    exchange: &mut Exchange<'_>,
    settings: &SafetyFilter,
    body: &Bytes,
) -> Result<Option<Bytes>, Refusal> {
    let snapshot = Arc::clone(&exchange.snapshot);
    let target = snapshot.targets.iter().find(|target| *target.id == settings.target && target.available);
    let Some((target, origin)) = target.and_then(|target| Some((target, target.origin.as_ref()?))) else {
        return Ok(None);
    };
    let Some(question) = safety_filter::question(body, target.model.as_deref()) else { return Ok(None) };
    let question = Bytes::from(question);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut buffer = [0; 36];
    let head = Forward {
        method: &Method::POST,
        path: "/v1/moderations",
        query: None,
        headers: &headers,
        traceparent: None,
        body: &question,
        model: target.model.as_deref(),
        request_id: exchange.request_id.encode(&mut buffer),
        gateway_id: &exchange.worker.shared.gateway_id,
    }
    .head(target);
    let limits = snapshot.upstream_limits.starting_now();
    let worker = Arc::clone(exchange.worker);
    let asked = async {
        let (connection, head) = worker.pool.ask(origin, &head, &question, &limits).await.ok()?;
        let answer = Answer::new(Arc::clone(&worker), Arc::clone(origin), connection, head, limits).ok()?;
        if answer.status != StatusCode::OK || answer.is_stream {
            return None;
        }
        let (body, _) = answer.body.take_whole(MAX_ANSWER).await.ok()?;
        Some(body.freeze())
    };
    unless_gone(exchange.body, asked).await.map_err(|_| Refusal::client_closed())
}
