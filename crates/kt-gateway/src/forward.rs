//! Sending a request to its provider: to one target after another, until one gives a usable answer or nothing more may
//! be tried. Nothing is repeated once a byte of an answer has gone to the client.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use kt_domain::events::FailedAttempt;
use kt_domain::policy_config::FaultKind;
use kt_domain::policy_config::vendors::Wire;

use crate::exchange::{Answered, Exchange};
use crate::http1::client::AnswerFault;
use crate::incoming::unless_gone;
use crate::outgoing::Source;
use crate::providers::echo::{Echo, Question};
use crate::providers::health::Fault;
use crate::providers::request::Forward;
use crate::providers::response::{Answer, drop_what_describes_bytes};
use crate::providers::retry;
use crate::providers::select::{self, Asked, Choice};
use crate::providers::target::Target;
use crate::providers::translate::{self, Context, StreamTranslator, Towards, Translation};
use crate::record::millis;
use crate::reply::{Refusal, Reply, ReplyBody};
use crate::scopes::Scope;
use crate::stages::content::{self, Summary};
use crate::stages::route::{Api, Bound};
use crate::upstream::{Limits, UpstreamFault};

/// What a client's request is, once it was let through.
pub(crate) struct Forwarded {
    pub(crate) api: Api,
    /// Whether it can be put into the words of another API.
    pub(crate) is_conversation: bool,
    /// Whether the provider keeps what it is about.
    pub(crate) is_kept: bool,
    /// The fields by which it may bound its answer.
    pub(crate) bounds: &'static [Bound],
    pub(crate) summary: Summary,
    pub(crate) body: Bytes,
    /// Whose rules it keeps to, beside those for all.
    pub(crate) route: Option<Arc<Scope>>,
    pub(crate) group: Option<Arc<Scope>>,
    /// The only targets that a policy lets it go to; `None` means any.
    pub(crate) only: Option<BTreeSet<String>>,
}

/// A target gave no usable answer, or one that says to come back later.
pub(crate) struct Setback {
    kind: FaultKind,
    pub(crate) code: &'static str,
    /// How long it asks to be left alone.
    retry_after: Option<Duration>,
    /// What the client gets if nothing more is tried.
    last_word: LastWord,
}

enum LastWord {
    Answer(Box<Answer>),
    Fault(UpstreamFault),
}

/// What was tried so far.
#[derive(Default)]
struct Tries {
    /// How often the request was sent once more.
    retries: u32,
    /// How often of these to a target that had had it before.
    repetitions: u32,
    /// The targets that were asked, or that the request cannot be put into words for; none twice.
    targets: Vec<Arc<Target>>,
}

enum Next {
    /// Another target, at once, with the body for it.
    Other(Choice, Bytes),
    /// The same one, after so long.
    Again(Duration),
}

