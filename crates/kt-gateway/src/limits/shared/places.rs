//! The requests under way, of which the server is told again: so that they count on, and because it may have lost them.
//!
//! The server's record of places is known by the moment at which it began. A worker claims places only in a record in which
//! it has told its own. Whoever knew another record before says so when it meets a new one: the server has lost what was
//! under way, so nobody is given a place until all had the time to tell theirs again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::RedisError;

use super::{GRACE, Inner, LEASE, LONGEST_GAP, RECORD};

/// How many requests the server is told of at once.
const AT_ONCE: usize = 500;
/// How many requests that are over are kept in mind for a server that is away. What it knows of others ends by itself.
const MOST_ENDED: usize = 50_000;

/// No record.
const NONE: i64 = 0;
/// One that nobody has seen, since the server has been away.
const UNSEEN: i64 = 1;

/// The record of places that all workers of a process know last.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownRecord(Arc<AtomicI64>);

/// A request and the keys in which it counts.
type Named = (u64, Vec<String>);

/// The requests of one worker that have places.
pub(super) struct Places {
    under_way: Mutex<HashMap<u64, Place>>,
    /// What is over and may still stand on the server, which was away when it was told so.
    ended: Mutex<Vec<Named>>,
    known: KnownRecord,
    /// The record in which those under way were told.
    told_in: AtomicI64,
    /// Whether they are to be told again soon.
    is_due: AtomicBool,
}

struct Place {
    keys: Vec<String>,
    /// Whether the server may know of it.
    may_stand: bool,
}

impl Places {
    pub(super) fn new(known: &KnownRecord) -> Self {
        Self {
            under_way: Mutex::default(),
            ended: Mutex::default(),
            known: known.clone(),
            told_in: AtomicI64::new(NONE),
            is_due: AtomicBool::new(false),
        }
    }

    /// Notes that a request is under way. `may_stand` says whether the server may know.
    pub(super) fn begin(&self, name: u64, keys: Vec<String>, may_stand: bool) {
        if !keys.is_empty() {
            lock(&self.under_way).insert(name, Place { keys, may_stand });
        }
    }

    /// Notes that a request is over; gives where it may still stand.
    pub(super) fn end(&self, name: u64) -> Option<Named> {
        let place = lock(&self.under_way).remove(&name)?;
        place.may_stand.then_some((name, place.keys))
    }

    /// Notes that the server is still to be told that a request is over, unless too many are.
    pub(super) fn owe_end(&self, ended: Named) {
        let mut owed = lock(&self.ended);
        if owed.len() < MOST_ENDED {
            owed.push(ended);
        }
        drop(owed);
        self.is_due.store(true, Ordering::Release);
    }

    /// Takes some of the requests of which the server is still to be told that they are over.
    fn some_ended(&self) -> Vec<Named> {
        let mut owed = lock(&self.ended);
        let rest = owed.len().saturating_sub(AT_ONCE);
        owed.split_off(rest)
    }

    /// Notes that the server was away. What it may have lost meanwhile nobody can tell who had not asked it before.
    pub(super) fn lose_sight(&self) {
        let _ = self.known.0.compare_exchange(NONE, UNSEEN, Ordering::AcqRel, Ordering::Acquire);
        self.is_due.store(true, Ordering::Release);
    }

    /// The record in which places may be claimed.
    pub(super) fn record(&self) -> i64 {
        self.told_in.load(Ordering::Acquire)
    }

    fn are_none(&self) -> bool {
        lock(&self.under_way).is_empty() && lock(&self.ended).is_empty()
    }

    /// The requests under way, of all of which the server may know from now on.
    fn all(&self) -> Vec<Named> {
        let mut under_way = lock(&self.under_way);
        let told = under_way.iter_mut().map(|(name, place)| {
            place.may_stand = true;
            (*name, place.keys.clone())
        });
        told.collect()
    }

    /// Those of the requests that are under way no more.
    fn over(&self, told: Vec<Named>) -> Vec<Named> {
        let under_way = lock(&self.under_way);
        told.into_iter().filter(|(name, _)| !under_way.contains_key(name)).collect()
    }

    /// Notes in which record all were told. In a new one they are told once more: some may just have been granted in the last.
    fn are_told_in(&self, record: i64) {
        let is_new = self.told_in.swap(record, Ordering::AcqRel) != record;
        self.known.0.store(record, Ordering::Release);
        self.is_due.store(is_new, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Tells the server of the requests under way, if it may not know of them.
    pub(super) async fn keep_places(&self) -> Result<(), RedisError> {
        if self.places.are_none() {
            return Ok(());
        }
        if !self.places.is_due.load(Ordering::Acquire) {
            let began: Result<Option<i64>, RedisError> =
                redis::cmd("HGET").arg(RECORD).arg("began").query_async(&mut self.connection()?).await;
            if began.as_ref().is_ok_and(|began| *began == Some(self.places.record())) {
                return Ok(());
            }
        }
        self.tell_places().await
    }

    /// Lets the requests under way count for another while.
    pub(super) async fn renew_places(&self) -> Result<(), RedisError> {
        if self.places.are_none() { Ok(()) } else { self.tell_places().await }
    }

    /// Tells the server which requests are under way, and which are not any more.
    pub(super) async fn tell_places(&self) -> Result<(), RedisError> {
        self.places.is_due.store(true, Ordering::Release);
        let told = self.places.all();
        let (first, rest) = told.split_at(told.len().min(AT_ONCE));
        let record = self.tell_some(first).await?;
        let mut is_one = true;
        for some in rest.chunks(AT_ONCE) {
            is_one &= self.tell_some(some).await? == record;
        }
        let over = self.places.over(told);
        lock(&self.places.ended).extend(over);
        self.tell_ended().await?;
        if is_one {
            self.places.are_told_in(record);
        }
        Ok(())
    }

    /// Tells the server of these requests; gives when the record began in which they stand.
    async fn tell_some(&self, some: &[Named]) -> Result<i64, RedisError> {
        let known = self.places.known.0.load(Ordering::Acquire);
        let mut invocation = self.tell.prepare_invoke();
        invocation.key(RECORD).arg(known).arg(GRACE).arg(LEASE).arg(LONGEST_GAP);
        for (name, keys) in some {
            for key in keys {
                invocation.key(key).arg(*name);
            }
        }
        invocation.invoke_async(&mut self.connection()?).await
    }

    /// Tells the server what is over, some at a time: what it has confirmed it is not told again, however long the rest takes.
    async fn tell_ended(&self) -> Result<(), RedisError> {
        loop {
            let ended = self.places.some_ended();
            if ended.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.remove(&ended).await {
                lock(&self.places.ended).extend(ended);
                return Err(error);
            }
        }
    }

    /// Tells the server that these requests are over.
    pub(super) async fn remove(&self, ended: &[Named]) -> Result<(), RedisError> {
        if ended.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for (name, keys) in ended {
            for key in keys {
                pipeline.zrem(key, *name).ignore();
            }
        }
        pipeline.exec_async(&mut self.connection()?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_in_mind_for_a_server_that_is_away_than_may_be() {
        let places = Places::new(&KnownRecord::default());
        for name in 0..=MOST_ENDED as u64 {
            places.owe_end((name, Vec::new()));
        }
        let parts = std::iter::from_fn(|| Some(places.some_ended().len()).filter(|length| *length > 0));
        assert_eq!(parts.collect::<Vec<_>>(), vec![AT_ONCE; MOST_ENDED / AT_ONCE]);
    }
}
