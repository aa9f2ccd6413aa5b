//! Leaving a target alone that fails again and again.
//!
//! Closed, requests go to the target and failures in a row are counted. Open, none goes there for a while. Then it is
//! half open: a few requests try it; the first that succeeds closes the circuit and one that fails opens it anew.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use kt_domain::policy_config::CircuitBreaker;

/// The circuit of one target. Moments are in microseconds.
#[derive(Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    open_for: i64,
    max_probes: u32,
    failures: AtomicU32,
    /// Until when it is open; [`CLOSED`] while it is closed.
    open_until: AtomicI64,
    probes: AtomicU32,
}

const CLOSED: i64 = i64::MIN;

/// How a request was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The circuit is closed.
    Closed,
    /// The circuit is half open, and this request tries whether the target works again.
    Probe,
}

/// What a circuit is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    HalfOpen,
    /// It is tried again in so many microseconds.
    Open(i64),
}

impl Breaker {
    pub(crate) fn new(settings: &CircuitBreaker) -> Self {
        Self {
            threshold: settings.failures,
            open_for: i64::try_from(settings.open_for.0.as_micros()).unwrap_or(i64::MAX),
            max_probes: settings.probes,
            failures: AtomicU32::new(0),
            open_until: AtomicI64::new(CLOSED),
            probes: AtomicU32::new(0),
        }
    }

    pub(crate) fn state(&self, now: i64) -> State {
        match self.open_until.load(Ordering::Acquire) {
            CLOSED => State::Closed,
            until if now < until => State::Open(until.saturating_sub(now)),
            _ => State::HalfOpen,
        }
    }

    /// How many failures there were in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Lets a request through, or says in how many microseconds to ask again. Whoever got [`Pass::Probe`] must report
    /// what came of it: by [`Self::succeeded`], [`Self::failed`] or [`Self::abandoned`].
    pub(crate) fn admit(&self, now: i64) -> Result<Pass, i64> {
        match self.state(now) {
            State::Closed => Ok(Pass::Closed),
            State::Open(left) => Err(left),
            State::HalfOpen => self.take_probe().map(|()| Pass::Probe).ok_or(0),
        }
    }

    /// Whether a request would be let through.
    pub(crate) fn may_admit(&self, now: i64) -> bool {
        match self.state(now) {
            State::Closed => true,
            State::HalfOpen => self.probes.load(Ordering::Acquire) < self.max_probes,
            State::Open(_) => false,
        }
    }

    fn take_probe(&self) -> Option<()> {
        let one_more = |probes| (probes < self.max_probes).then_some(probes + 1);
        self.probes.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok().map(|_| ())
    }

    /// The target answered.
    pub(crate) fn succeeded(&self, pass: Pass) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if pass == Pass::Probe {
            self.open_until.store(CLOSED, Ordering::Release);
            self.abandoned(pass);
        }
    }

    /// The target failed at `now`. Whether that opened the circuit.
    pub(crate) fn failed(&self, pass: Pass, now: i64) -> bool {
        let in_a_row = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let opens = match pass {
            Pass::Probe => true,
            // Requests that were under way when it opened do not make it last longer.
            Pass::Closed => in_a_row >= self.threshold && self.state(now) == State::Closed,
        };
        if opens {
            self.open_until.store(now.saturating_add(self.open_for), Ordering::Release);
        }
        self.abandoned(pass);
        opens
    }

    /// The request ended without telling anything of the target.
    pub(crate) fn abandoned(&self, pass: Pass) {
        if pass == Pass::Probe {
            self.probes.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kt_domain::span::Span;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn breaker(failures: u32, probes: u32) -> Breaker {
        let open_for = Span(Duration::from_secs(30));
        Breaker::new(&CircuitBreaker { enabled: true, failures, open_for, probes })
    }

    fn open(probes: u32) -> Breaker {
        let breaker = breaker(1, probes);
        assert!(breaker.failed(Pass::Closed, 0));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_starts_anew() {
        let breaker = breaker(3, 1);
        for _ in 0..2 {
            assert!(!breaker.failed(Pass::Closed, 0));
        }
        breaker.succeeded(Pass::Closed);
        for failure in 1..=3 {
            assert_eq!(breaker.admit(0), Ok(Pass::Closed));
            assert_eq!(breaker.failed(Pass::Closed, 0), failure == 3);
        }
        assert_eq!(breaker.admit(0), Err(30 * SECOND));
        assert_eq!(breaker.admit(29 * SECOND), Err(SECOND));
    }

    #[test]
    fn half_open_only_so_many_try_and_one_success_closes_it() {
        let breaker = open(2);
        let later = 30 * SECOND;
        assert_eq!(breaker.state(later), State::HalfOpen);
        assert_eq!(breaker.admit(later), Ok(Pass::Probe));
        assert_eq!(breaker.admit(later), Ok(Pass::Probe));
        assert_eq!(breaker.admit(later), Err(0));
        breaker.succeeded(Pass::Probe);
        assert_eq!(breaker.admit(later), Ok(Pass::Closed));
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_the_whole_time_again() {
        let breaker = open(1);
        assert_eq!(breaker.admit(30 * SECOND), Ok(Pass::Probe));
        assert!(breaker.failed(Pass::Probe, 31 * SECOND));
        assert_eq!(breaker.admit(60 * SECOND), Err(SECOND));
        assert_eq!(breaker.admit(61 * SECOND), Ok(Pass::Probe), "its place is free again");
    }

    #[test]
    fn a_probe_whose_client_went_away_tells_nothing_and_leaves_its_place() {
        let breaker = open(1);
        assert_eq!(breaker.admit(30 * SECOND), Ok(Pass::Probe));
        breaker.abandoned(Pass::Probe);
        assert_eq!(breaker.admit(30 * SECOND), Ok(Pass::Probe));
    }

    #[test]
    fn who_was_under_way_when_it_opened_neither_closes_nor_prolongs_it() {
        let breaker = open(1);
        breaker.succeeded(Pass::Closed);
        assert!(!breaker.failed(Pass::Closed, 10 * SECOND));
        assert_eq!(breaker.admit(10 * SECOND), Err(20 * SECOND));
    }

    #[test]
    fn of_many_at_once_only_the_probes_get_through() {
        let breaker = open(3);
        let through: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..100).filter(|_| breaker.admit(40 * SECOND).is_ok()).count()))
                .collect();
            tries.into_iter().map(|tries| tries.join().unwrap()).sum()
        });
        assert_eq!(through, 3);
    }
}
