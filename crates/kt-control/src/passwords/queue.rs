//! Heavy work in bounded number: some at once on threads of their own, some waiting, the rest refused.
//!
//! A flood of sign-ins then costs a fixed amount of memory and leaves the threads that serve others alone: ASVS 15.2.2.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// How much work is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// How many run at once.
    pub running: NonZeroUsize,
    /// How many may wait besides.
    pub waiting: usize,
}

impl Default for Capacity {
    /// One for each processor, and sixteen waiting for each: with 40 ms for a hash the last waits for less than a
    /// second.
    fn default() -> Self {
        let running = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { running, waiting: 16 * running.get() }
    }
}

/// Work that is bounded by a [`Capacity`].
#[derive(Debug)]
pub(super) struct Queue {
    /// A permit for each that runs or waits.
    places: Arc<Semaphore>,
    /// A permit for each that runs. Waiters get theirs in the order in which they came.
    slots: Arc<Semaphore>,
}

/// Work was not done.
#[derive(Debug)]
pub(super) enum NotRun {
    /// As much is running and waiting as may be.
    Full,
    /// It panicked, or the process is ending.
    Broken(JoinError),
}

impl Queue {
    pub(super) fn new(capacity: Capacity) -> Self {
        let running = capacity.running.get();
        let places = running.saturating_add(capacity.waiting).min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), slots: Arc::new(Semaphore::new(running)) }
    }

    /// What `work` gives, once its turn has come.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRun> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_full| NotRun::Full)?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_closed| NotRun::Full)?;
        // The permits go with the work: it runs to its end even if whoever asked for it goes away.
        let task = spawn_blocking(move || {
            let result = work();
            drop((slot, place));
            result
        });
        task.await.map_err(NotRun::Broken)
    }
}

#[cfg(test)]
mod tests;
