//! The record of one request: an event that is filled while the request goes on and kept when it is over, whatever way
//! it ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use kt_domain::events::{Event, EventType, Verdict};
use kt_domain::id::RequestId;
use kt_domain::policy_config::ModelPrice;
use tokio::sync::oneshot;

use crate::limits::{Claim, Grant, Outlay};
use crate::metered::Meter;
use crate::providers::target::Target;
use crate::reply::Refusal;
use crate::shared::{Shared, Worker};
use crate::snapshot::Snapshot;
use crate::stages::budgets::Expected;
use crate::telemetry::{self, Attempt, Details, Finished, Trace};
use crate::usage::Usage;

/// The status that stands in the event of a request whose client went away.
const CLIENT_CLOSED: u16 = 499;
/// The status that stands in the event of a request that was cut off because the gateway ends.
const CUT_OFF: u16 = 503;

/// How long an answer waits for its event to be on disk. A disk that takes longer keeps the event, not the client.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// The event of one request. Dropped before it was finished, it says that the client went away, or that the request met a
/// defect if it is a panic that drops it, or that the gateway cut it off at the end of its drain.
///
/// The event is made when it is first asked for: many an answer is not worth one.
pub(crate) struct Record {
    worker: Arc<Worker>,
    snapshot: Arc<Snapshot>,
    request_id: RequestId,
    began: Timestamp,
    started: Instant,
    event: Option<Box<Event>>,
    /// What the request was granted of the limits that concern it.
    grants: Vec<Grant>,
    /// How many tokens the request may use; none for what is no prompt.
    expected: Option<Expected>,
    /// Whether a provider was asked, so that something was used.
    is_asked: bool,
    /// What the tokens cost, if that is known.
    price: Option<ModelPrice>,
    /// The trace that the request belongs to, if telemetry is sent.
    trace: Option<Trace>,
    /// The targets that were asked, for the trace.
    attempts: Vec<Attempt>,
    /// What else the trace says.
    details: Details,
}

/// How much was heard of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    ToTheEnd,
    /// The client went away in its midst.
    LeftByItsClient,
    /// It broke off, or was broken off.
    InPart,
}

impl Record {
    /// The record of a request that began at `began`.
    pub(crate) fn new(
        worker: Arc<Worker>,
        snapshot: Arc<Snapshot>,
        request_id: RequestId,
        began: Timestamp,
    ) -> Self {
        Self {
            worker,
            snapshot,
            request_id,
            began,
            started: Instant::now(),
            event: None,
            grants: Vec::new(),
            expected: None,
            is_asked: false,
            price: None,
            trace: None,
            attempts: Vec::new(),
            details: Details::default(),
        }
    }

    /// The event, to be filled.
    pub(crate) fn event(&mut self) -> &mut Event {
        self.event.get_or_insert_with(|| {
            let mut event = self.worker.new_event(self.began);
            event.request_id = Some(self.request_id.to_string());
            event.config_version = Some(Arc::clone(&self.snapshot.version));
            Box::new(event)
        })
    }

    /// Keeps what the request was granted until it is over.
    pub(crate) fn hold(&mut self, grant: Grant) {
        self.grants.push(grant);
    }

    /// What claims more of the budgets that concern the request while its answer comes, if any do.
    pub(crate) fn meter(&self) -> Option<Meter> {
        let rates = &self.snapshot.rates;
        let step = rates.usual_output();
        let cost = self.price.as_ref().map_or(0, |price| price.cost(0, step));
        let more = Outlay { tokens: Some(step), cost: Some(cost) };
        let claims: Vec<Claim> = self.grants.iter().flat_map(|grant| grant.once_more(more)).collect();
        let expected = self.expected.unwrap_or_default();
        (!claims.is_empty())
            .then(|| Meter::new(Arc::clone(&self.worker), rates.on_failure(), expected, claims, step))
    }