impl Exchange<'_> {
    /// The answer of the first target that gives one.
    pub(crate) async fn forward(&mut self, forwarded: &Forwarded) -> Result<Answered, Refusal> {
        let limits = self.snapshot.upstream_limits.starting_now();
        if self.is_about_all_models() {
            return self.tell_models(forwarded, limits).await;
        }
        let mut tries = Tries::default();
        let chosen = self.choose(forwarded, &mut tries);
        let (mut choice, mut body) = chosen.map_err(|none| self.why_nowhere(forwarded, none))?;
        loop {
            let target = Arc::clone(&choice.target);
            let event = self.record.event();
            event.provider = Some(Arc::clone(&target.vendor));
            event.target_id = Some(Arc::clone(&target.id));
            let asked = forwarded.summary.model.as_deref();
            let model = target.model_for(asked);
            self.record.ask_for(model);
            if target.wire == Wire::Echo {
                choice.succeeded();
                self.record.event().upstream_ms = Some(0);
                return self.echo(forwarded);
            }
            let mut unsettled = Some(choice);
            let setback = match self.attempt(&target, forwarded, &body, limits).await? {
                Ok(answer) => match self.deliver(answer, &target, &mut unsettled, forwarded).await? {
                    Ok(answered) => {
                        self.settle(unsettled, None);
                        return Ok(answered);
                    }
                    Err(fault) => Setback::of(fault, None),
                },
                Err(setback) => setback,
            };
            if let Some(choice) = unsettled {
                choice.failed(self.fault(setback.code), setback.is_fault());
            }
            if let Some(rest) = setback.retry_after {
                target.health.rests.add(model, rest, self.now());
            }
            self.record.end_attempt(setback.code);
            match self.next(&target, &setback, forwarded, &mut tries, limits) {
                Some(Next::Other(other, translated)) => (choice, body) = (other, translated),
                Some(Next::Again(wait)) => {
                    let waited = unless_gone(self.body, pin!(tokio::time::sleep(wait))).await;
                    waited.map_err(|_| Refusal::client_closed())?;
                    let Some(again) = select::again(&target, self.now()) else {
                        return self.give_up(setback, &target, forwarded).await;
                    };
                    choice = again;
                }
                None => return self.give_up(setback, &target, forwarded).await,
            }
            let failed =
                FailedAttempt { reason_code: setback.code.into(), target_id: Arc::clone(&target.id) };
            self.record.event().failed_attempts.get_or_insert_default().push(failed);
        }
    }

    /// The next target for a request, with the body for it. A target whose API has no words for what is asked is passed
    /// over.
    fn choose(&self, forwarded: &Forwarded, tries: &mut Tries) -> Result<(Choice, Bytes), Refusal> {
        loop {
            let choice = select::target(&self.snapshot, forwarded.asked(), &tries.targets, self.now())?;
            if let Ok(body) = forwarded.body_for(&choice.target) {
                return Ok((choice, body));
            }
            tries.targets.push(Arc::clone(&choice.target));
        }
    }

    /// Why a request goes nowhere, which at this moment is `otherwise`. What no target has words for is refused for that,
    /// however the targets are: to send it again later would be in vain.
    fn why_nowhere(&self, forwarded: &Forwarded, otherwise: Refusal) -> Refusal {
        let mut wordless = None;
        for target in select::fitting(&self.snapshot, forwarded.asked()) {
            match forwarded.body_for(target) {
                Ok(_) => return otherwise,
                Err(refusal) => wordless = Some(refusal),
            }
        }
        wordless.unwrap_or(otherwise)
    }

    pub(crate) fn now(&self) -> i64 {
        self.worker.shared.clock.now_micros()
    }

    pub(crate) fn fault(&self, code: &'static str) -> Fault {
        Fault { code, at: self.worker.shared.clock.now() }
    }

    /// Asks one target. An answer that can be given to the client as it is comes back as one.
    pub(crate) async fn attempt(
        &mut self,
        target: &Arc<Target>,
        forwarded: &Forwarded,
        body: &Bytes,
        limits: Limits,
    ) -> Result<Result<Answer, Setback>, Refusal> {
        let traceparent = self.record.begin_attempt(target);
        let asked = Instant::now();
        let answer = self.ask(target, forwarded, body, traceparent.as_deref(), limits).await;
        self.record.event().upstream_ms = Some(millis(asked.elapsed()));
        Ok(match answer? {
            Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => Err(Setback {
                kind: FaultKind::RateLimited,
                code: "upstream_rate_limited",
                retry_after: answer.retry_after,
                last_word: LastWord::Answer(Box::new(answer)),
            }),
            Ok(answer) => Ok(answer),
            Err((fault, retry_after)) => Err(Setback::of(fault, retry_after)),
        })
    }

    async fn ask(
        &mut self,
        target: &Target,
        forwarded: &Forwarded,
        body: &Bytes,
        traceparent: Option<&str>,
        limits: Limits,
    ) -> Result<Result<Answer, (UpstreamFault, Option<Duration>)>, Refusal> {
        let Some(origin) = &target.origin else { return Ok(Err((UpstreamFault::Unreachable, None))) };
        let translation = forwarded.translation_for(target);
        let mut buffer = [0; 36];
        let head = Forward {
            method: &self.head.method,
            path: translation.map_or(self.path.as_str(), |translation| translation.path()),
            // What stands there is meant for the API of the path.
            query: self.head.query.as_deref().filter(|_| translation.is_none()),
            model: target.model.as_deref().or(forwarded.summary.model.as_deref()),
            headers: &self.head.headers,
            caller: self.key.as_ref().map(|key| &*key.id),
            traceparent,
            body,
            request_id: self.request_id.encode(&mut buffer),
            gateway_id: &self.worker.shared.gateway_id,
        }
        .head(target);
        let asked = pin!(self.worker.pool.ask(origin, &head, body, &limits));
        let asked = unless_gone(self.body, asked).await;
        let (connection, head) = match asked.map_err(|_| Refusal::client_closed())? {
            Ok(answered) => answered,
            Err(fault) => return Ok(Err((fault, None))),
        };
        let retry_after = retry::retry_after(&head.headers, || self.worker.shared.clock.now());
        let answer = Answer::new(Arc::clone(self.worker), Arc::clone(origin), connection, head, limits);
        Ok(match answer {
            Ok(answer) => Ok(Answer { retry_after, ..answer }),
            Err(fault) => Err((fault, retry_after)),
        })
    }

    /// Where the request goes next, if anywhere.
    fn next(
        &self,
        target: &Arc<Target>,
        setback: &Setback,
        forwarded: &Forwarded,
        tries: &mut Tries,
        limits: Limits,
    ) -> Option<Next> {
        let settings = &self.snapshot.config.retry;
        if tries.retries >= settings.max_retries || !limits.allows(Duration::ZERO) {
            return None;
        }
        if setback.fault() == Some(UpstreamFault::TooLarge) {
            // Another answer to the same request is hardly any shorter.
            return None;
        }
        tries.retries += 1;
        if !tries.targets.iter().any(|tried| Arc::ptr_eq(tried, target)) {
            tries.targets.push(Arc::clone(target));
        }
        if settings.fallback_on.contains(&setback.kind)
            && let Ok((other, body)) = self.choose(forwarded, tries)
        {
            return Some(Next::Other(other, body));
        }
        if !settings.on.contains(&setback.kind) {
            return None;
        }
        let wait = retry::delay(settings, tries.repetitions, setback.retry_after, self.worker.draw())?;
        tries.repetitions += 1;
        (limits.allows(wait) && target.health.may_retry()).then_some(Next::Again(wait))
    }

    /// What the client gets when nothing more is tried.
    async fn give_up(
        &mut self,
        setback: Setback,
        target: &Target,
        forwarded: &Forwarded,
    ) -> Result<Answered, Refusal> {
        match setback.last_word {
            LastWord::Answer(answer) => {
                let delivered = self.deliver(*answer, target, &mut None, forwarded).await?;
                delivered.map_err(|fault| self.upstream_refusal(fault))
            }
            LastWord::Fault(fault) => Err(self.upstream_refusal(fault)),
        }
    }

    /// Takes a provider's answer: a stream as it comes, everything else whole, and both in the client's words; or says what is
    /// wrong with one that comes whole, of which the client has nothing yet. How a stream goes is told to `choice`.
    async fn deliver(
        &mut self,
        mut answer: Answer,
        target: &Target,
        choice: &mut Option<Choice>,
        forwarded: &Forwarded,
    ) -> Result<Result<Answered, UpstreamFault>, Refusal> {
        let translation = forwarded.translation_for(target);
        let mut reply = Reply::new(answer.status, answer.headers, ReplyBody::Empty);
        if translation.is_some() {
            drop_what_describes_bytes(&mut reply.headers);
        }
        if answer.is_stream {
            if self.record.details().is_some() {
                answer.body.gather();
            }
            let body = answer.body.told_to(choice.take());
            let body = match translation {
                None => body,
                Some(translation) => {
                    let context = self.translation_context(forwarded);
                    body.translated_by(StreamTranslator::new(translation, context))
                }
            };
            return Ok(Ok(Answered::Stream(reply, Source::Provider(Box::new(body)))));
        }
        let whole = answer.body.take_whole(self.size_limits().max_response_body_bytes);
        let whole = unless_gone(self.body, pin!(whole)).await.map_err(|_| Refusal::client_closed())?;
        let (body, usage) = match whole {
            Ok(whole) => whole,
            Err(fault) => return Ok(Err(fault)),
        };
        if let Some(details) = self.record.details() {
            details.answered.get_or_insert_default().read(&body);
        }
        let body = match translation {
            None => body.freeze(),
            Some(translation) => {
                let context = self.translation_context(forwarded);
                reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let Some(translated) = translation.answer(reply.status, &body, context) else {
                    return Ok(Err(UpstreamFault::Answer(AnswerFault::Malformed)));
                };
                translated
            }
        };
        if reply.status != StatusCode::NO_CONTENT {
            reply.body = ReplyBody::Full(body);
        }
        Ok(Ok(Answered::Whole(reply, usage)))
    }

    fn translation_context(&self, forwarded: &Forwarded) -> Context {
        Context {
            created: self.worker.shared.clock.now().as_second(),
            include_usage: forwarded.summary.stream && translate::wants_usage(&forwarded.body),
        }
    }

    /// Tells what came of a choice, if that was not told yet.
    pub(crate) fn settle(&self, choice: Option<Choice>, fault: Option<UpstreamFault>) {
        let Some(choice) = choice else { return };
        match fault {
            None => choice.succeeded(),
            Some(fault) => choice.failed(self.fault(fault.code()), fault.is_targets()),
        }
    }

    pub(crate) fn upstream_refusal(&self, fault: UpstreamFault) -> Refusal {
        self.worker.shared.metrics.count_upstream_fault(fault.code());
        fault.into()
    }

    fn echo(&self, Forwarded { summary, body, .. }: &Forwarded) -> Result<Answered, Refusal> {
        let question = Question {
            path: &self.path,
            body,
            model: summary.model.as_deref(),
            stream: summary.stream,
            request_id: &self.request_id.to_string(),
            created: self.worker.shared.clock.now().as_second(),
        };
        Ok(match question.answer()? {
            Echo::Whole(body, usage) => Answered::Whole(Reply::json(StatusCode::OK, body), usage),
            Echo::Stream(events, usage) => {
                let mut reply = Reply::empty(StatusCode::OK);
                reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                Answered::Stream(reply, Source::Echo(events.into(), usage))
            }
        })
    }
}

