//! Runs of tasks: who may work on one, and when it is given up.
//!
//! A run is leased. Each lease has a number, and whoever holds it writes under that number alone: a server that was
//! paused beyond its lease finds that its number is no longer the latest, and what it has to say changes nothing.

use std::time::Duration;

use jiff::Timestamp;

use crate::words;

/// For how long a server that works on a run is believed to; it says so again every few seconds. Longer than the clocks of
/// two servers may differ (half a minute), so that one whose clock is ahead takes nothing from another that lives.
pub const LEASE: Duration = Duration::from_secs(45);

/// How long a server works on a run at a time. What a model answers within a gateway's own limits takes less; a gateway that
/// answers drop by drop would otherwise be listened to for ever.
pub const LONGEST_RUN: Duration = Duration::from_mins(30);

/// How often a model is asked at most for a run. One that ends its server again and again must not go on for ever.
pub const MOST_ASKED: u32 = 3;

/// How old a run becomes that no gateway takes.
pub const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It waits for a server.
    Queued,
    /// A server works on it.
    Running,
    /// Its answer is there.
    Complete,
    /// A policy refused it.
    Blocked,
    /// The gateway or the model gave no answer.
    Failed,
    /// Whoever started it may not use models any more.
    Refused,
    /// Whoever started it has stopped it.
    Cancelled,
}

words!(RunState {
    Queued = "queued",
    Running = "running",
    Complete = "complete",
    Blocked = "blocked",
    Failed = "failed",
    Refused = "refused",
    Cancelled = "cancelled",
});

impl RunState {
    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// What becomes of a run that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nobody may begin with it.
    No,
    /// It is begun.
    Begin,
    /// A model was asked too often.
    GiveUp,
}

/// Whether a run may be begun at `now` for which a model may have been asked so often, and which is leased until then.
#[must_use]
pub fn may_take(state: RunState, asked: u32, leased_until: Timestamp, now: Timestamp) -> Taken {
    if state.is_over() || leased_until > now {
        Taken::No
    } else if asked >= MOST_ASKED {
        Taken::GiveUp
    } else {
        Taken::Begin
    }
}

/// How long a run of this age waits that no gateway has taken: the longer the older it is, and as long as a gateway has `told`
/// at least. `None` where it has waited long enough.
#[must_use]
pub fn wait_for_gateway(age: Duration, told: Duration) -> Option<Duration> {
    const SHORTEST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_mins(1);
    (age < LONGEST_WAIT).then(|| (age / 2).clamp(SHORTEST, LONGEST).max(told.min(LONGEST_WAIT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_no_gateway_takes_is_tried_less_and_less_often_for_half_an_hour() {
        let second = Duration::from_secs(1);
        // its age, what a gateway has told, and how long it waits
        for (age, told, wait) in [
            (0, 0, Some(5)),
            (10, 0, Some(5)),
            (30, 0, Some(15)),
            (600, 0, Some(60)),
            (1799, 0, Some(60)),
            (1800, 0, None),
            (0, 3, Some(5)),
            (0, 40, Some(40)),
            (600, 300, Some(300)),
            (0, 1_000_000, Some(1800)),
            (1800, 40, None),
        ] {
            let found = wait_for_gateway(age * second, told * second);
            assert_eq!(found, wait.map(|wait: u32| wait * second), "{age} s, {told} s");
        }
    }

    #[test]
    fn a_run_is_begun_when_nobody_holds_it_and_a_model_asked_at_most_three_times() {
        let now: Timestamp = "2026-03-15T12:00:00Z".parse().unwrap();
        let later = now + Duration::from_secs(1);
        for (state, asked, leased_until, expected) in [
            (RunState::Queued, 0, now, Taken::Begin),
            (RunState::Running, 1, later, Taken::No),
            (RunState::Running, 1, now, Taken::Begin),
            (RunState::Running, 2, now, Taken::Begin),
            (RunState::Running, 3, now, Taken::GiveUp),
            (RunState::Running, 3, later, Taken::No),
            (RunState::Complete, 1, now, Taken::No),
            (RunState::Cancelled, 0, now, Taken::No),
        ] {
            assert_eq!(may_take(state, asked, leased_until, now), expected, "{state} {asked}");
        }
    }
}
