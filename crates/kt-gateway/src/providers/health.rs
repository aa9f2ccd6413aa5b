//! How each target has fared: its circuit, its counters, its last fault. Outlives a reload, so that a reload forgives
//! no target.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kt_domain::policy_config::CircuitBreaker;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::rests::Rests;
use crate::breaker::{Breaker, Pass, State};
use crate::upstream::UpstreamFault;

/// How long nothing more is said of a key that is refused, in microseconds: each request can be refused, and a client that
/// asks for what the key does not reach brings that about between others that are answered.
const KEY_TOLD_AGAIN: i64 = 3_600_000_000;
/// So long ago that it is time again.
const NEVER: i64 = i64::MIN;

/// How one target has fared.
#[derive(Debug)]
pub(crate) struct TargetHealth {
    id: Arc<str>,
    settings: CircuitBreaker,
    /// `None` when targets are never left alone.
    breaker: Option<Breaker>,
    budget: RetryBudget,
    pub(crate) answers: Counter,
    faults: Family<TargetFault, Counter>,
    pub(crate) retries: Counter,
    last_fault: Mutex<Option<Fault>>,
    /// Which of its models asked to be left alone.
    pub(crate) rests: Rests,
    /// Whether it gave no answer when it was last asked to judge content.
    is_silent: AtomicBool,
    /// When it was last said that its key is refused; [`NEVER`] if it was not.
    key_told: AtomicI64,
}

/// A fault of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) at: Timestamp,
}

/// The health of all targets, by their ids, and what is counted of them.
#[derive(Debug, Default)]
pub(crate) struct HealthOfTargets {
    known: Mutex<HashMap<String, Arc<TargetHealth>>>,
    answers: Family<OfTarget, Counter>,
    faults: Family<TargetFault, Counter>,
    retries: Family<OfTarget, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTarget {
    target: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetFault {
    target: String,
    code: &'static str,
}

impl HealthOfTargets {
    /// The health of the target with this id; what is known of it is kept, unless the circuit's settings are others.
    pub(crate) fn of(&self, id: &str, settings: &CircuitBreaker) -> Arc<TargetHealth> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(id) {
            Some(health) if health.settings == *settings => Arc::clone(health),
            _ => {
                let of_target = OfTarget { target: id.to_owned() };
                let health = Arc::new(TargetHealth {
                    id: id.into(),
                    settings: settings.clone(),
                    breaker: settings.enabled.then(|| Breaker::new(settings)),
                    budget: RetryBudget::default(),
                    answers: self.answers.get_or_create(&of_target).clone(),
                    faults: self.faults.clone(),
                    retries: self.retries.get_or_create(&of_target).clone(),
                    last_fault: Mutex::default(),
                    rests: Rests::default(),
                    is_silent: AtomicBool::new(false),
                    key_told: AtomicI64::new(NEVER),
                });
                known.insert(id.to_owned(), Arc::clone(&health));
                health
            }
        }
    }

    /// Forgets the targets that there are no more. What was counted of them stays counted.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| is_there(id));
    }

    /// Makes what is counted part of the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("target_answers", "Usable answers of each target", self.answers.clone());
        registry.register(
            "target_faults",
            "Failed attempts at each target, by error code",
            self.faults.clone(),
        );
        registry.register(
            "target_retries",
            "Requests that were sent to a target once more",
            self.retries.clone(),
        );
    }

    /// The circuits' states at `now`, in the text format of the metrics.
    pub(crate) fn render_states(&self, now: i64, text: &mut String) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states: Vec<_> = known.values().map(|health| (&health.id, health.state(now))).collect();
        states.sort_by_key(|(id, _)| Arc::clone(id));
        text.push_str(
            "# HELP keeptrusts_gateway_target_circuit Whether a target is left alone: 0 closed, 1 half open, 2 open.\n\
             # TYPE keeptrusts_gateway_target_circuit gauge\n",
        );
        for (id, state) in states {
            let number = match state {
                State::Closed => 0,
                State::HalfOpen => 1,
                State::Open(_) => 2,
            };
            // Backslash, quote and line feed are escaped in label values (OpenMetrics 1.0 section 4.1); ids hold no
            // other characters that matter. Writing to a string cannot fail.
            let id = id.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(text, "keeptrusts_gateway_target_circuit{{target=\"{id}\"}} {number}");
        }
    }
}

impl TargetHealth {
    pub(crate) fn state(&self, now: i64) -> State {
        self.breaker.as_ref().map_or(State::Closed, |breaker| breaker.state(now))
    }

    pub(crate) fn failures(&self) -> u32 {
        self.breaker.as_ref().map_or(0, Breaker::failures)
    }

