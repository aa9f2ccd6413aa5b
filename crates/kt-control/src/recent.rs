//! What was found a moment ago, so that a request does not ask the store for all of it again.
//!
//! The store keeps one number that moves on with everything that takes something away, in the same transaction. Whoever
//! relies on what is remembered asks for that number first: what any process has taken away is gone for all of them
//! from the next request on. Those who ask at the same time share one query.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::configurations::{ConfigurationSource, Orders};
use kt_domain::error::Error;
use kt_domain::id::{ApiKeyId, OrganizationId, UserId};
use kt_domain::keys::KeySnapshot;
use kt_domain::secret::SecretDigest;
use kt_store::revision;
use tokio::sync::futures::Notified;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::authenticate::Holder;
use crate::control::Control;
use crate::keys::KeyHolder;
use crate::sign_in::Whoami;

/// What was found, and by which number of the store's.
#[derive(Default)]
pub(crate) struct Recent {
    /// Whose bearer it is.
    pub(crate) bearers: Memory<SecretDigest, Holder>,
    /// Members as they see themselves.
    pub(crate) members: Memory<(OrganizationId, UserId), Whoami>,
    /// The keys of programs that wait.
    pub(crate) programs: Memory<ApiKeyId, KeyHolder>,
    /// What gateways are told.
    pub(crate) snapshots: Memory<OrganizationId, KeySnapshot>,
    /// What each gateway is told to do.
    pub(crate) orders: Memory<(OrganizationId, String, ConfigurationSource), Orders>,
    /// Taken by the one who reads a snapshot that many may be waiting for.
    pub(crate) snapshot_reader: Mutex<()>,
    looks: Looks,
    forgotten: Notify,
}

/// Looks at the store's number. Those who ask at the same time share one.
#[derive(Default)]
struct Looks {
    /// How many have begun.
    begun: AtomicU64,
    last: Mutex<Look>,
}

/// What came of looking at the store's number.
struct Look {
    /// Which look it was, from 1 on.
    place: u64,
    ended: Option<Instant>,
    /// The number, or why the store did not tell it.
    revision: Result<i64, String>,
}

impl Default for Look {
    fn default() -> Self {
        Self { place: 0, ended: None, revision: Err("nobody has looked yet".to_owned()) }
    }
}

impl Control {
    /// Forgets what is remembered if anything was taken away before this call, by whichever process, and signs with the keys
    /// that are in use since.
    pub async fn catch_up(&self) -> Result<(), Error> {
        let begun_before = self.recent.looks.begun();
        self.look_unless(|last| last.place > begun_before).await
    }

    /// The same for whoever comes by regularly: a look that others have had in this time will do.
    pub(crate) async fn catch_up_within(&self, time: Duration) -> Result<(), Error> {
        self.look_unless(|last| last.ended.is_some_and(|ended| ended.elapsed() < time)).await
    }

    async fn look_unless(&self, will_do: impl FnOnce(&Look) -> bool) -> Result<(), Error> {
        let (mut last, place) = self.recent.looks.begin_unless(will_do).await;
        if let Some(place) = place {
            let revision = self.follow(&last).await.map_err(|error| error.to_string());
            *last = Look { place, ended: Some(Instant::now()), revision };
        }
        match &last.revision {
            Ok(_) => Ok(()),
            Err(why) => Err(Error::unavailable(why)),
        }
    }

    /// Tells the number, and forgets what is remembered where it has moved on since the last look.
    async fn follow(&self, last: &Look) -> Result<i64, Error> {
        let number = revision::current(&self.store).await?;
        if last.revision != Ok(number) {
            self.forget();
            self.load_signing_keys().await?;
        }
        Ok(number)
    }

    /// From now on the store is asked about everything anew.
    pub(crate) fn forget(&self) {
        self.recent.forget();
        self.addresses.forget();
    }
}

