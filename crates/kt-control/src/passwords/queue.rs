//! Heavy work in bounded number: some at once on threads of their own, some waiting, the rest refused.
//!
//! A flood of sign-ins then costs a fixed amount of memory and leaves the threads that serve others alone: ASVS 15.2.2. It
//! leaves places for others, too: nobody has more than half of them, and strangers together not all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use kt_domain::ctx::Ctx;
use kt_domain::id::UserId;
use kt_domain::lockout::network_of;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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

impl Capacity {
    /// For how many there is place.
    fn places(self) -> usize {
        self.running.get().saturating_add(self.waiting).min(Semaphore::MAX_PERMITS)
    }

    /// How many places strangers may take: of those to wait in, a quarter is kept for whoever is known.
    fn for_strangers(self) -> usize {
        self.places() - self.waiting.min(self.places()) / 4
    }

    /// How many places one asker may take.
    fn for_one(self) -> usize {
        self.places().div_ceil(2)
    }
}

/// Who asks for work, and whose place it therefore takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    name: String,
    is_known: bool,
}

impl Asker {
    /// Whoever is signed in to this account, or at a device that has been.
    #[must_use]
    pub fn known(account: &UserId) -> Self {
        Self { name: account.to_string(), is_known: true }
    }

    /// Anybody else: all of one network are one.
    #[must_use]
    pub fn stranger(ip: Option<IpAddr>) -> Self {
        let name = ip.map_or_else(|| "nowhere".to_owned(), |ip| network_of(ip).to_string());
        Self { name, is_known: false }
    }

    /// Whoever acts.
    pub(crate) fn of(ctx: &Ctx) -> Self {
        ctx.actor.user().map_or_else(|| Self::stranger(ctx.client.ip), Self::known)
    }
}

/// Work that is bounded by a [`Capacity`].
#[derive(Debug)]
pub(super) struct Queue {
    /// A permit for each that runs or waits.
    places: Arc<Semaphore>,
    /// A permit for each of them whom a stranger has asked for.
    for_strangers: Arc<Semaphore>,
    /// How many places each asker has who has some.
    taken: Arc<Mutex<HashMap<String, usize>>>,
    /// How many one may have.
    for_one: usize,
    /// A permit for each that runs. Waiters get theirs in the order in which they came.
    slots: Arc<Semaphore>,
}

/// Work was not done.
#[derive(Debug)]
pub(super) enum NotRun {
    /// As much is running and waiting as may be, of all or of whoever asks.
    Full,
    /// It panicked, or the process is ending.
    Broken(JoinError),
}

impl Queue {
    pub(super) fn new(capacity: Capacity) -> Self {
        let permits = |number| Arc::new(Semaphore::new(number));
        Self {
            places: permits(capacity.places()),
            for_strangers: permits(capacity.for_strangers()),
            taken: Arc::default(),
            for_one: capacity.for_one(),
            slots: permits(capacity.running.get()),
        }
    }

    /// What `work` gives, once its turn has come.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        asker: &Asker,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRun> {
        let place = self.place_for(asker)?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_closed| NotRun::Full)?;
        // The permits go with the work: it runs to its end even if whoever asked for it goes away.
        let task = spawn_blocking(move || {
            let result = work();
            drop((slot, place));
            result
        });
        task.await.map_err(NotRun::Broken)
    }

    fn place_for(&self, asker: &Asker) -> Result<Place, NotRun> {
        let share = Share::take(&self.taken, &asker.name, self.for_one).ok_or(NotRun::Full)?;
        let take = |permits: &Arc<Semaphore>| Arc::clone(permits).try_acquire_owned();
        let as_stranger = (!asker.is_known).then(|| take(&self.for_strangers)).transpose();
        let as_stranger = as_stranger.map_err(|_full| NotRun::Full)?;
        let place = take(&self.places).map_err(|_full| NotRun::Full)?;
        Ok(Place { _share: share, _as_stranger: as_stranger, _of_all: place })
    }
}

/// A place, which is given back when it is dropped.
struct Place {
    _share: Share,
    _as_stranger: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

/// One of the places of an asker.
struct Share {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    name: String,
}

impl Share {
    /// One more, if the asker does not have `most` already.
    fn take(taken: &Arc<Mutex<HashMap<String, usize>>>, name: &str, most: usize) -> Option<Self> {
        let mut of_all = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = of_all.entry(name.to_owned()).or_default();
        if *own >= most {
            return None;
        }
        *own += 1;
        Some(Self { taken: Arc::clone(taken), name: name.to_owned() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut of_all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = of_all.get_mut(&self.name) {
            *own -= 1;
            if *own == 0 {
                of_all.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