    pub(crate) fn last_fault(&self) -> Option<Fault> {
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request would be let through to the target.
    pub(crate) fn may_admit(&self, now: i64) -> bool {
        self.breaker.as_ref().is_none_or(|breaker| breaker.may_admit(now))
    }

    /// In how many microseconds the target may be asked again.
    pub(crate) fn wait(&self, now: i64) -> i64 {
        match self.state(now) {
            State::Closed | State::HalfOpen => 0,
            State::Open(left) => left,
        }
    }

    /// Lets a request through to the target, or says in how many microseconds to ask again.
    pub(crate) fn admit(&self, now: i64) -> Result<Pass, i64> {
        self.breaker.as_ref().map_or(Ok(Pass::Closed), |breaker| breaker.admit(now))
    }

    pub(crate) fn succeeded(&self, pass: Pass) {
        self.answers.inc();
        self.budget.earn();
        if let Some(breaker) = &self.breaker {
            breaker.succeeded(pass);
        }
    }

    /// The target failed; `counts` says whether the circuit is to know.
    pub(crate) fn failed(&self, pass: Pass, fault: Fault, counts: bool) {
        self.faults.get_or_create(&TargetFault { target: self.id.to_string(), code: fault.code }).inc();
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        if fault.code == UpstreamFault::KeyRefused.code() && self.is_key_to_be_told(fault.at) {
            tracing::warn!(target_id = %self.id, "the provider refuses the gateway's key, or what is asked for with it; see the target's `secret_key_ref`");
        }
        let Some(breaker) = &self.breaker else { return };
        if !counts {
            breaker.abandoned(pass);
        } else if breaker.failed(pass, fault.at.as_microsecond()) {
            tracing::warn!(target_id = %self.id, code = fault.code, "the target fails again and again and is left alone for a while");
        }
    }

    /// Whether it is time to say that the key is refused: at once, and while that goes on now and then.
    fn is_key_to_be_told(&self, at: Timestamp) -> bool {
        let (told, now) = (self.key_told.load(Ordering::Relaxed), at.as_microsecond());
        now.saturating_sub(told) >= KEY_TOLD_AGAIN
            && self.key_told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// It was asked to judge content, and did unless there is a `fault`. Each outage is told once. No circuit opens by it: whoever
    /// sends the content could open one for everybody.
    pub(crate) fn asked_to_judge(&self, fault: Option<Fault>) {
        let was_silent = self.is_silent.swap(fault.is_some(), Ordering::Relaxed);
        match fault {
            Some(fault) => {
                self.failed(Pass::Closed, fault, false);
                if !was_silent {
                    tracing::warn!(target_id = %self.id, code = fault.code, "the target does not judge content");
                }
            }
            None if was_silent => tracing::info!(target_id = %self.id, "the target judges content again"),
            None => {}
        }
    }

    /// The request ended without telling anything of the target.
    pub(crate) fn abandoned(&self, pass: Pass) {
        if let Some(breaker) = &self.breaker {
            breaker.abandoned(pass);
        }
    }

    /// Takes one repetition out of the budget, if there is one.
    pub(crate) fn may_retry(&self) -> bool {
        let may = self.budget.spend();
        if may {
            self.retries.inc();
        }
        may
    }
}

/// Repetitions must not multiply the load on a target that is in trouble: each answer earns a fifth of one, and a few are
/// there to begin with.
#[derive(Debug)]
struct RetryBudget(AtomicI32);

const COST: i32 = 5;
const MOST: i32 = 20 * COST;

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI32::new(MOST))
    }
}

impl RetryBudget {
    fn earn(&self) {
        if self.0.load(Ordering::Relaxed) < MOST {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn spend(&self) -> bool {
        let spent = |left| (left >= COST).then_some(left - COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_a_fifth_of_what_was_answered_after_the_first_few() {
        let budget = RetryBudget::default();
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 20);
        let repeated = (0..1000)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert_eq!(repeated, 200);
    }

    #[test]
    fn a_reload_forgives_no_target_unless_the_circuit_itself_is_changed() {
        let targets = HealthOfTargets::default();
        let settings = CircuitBreaker { enabled: true, failures: 1, ..CircuitBreaker::default() };
        let fault = Fault { code: "upstream_failed", at: Timestamp::UNIX_EPOCH };
        targets.of("a", &settings).failed(Pass::Closed, fault, true);
        assert!(matches!(targets.of("a", &settings).state(0), State::Open(_)));
        assert_eq!(targets.of("b", &settings).state(0), State::Closed);
        let changed = CircuitBreaker { failures: 2, ..settings };
        assert_eq!(targets.of("a", &changed).state(0), State::Closed);
    }

    #[test]
    fn a_refused_key_is_told_at_once_and_then_once_an_hour() {
        let targets = HealthOfTargets::default();
        let [one, other] = ["one", "other"].map(|id| targets.of(id, &CircuitBreaker::default()));
        let at = |minutes: i64| Timestamp::from_second(minutes * 60).unwrap();
        let told = |target: &TargetHealth| {
            (0..200).filter(|minutes| target.is_key_to_be_told(at(*minutes))).collect::<Vec<_>>()
        };
        assert_eq!(told(&one), [0, 60, 120, 180]);
        assert!(other.is_key_to_be_told(at(7)), "nor is one about the other");
        assert!(!other.is_key_to_be_told(at(66)));
        assert!(other.is_key_to_be_told(at(67)));
    }

    #[test]
    fn states_are_shown_with_ids_that_cannot_break_out() {
        let targets = HealthOfTargets::default();
        targets.of("a\"b\n", &CircuitBreaker::default());
        let mut text = String::new();
        targets.render_states(0, &mut text);
        assert!(text.ends_with("keeptrusts_gateway_target_circuit{target=\"a\\\"b\\n\"} 0\n"), "{text}");
    }
}
