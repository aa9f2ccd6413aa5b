//! Runs of tasks: who may work on one, and when it is given up.
//!
//! A run is leased. Each lease has a number, and whoever holds it writes under that number alone: a server that was
//! paused beyond its lease finds that its number is no longer the latest, and what it has to say changes nothing.

use std::time::Duration;

use jiff::Timestamp;

use crate::words;

/// For how long a server that works on a run is believed to; it says so again every few seconds.
pub const LEASE: Duration = Duration::from_secs(20);

/// How long a server works on a run at a time. What a model answers within a gateway's own limits takes less; a gateway that
/// answers drop by drop would otherwise be listened to for ever.
pub const LONGEST_RUN: Duration = Duration::from_mins(30);

/// How often a run is begun at most. One that ends its server again and again must not go on for ever.
pub const MOST_ATTEMPTS: u32 = 3;

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
    /// It is begun, for this time.
    Begin(u32),
    /// It was begun too often.
    GiveUp,
}

/// Whether a run may be begun at `now` that has been begun so often, and is leased until then.
#[must_use]
pub fn may_take(state: RunState, attempts: u32, leased_until: Timestamp, now: Timestamp) -> Taken {
    if state.is_over() || leased_until > now {
        Taken::No
    } else if attempts >= MOST_ATTEMPTS {
        Taken::GiveUp
    } else {
        Taken::Begin(attempts + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_begun_when_nobody_holds_it_and_at_most_three_times() {
        let now: Timestamp = "2026-03-15T12:00:00Z".parse().unwrap();
        let later = now + Duration::from_secs(1);
        for (state, attempts, leased_until, expected) in [
            (RunState::Queued, 0, now, Taken::Begin(1)),
            (RunState::Running, 1, later, Taken::No),
            (RunState::Running, 1, now, Taken::Begin(2)),
            (RunState::Running, 2, now, Taken::Begin(3)),
            (RunState::Running, 3, now, Taken::GiveUp),
            (RunState::Running, 3, later, Taken::No),
            (RunState::Complete, 1, now, Taken::No),
            (RunState::Cancelled, 0, now, Taken::No),
        ] {
            assert_eq!(may_take(state, attempts, leased_until, now), expected, "{state} {attempts}");
        }
    }
}
