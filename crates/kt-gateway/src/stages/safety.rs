//! Asking moderation services: about what every other policy has let pass.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use kt_domain::events::{Event, Phase, PolicyEvaluation, Verdict};
use kt_domain::id::RequestId;
use kt_domain::policy_config::{SafetyFilter, Unreadable};

use crate::exchange::Exchange;
use crate::incoming::unless_gone;
use crate::policies::{Block, Chain, safety_filter, strictest};
use crate::providers::request::Forward;
use crate::providers::response::Answer;
use crate::reply::Refusal;
use crate::shared::Worker;
use crate::snapshot::Snapshot;
use crate::stages::policy_chain;

/// The largest answer of a moderation service that is read, in bytes.
const MAX_ANSWER: u64 = 1024 * 1024;

/// Asks the services of one chain on behalf of one request.
pub(crate) struct Moderator {
    worker: Arc<Worker>,
    snapshot: Arc<Snapshot>,
    chain: Arc<Chain>,
    request_id: RequestId,
    phase: Phase,
}

/// What the services said.
pub(crate) struct Opinion {
    pub(crate) evaluations: Vec<PolicyEvaluation>,
    /// What the client gets in place of what they were asked about.
    pub(crate) refusal: Option<Refusal>,
}

/// Asks about a request's body, or that of a whole answer, unless no service reads such.
pub(crate) async fn check(exchange: &mut Exchange<'_>, phase: Phase, body: &Bytes) -> Result<(), Refusal> {
    let Some(moderator) = Moderator::of(exchange, phase).filter(|_| !body.is_empty()) else { return Ok(()) };
    let texts = safety_filter::texts(body);
    let asked = unless_gone(exchange.body, moderator.ask(texts.as_deref())).await;
    let opinion = asked.map_err(|_| Refusal::client_closed())?;
    note(exchange.record.event(), opinion.evaluations);
    opinion.refusal.map_or(Ok(()), Err)
}

/// Puts what was said into the event.
pub(crate) fn note(event: &mut Event, evaluations: Vec<PolicyEvaluation>) {
    let effect = strictest(&evaluations);
    policy_chain::note(event, evaluations, effect);
}

impl Moderator {
    /// Who is to be asked about what passes in this phase, if anybody.
    pub(crate) fn of(exchange: &Exchange<'_>, phase: Phase) -> Option<Self> {
        let chain = exchange.chain();
        chain.safety_filters(phase).next()?;
        Some(Self {
            worker: Arc::clone(exchange.worker),
            snapshot: Arc::clone(&exchange.snapshot),
            chain: Arc::clone(chain),
            request_id: exchange.request_id,
            phase,
        })
    }

    /// Asks each service about these texts, until one of them flags some; `None` are texts that cannot be read.
    pub(crate) async fn ask(&self, texts: Option<&[String]>) -> Opinion {
        let mut evaluations = Vec::new();
        for (kind, settings) in self.chain.safety_filters(self.phase) {
            let answer = match texts {
                None => None,
                Some([]) => continue,
                Some(texts) => {
                    let answer = tokio::time::timeout(settings.timeout.0, self.ask_service(settings, texts));
                    answer.await.ok().flatten()
                }
            };
            let rules = answer.as_deref().and_then(|answer| safety_filter::flagged(answer, settings));
            let not_scanned = rules.is_none();
            let rules: Vec<Arc<str>> = rules.into_iter().flatten().map(Into::into).collect();
            let refuses_unscanned = not_scanned && settings.on_failure == Unreadable::Block;
            let blocks = refuses_unscanned || !rules.is_empty();
            evaluations.push(PolicyEvaluation {
                rules,
                not_scanned,
                dry_run: settings.dry_run,
                phase: (self.phase == Phase::Response).then_some(self.phase),
                ..PolicyEvaluation::new(
                    Arc::clone(kind),
                    if blocks { Verdict::Block } else { Verdict::Allow },
                )
            });
            if blocks && !settings.dry_run {
                return Opinion { evaluations, refusal: Some(refusal(kind, not_scanned)) };
            }
        }
        Opinion { evaluations, refusal: None }
    }

    /// The service's answer; `None` when it gave none that could be read.
    async fn ask_service(&self, settings: &SafetyFilter, texts: &[String]) -> Option<Bytes> {
        let mut targets = self.snapshot.targets.iter();
        let target = targets.find(|target| *target.id == settings.target && target.available)?;
        let origin = target.origin.as_ref()?;
        let question = Bytes::from(safety_filter::question(texts, target.model.as_deref()));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut buffer = [0; 36];
        let head = Forward {
            method: &Method::POST,
            path: "/v1/moderations",
            query: None,
            headers: &headers,
            caller: None,
            traceparent: None,
            body: &question,
            model: target.model.as_deref(),
            request_id: self.request_id.encode(&mut buffer),
            gateway_id: &self.worker.shared.gateway_id,
        }
        .head(target);
        let limits = self.snapshot.upstream_limits.starting_now();
        let (connection, head) = self.worker.pool.ask(origin, &head, &question, &limits).await.ok()?;
        let answer =
            Answer::new(Arc::clone(&self.worker), Arc::clone(origin), connection, head, limits).ok()?;
        if answer.status != StatusCode::OK || answer.is_stream {
            return None;
        }
        let (body, _) = answer.body.take_whole(MAX_ANSWER).await.ok()?;
        Some(body.freeze())
    }
}

fn refusal(kind: &Arc<str>, not_scanned: bool) -> Refusal {
    if !not_scanned {
        return Block { policy: Arc::clone(kind), was_unreadable: false }.refusal();
    }
    let message =
        "The service that judges content gave no answer, and nothing passes without. Try again later.";
    Refusal::unavailable(503, "safety_unavailable", message)
}
