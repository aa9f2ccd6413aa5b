//! Asking moderation services: about what every other policy has let pass.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use kt_domain::events::{Event, Phase, PolicyEvaluation, Verdict};
use kt_domain::id::RequestId;
use kt_domain::policy_config::{SafetyFilter, Unreadable};
use tokio::sync::Semaphore;

use crate::exchange::Exchange;
use crate::http1::client::AnswerFault;
use crate::incoming::unless_gone;
use crate::policies::safety_filter::{self, Said};
use crate::policies::{Block, Chain, strictest};
use crate::providers::health::Fault;
use crate::providers::request::Forward;
use crate::providers::response::Answer;
use crate::providers::target::Target;
use crate::reply::Refusal;
use crate::shared::Worker;
use crate::snapshot::Snapshot;
use crate::stages::policy_chain::{self, LONG, in_turn};
use crate::upstream::UpstreamFault;

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

/// Why something may not pass.
#[derive(Clone, Copy, Debug)]
enum Objection {
    Flagged,
    /// It cannot be put to the service as text.
    Unreadable,
    /// The service gave no answer.
    Unjudged,
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
    let said = said(&exchange.worker.shared.long_bodies, body).await;
    let asked = unless_gone(exchange.body, pin!(moderator.ask(&said))).await;
    let opinion = asked.map_err(|_| Refusal::client_closed())?;
    note(exchange.record.event(), opinion.evaluations);
    opinion.refusal.map_or(Ok(()), Err)
}

/// What a body says. A long one is read in its turn, as the chain does.
async fn said(turns: &Arc<Semaphore>, body: &Bytes) -> Said {
    if body.len() < LONG {
        return safety_filter::said(body);
    }
    let body = body.clone();
    in_turn(turns, move || safety_filter::said(&body)).await
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

    /// Asks each service about what is said, until one of them flags some of it, or it cannot be read and has to be.
    pub(crate) async fn ask(&self, said: &Said) -> Opinion {
        let mut evaluations = Vec::new();
        if said.texts.is_empty() && !said.is_partly_unreadable {
            return Opinion { evaluations, refusal: None };
        }
        for (kind, settings) in self.chain.safety_filters(self.phase) {
            let (rules, objection) = self.objection(settings, said).await;
            evaluations.push(PolicyEvaluation {
                not_scanned: said.is_partly_unreadable || rules.is_none(),
                rules: rules.into_iter().flatten().map(Into::into).collect(),
                dry_run: settings.dry_run,
                phase: (self.phase == Phase::Response).then_some(self.phase),
                ..PolicyEvaluation::new(
                    Arc::clone(kind),
                    if objection.is_some() { Verdict::Block } else { Verdict::Allow },
                )
            });
            if let Some(objection) = objection.filter(|_| !settings.dry_run) {
                return Opinion { evaluations, refusal: Some(objection.refusal(kind)) };
            }
        }
        Opinion { evaluations, refusal: None }
    }

    /// What one service flags, `None` when it gives no answer; and why what is said may not pass, if it may not.
    async fn objection(
        &self,
        settings: &SafetyFilter,
        said: &Said,
    ) -> (Option<Vec<String>>, Option<Objection>) {
        if said.is_partly_unreadable && settings.unreadable == Unreadable::Block {
            return (Some(Vec::new()), Some(Objection::Unreadable));
        }
        if said.texts.is_empty() {
            return (Some(Vec::new()), None);
        }
        let rules = self.flagged(settings, &said.texts).await;
        let objection = match &rules {
            None => (settings.on_failure == Unreadable::Block).then_some(Objection::Unjudged),
            Some(rules) => (!rules.is_empty()).then_some(Objection::Flagged),
        };
        (rules, objection)
    }

    /// What the service flags; `None` when it gives no answer that can be read, which is counted among its faults.
    async fn flagged(&self, settings: &SafetyFilter, texts: &[String]) -> Option<Vec<String>> {
        let mut targets = self.snapshot.targets.iter();
        let target = targets.find(|target| *target.id == settings.target && target.available)?;
        let asked = tokio::time::timeout(settings.timeout.0, self.ask_service(target, texts)).await;
        let answer = asked.unwrap_or(Err(UpstreamFault::Answer(AnswerFault::TimedOut)));
        let read = |answer: Bytes| {
            safety_filter::flagged(&answer, texts.len(), settings)
                .ok_or(UpstreamFault::Answer(AnswerFault::Malformed))
        };
        let flagged = answer.and_then(read);
        self.note_fault(target, flagged.as_ref().err().map(|fault| fault.code()));
        flagged.ok()
    }

    /// Counts what a service failed at, if it did.
    fn note_fault(&self, target: &Target, code: Option<&'static str>) {
        let shared = &self.worker.shared;
        if let Some(code) = code {
            shared.metrics.count_upstream_fault(code);
        }
        target.health.asked_to_judge(code.map(|code| Fault { code, at: shared.clock.now() }));
    }

    /// The service's answer.
    async fn ask_service(&self, target: &Target, texts: &[String]) -> Result<Bytes, UpstreamFault> {
        let origin = target.origin.as_ref().ok_or(UpstreamFault::Unreachable)?;
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
        let (connection, head) = self.worker.pool.ask(origin, &head, &question, &limits).await?;
        let answer = Answer::new(Arc::clone(&self.worker), Arc::clone(origin), connection, head, limits)?;
        if answer.status != StatusCode::OK || answer.is_stream {
            return Err(UpstreamFault::Failed);
        }
        let (body, _) = answer.body.take_whole(MAX_ANSWER).await?;
        Ok(body.freeze())
    }
}

impl Objection {
    fn refusal(self, kind: &Arc<str>) -> Refusal {
        let block = |was_unreadable| Block { policy: Arc::clone(kind), was_unreadable }.refusal();
        match self {
            Self::Flagged => block(false),
            Self::Unreadable => block(true),
            Self::Unjudged => {
                let message = "The service that judges content gave no answer, and nothing passes without. Try again later.";
                Refusal::unavailable(503, "safety_unavailable", message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn a_long_body_waits_for_its_turn_and_is_read_like_a_short_one() {
        let body = |filling: usize| -> Bytes {
            let text = "x ".repeat(filling);
            serde_json::json!({ "messages": [{ "role": "user", "content": text }] }).to_string().into()
        };
        let (short, long, turns) = (body(10), body(LONG / 2), Arc::new(Semaphore::new(0)));
        assert_eq!(said(&turns, &short).await, safety_filter::said(&short), "nobody waits for it");
        let mut reading = pin!(said(&turns, &long));
        assert_eq!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        turns.add_permits(1);
        assert_eq!(reading.await, safety_filter::said(&long));
        assert_eq!(turns.available_permits(), 1, "the next may come");
    }
}
