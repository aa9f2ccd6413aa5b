//! Whose turn it is on a connection: how long a client may keep this side waiting.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long is waited for what a client has to do.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For the head of a request, and for the first request of a connection.
    pub(super) head: Duration,
    /// For the next request of a connection over HTTP/2, and until it takes a part of an answer.
    pub(super) quiet: Duration,
}

/// Whose turn it is on a connection, and since when.
pub(super) struct Activity {
    patience: Patience,
    state: Mutex<State>,
}

struct State {
    /// How many requests this side works on.
    working: usize,
    /// Since when it works on none.
    quiet_since: Instant,
    has_asked: bool,
}

impl Activity {
    pub(super) fn new(patience: Patience) -> Self {
        let state = State { working: 0, quiet_since: Instant::now(), has_asked: false };
        Self { patience, state: Mutex::new(state) }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the client has had its time, if nothing happens until then.
    pub(super) fn ends_at(&self) -> Instant {
        let Patience { head, quiet } = self.patience;
        self.with(|state| match state {
            State { working: 0, quiet_since, has_asked } => {
                *quiet_since + if *has_asked { quiet } else { head }
            }
            _ => Instant::now() + quiet,
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.ends_at() <= Instant::now()
    }
}

/// A request that this side works on. What it does not work on waits for the client.
pub(super) struct Turn(pub(super) Arc<Activity>);

impl Turn {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.with(|state| {
            state.working += 1;
            state.has_asked = true;
        });
        Self(Arc::clone(activity))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.working -= 1;
            state.quiet_since = Instant::now();
        });
    }
}