    /// Notes how many tokens the request may use, for when nobody tells how many it did.
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.expected = Some(expected).filter(|expected| expected.input > 0);
    }

    /// From now on a provider is asked for this model.
    pub(crate) fn ask_for(&mut self, model: Option<&str>) {
        self.is_asked = true;
        self.price = self.snapshot.budgets.price_of(model.unwrap_or_default()).cloned();
    }

    /// Puts into the event how many tokens were used. Where the provider does not tell, or was not heard to the end of its
    /// answer, they are estimated by what it said so far. Whoever leaves it before it says anything is charged a usual one: the
    /// model may have been thinking for as long.
    pub(crate) fn count_tokens(&mut self, usage: Usage, status: StatusCode, heard: Heard) {
        let told = (usage.input, usage.output);
        let counted = match (self.expected, told) {
            (Some(expected), (input, output)) if status.is_success() => {
                // Who tells of the prompt alone has no tokens in the answer, such as of embeddings.
                let is_told = heard == Heard::ToTheEnd && told != (None, None);
                let unsaid = match heard {
                    Heard::LeftByItsClient if usage.said == 0 => self.snapshot.rates.usual(expected).output,
                    _ => 0,
                };
                let so_far = || output.unwrap_or(0).max(usage.estimated_output()).max(unsaid);
                (input.or(Some(expected.input)), if is_told { output } else { Some(so_far()) })
            }
            _ => told,
        };
        let event = self.event();
        (event.input_tokens, event.output_tokens) = counted;
        event.usage_estimated = (counted != told).then_some(true);
    }

    /// Tells the client how its limits stand.
    pub(crate) fn tell_limits(&self, headers: &mut HeaderMap) {
        Grant::tell_all(&self.grants, headers);
    }

    /// Joins the caller's trace if `caller` is trusted with that, else begins one; if telemetry is sent at all.
    pub(crate) fn begin_trace(&mut self, headers: &HeaderMap, caller: IpAddr) {
        let Some(settings) = &self.snapshot.telemetry else { return };
        let traceparent = headers.get("traceparent").filter(|_| settings.trusted_callers.contains(caller));
        let joined = traceparent.and_then(|value| Trace::join(value.as_bytes(), self.worker.draw()));
        let begin = || Trace::begin([(); 3].map(|()| self.worker.draw()), settings.sample_percent);
        self.trace = Some(joined.unwrap_or_else(begin));
    }

    /// Notes that a target is asked now. Gives the `traceparent` for it, if the request is traced.
    pub(crate) fn begin_attempt(&mut self, target: &Arc<Target>) -> Option<String> {
        let trace = self.trace?;
        let span_id = telemetry::span_id(self.worker.draw());
        let began = self.started.elapsed();
        self.attempts.push(Attempt { target: Arc::clone(target), span_id, began, ended: None, fault: None });
        Some(trace.traceparent(span_id))
    }

    /// Notes that the target asked last failed.
    pub(crate) fn end_attempt(&mut self, fault: &'static str) {
        let ended = self.started.elapsed();
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ended = Some(ended);
            attempt.fault = Some(fault);
        }
    }

    /// What the trace says beside the event, to be filled; `None` for a request of which no trace is sent.
    pub(crate) fn details(&mut self) -> Option<&mut Details> {
        self.trace.is_some_and(|trace| trace.is_sampled).then_some(&mut self.details)
    }

    /// Leaves what telemetry wants to know of a request that is over.
    fn leave_traces(&mut self, event: &Event) {
        if let Some(trace) = self.trace.take() {
            self.worker.shared.telemetry.put(Finished {
                trace,
                began: self.began,
                took: self.started.elapsed(),
                // Of most requests no span is made.
                event: if trace.is_sampled { event.clone() } else { telemetry::counted_of(event) },
                attempts: std::mem::take(&mut self.attempts),
                details: std::mem::take(&mut self.details),
            });
        }
    }

    /// Why a request ends that nobody finished, and its status: its client went away, unless the gateway itself cuts it off.
    pub(crate) fn left_undone(&self) -> (u16, &'static str) {
        if self.shared().cuts_off() { (CUT_OFF, "draining") } else { (CLIENT_CLOSED, "client_closed") }
    }

    /// The request that it is of.
    pub(crate) fn request_id(&self) -> RequestId {
        self.request_id
    }

    fn shared(&self) -> &Shared {
        &self.worker.shared
    }

    /// Keeps the event of a request that went through; it is on disk within 100 ms.
    pub(crate) fn finish(mut self, status: StatusCode, code: &str) {
        if let Some(event) = self.close(status.as_u16(), code)
            && (self.snapshot.records_all_access || code != "ok" || !status.is_success() || is_noted(&event))
        {
            self.shared().keep(&event);
        }
    }

    /// Keeps the event of a refused request, one by one up to a rate for each source and counted beyond it. What guards
    /// the edge is on disk afterwards, unless the disk hangs, the rest within 100 ms. A request that the chain let pass is
    /// always kept.
    pub(crate) async fn finish_refused(mut self, refusal: &Refusal) {
        self.event().event_type = refusal.event_type();
        let Some(mut event) = self.close(refusal.status().as_u16(), refusal.code) else { return };
        if event.event_type == EventType::Decision {
            let was_judged = event.verdict.is_some();
            // Who went away was refused nothing.
            if refusal.code != "client_closed" {
                event.verdict.get_or_insert(Verdict::Block);
            }
            let event = if was_judged { Some(event) } else { self.shared().admit_refusal(event) };
            return event.into_iter().for_each(|event| self.shared().keep(&event));
        }
        let Some(event) = self.shared().admit_refusal(event) else { return };
        let (done, kept) = oneshot::channel();
        self.shared().events.record_durably(&event, done);
        if !matches!(tokio::time::timeout(DISK_PATIENCE, kept).await, Ok(Ok(Ok(())))) {
            self.shared().report_unrecorded();
        }
    }

    /// Forgets the event: nothing happened that is worth keeping.
    pub(crate) fn discard(mut self) {
        self.event = None;
    }

    fn close(&mut self, status: u16, code: &str) -> Option<Box<Event>> {
        let mut event = self.event.take()?;
        event.status = Some(status);
        event.reason_code = Some(self.shared().reason(code));
        let outlay = self.outlay(&mut event, code);
        Grant::settle_all(&self.grants, outlay);
        self.grants.clear();
        event.duration_ms = Some(millis(self.started.elapsed()));
        self.shared().metrics.count(&event, self.started.elapsed());
        self.leave_traces(&event);
        Some(event)
    }

    /// What the request used in the end. What its tokens cost is noted in its event.
    fn outlay(&self, event: &mut Event, code: &str) -> Outlay {
        let is_left_undone = matches!(code, "client_closed" | "draining") && self.is_asked;
        if let Some(expected) = self.expected.filter(|_| is_left_undone)
            && (event.input_tokens, event.output_tokens) == (None, None)
        {
            // Nothing was heard of the answer. Who goes away early avoids no charge, and spends no more than a usual answer,
            // however much they said they would take.
            let usual = self.snapshot.rates.usual(expected);
            (event.input_tokens, event.output_tokens) = (Some(usual.input), Some(usual.output));
            event.usage_estimated = Some(true);
        }
        let tokens = used_tokens(event);
        let price = self.price.as_ref().filter(|_| event.input_tokens.or(event.output_tokens).is_some());
        if let Some(price) = price {
            let [input, output] = [event.input_tokens, event.output_tokens].map(Option::unwrap_or_default);
            event.cost_micros = Some(price.cost(input, output));
            event.currency = Some(Arc::clone(&self.snapshot.budgets.currency));
        }
        Outlay { tokens, cost: tokens.map(|_| event.cost_micros.unwrap_or(0)) }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (status, code) = if std::thread::panicking() {
            // Whatever it was that went wrong, this is to be found.
            self.event();
            (StatusCode::INTERNAL_SERVER_ERROR.as_u16(), "internal_error")
        } else {
            self.left_undone()
        };
        if let Some(event) = self.close(status, code) {
            self.shared().keep(&event);
        }
    }
}

/// Whether a policy had something to say of a request that went through.
fn is_noted(event: &Event) -> bool {
    let evaluations = event.policies_evaluated.iter().flatten();
    evaluations
        .into_iter()
        .any(|said| said.verdict != Verdict::Allow || !said.rules.is_empty() || said.not_scanned)
}

/// How many tokens a request used; `None` when nobody can tell, so that what it claimed stays claimed.
fn used_tokens(event: &Event) -> Option<u64> {
    let is_answered = event.status.is_some_and(|status| status < 400);
    match (event.input_tokens, event.output_tokens) {
        (None, None) if is_answered => None,
        (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