impl Looks {
    fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// What came of the last look, and the place of the one that begins here, if that one will not do. One looks while the
    /// others wait for what comes of it.
    async fn begin_unless(&self, will_do: impl FnOnce(&Look) -> bool) -> (MutexGuard<'_, Look>, Option<u64>) {
        let last = self.last.lock().await;
        if will_do(&last) {
            return (last, None);
        }
        // It is for all who ask until it begins: those who have sent something by now are heard first.
        yield_now().await;
        let place = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        (last, Some(place))
    }
}

impl Recent {
    fn forget(&self) {
        self.bearers.forget();
        self.members.forget();
        self.programs.forget();
        self.snapshots.forget();
        self.orders.forget();
        self.forgotten.notify_waiters();
    }

    /// Is ready when this process learns after this call that something was taken away.
    pub(crate) fn next_change(&self) -> Notified<'_> {
        self.forgotten.notified()
    }
}

/// At most so many things of a kind are remembered; with more, all are forgotten and asked for anew.
const MOST: usize = 100_000;

/// What was found of one kind.
pub(crate) struct Memory<K, V>(RwLock<Remembered<K, V>>);

struct Remembered<K, V> {
    generation: u64,
    found: HashMap<K, Found<V>>,
}

struct Found<V> {
    value: Arc<V>,
    good_until: Timestamp,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(RwLock::new(Remembered { generation: 0, found: HashMap::new() }))
    }
}

impl<K: Eq + Hash, V> Memory<K, V> {
    /// What was found, if that may still be relied on.
    pub(crate) fn get(&self, key: &K, now: Timestamp) -> Option<Arc<V>> {
        let remembered = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.found.get(key)?;
        (now < found.good_until).then(|| Arc::clone(&found.value))
    }

    /// Read before the store is asked: what is found after it has moved on is not remembered.
    pub(crate) fn generation(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Keeps what was found for whoever comes next.
    pub(crate) fn remember(&self, generation: u64, key: K, value: V, good_until: Timestamp) -> Arc<V> {
        let value = Arc::new(value);
        let mut remembered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.generation == generation {
            if remembered.found.len() >= MOST {
                remembered.found.clear();
            }
            remembered.found.insert(key, Found { value: Arc::clone(&value), good_until });
        }
        value
    }

    fn forget(&self) {
        let mut remembered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        remembered.generation += 1;
        remembered.found.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_a_look_that_begins_after_all_of_them() {
        let looks = Looks::default();
        let ask = async || {
            let begun_before = looks.begun();
            let (mut last, place) = looks.begin_unless(|last| last.place > begun_before).await;
            if let Some(place) = place {
                *last = Look { place, ended: None, revision: Ok(7) };
            }
            place
        };
        assert_eq!(tokio::join!(ask(), ask(), ask()), (Some(1), None, None));
        assert_eq!(ask().await, Some(2), "what was seen before somebody asks is not for them");

        let (mut last, place) = looks.begin_unless(|_| false).await;
        let begun_before = looks.begun();
        *last = Look { place: place.unwrap(), ended: None, revision: Ok(7) };
        drop(last);
        let (_, place) = looks.begin_unless(|last| last.place > begun_before).await;
        assert_eq!(place, Some(4), "nor is what has begun by then");
    }

    #[test]
    fn what_was_found_is_relied_on_until_it_is_over_or_something_was_taken_away() {
        let memory = Memory::default();
        let (now, later) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(11).unwrap());
        memory.remember(memory.generation(), "key", "good", later);
        assert_eq!(memory.get(&"key", now).as_deref(), Some(&"good"));
        assert!(memory.get(&"other", now).is_none());
        assert!(memory.get(&"key", later).is_none(), "its time is over");

        let asked = memory.generation();
        memory.forget();
        assert!(memory.get(&"key", now).is_none(), "forgotten");
        assert_eq!(*memory.remember(asked, "key", "stale", later), "stale");
        assert!(memory.get(&"key", now).is_none(), "what was asked for before is not remembered");
        memory.remember(memory.generation(), "key", "good", later);
        assert_eq!(memory.get(&"key", now).as_deref(), Some(&"good"), "the control");
    }
}