impl Forwarded {
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            api: self.api,
            model: self.summary.model.as_deref(),
            is_translatable: self.is_conversation,
            is_kept: self.is_kept,
            within: [self.route.as_deref(), self.group.as_deref()],
            only: self.only.as_ref(),
        }
    }

    /// How the conversation gets to this target, if it has to be put into other words.
    fn translation_for(&self, target: &Target) -> Option<Translation> {
        Translation::between(self.api, target.wire).filter(|_| self.is_conversation)
    }

    /// The body as this target is to get it.
    fn body_for(&self, target: &Target) -> Result<Bytes, Refusal> {
        let asked = self.summary.model.as_deref();
        let instead = target.model_instead_of(asked);
        let body = self.bounded_body(target);
        if let Some(translation) = self.translation_for(target) {
            let model = instead.or(asked).unwrap_or_default();
            let knows_max_completion_tokens = knows_max_completion_tokens(target);
            return translation.request(&body, Towards { model, knows_max_completion_tokens });
        }
        Ok(match instead {
            Some(model) => content::with_model(&body, model),
            None => body,
        })
    }

    /// The body with the bound that a budget sets, in the client's own words, if it sets one.
    fn bounded_body(&self, target: &Target) -> Bytes {
        let is_known = |bound: &&Bound| **bound != Bound::Completion || knows_max_completion_tokens(target);
        match (self.summary.imposed, self.bounds.iter().find(is_known)) {
            (Some(most), Some(field)) => content::with_bound(&self.body, *field, most),
            _ => self.body.clone(),
        }
    }
}

/// Others know the older `max_tokens`.
fn knows_max_completion_tokens(target: &Target) -> bool {
    matches!(&*target.vendor, "openai" | "azure")
}

impl Setback {
    fn of(fault: UpstreamFault, retry_after: Option<Duration>) -> Self {
        Self { kind: fault.kind(), code: fault.code(), retry_after, last_word: LastWord::Fault(fault) }
    }

    /// Whether it speaks against the target. One that asks to come back later works as it should.
    pub(crate) fn is_fault(&self) -> bool {
        self.fault().is_some_and(UpstreamFault::is_targets)
    }

    /// What is wrong, if there is no answer to give.
    pub(crate) fn fault(&self) -> Option<UpstreamFault> {
        match self.last_word {
            LastWord::Fault(fault) => Some(fault),
            LastWord::Answer(_) => None,
        }
    }
}
