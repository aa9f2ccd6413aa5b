//! Counting in this process's memory.
//!
//! Rates follow the generic cell rate algorithm: for each limit the moment is kept at which it would be unused again,
//! which says in one number how much of the last minute's worth is used up.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{
    Claim, Denied, Left, MINUTE_MICROS, Measure, Spending, Subject, left_of_budget, left_of_rate, micros,
    share, signed,
};

/// How many limits are kept apart in each part; what comes beyond shares one allowance, so that many addresses are no
/// way around it.
const MAX_IN_PART: usize = 4096;
const PARTS: usize = 16;

/// How often a full part is looked through for what is not used, in microseconds: a flood of new addresses must not make
/// each request do that.
const SWEEP: i64 = 1_000_000;

type Named = (Subject, Measure);

/// What was used of each limit.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    parts: [Mutex<Part>; PARTS],
    hasher: RandomState,
    /// What is shared by those that are not kept apart: requests, tokens, places.
    overflow: [Arc<Count>; 3],
}

#[derive(Debug, Default)]
struct Part {
    counts: HashMap<Named, Arc<Count>>,
    /// When it was last looked through.
    swept: i64,
}

/// What was used of one limit.
#[derive(Debug)]
pub(super) struct Count {
    /// The moment, in microseconds, at which it would be unused again.
    unused_from: AtomicI64,
    under_way: AtomicU32,
    /// Tokens, or millionths of the currency.
    spent: AtomicI64,
}

impl Default for Count {
    fn default() -> Self {
        Self { unused_from: AtomicI64::new(i64::MIN), under_way: AtomicU32::new(0), spent: AtomicI64::new(0) }
    }
}

impl Memory {
    /// Takes all claims at `now`, or none. Gives how each limit stands, and its count.
    pub(super) fn take(&self, claims: &[Claim], now: i64) -> Result<(Vec<Left>, Vec<Arc<Count>>), Denied> {
        let mut left = Vec::with_capacity(claims.len());
        let mut counts = Vec::with_capacity(claims.len());
        for claim in claims {
            let count = self.count_of(claim, now);
            match count.take(claim, now) {
                Ok(standing) => {
                    left.push(standing);
                    counts.push(count);
                }
                Err(wait) => {
                    undo(claims, &counts);
                    return Err(Denied::Limited { claim: claim.clone(), wait });
                }
            }
        }
        Ok((left, counts))
    }

    /// Counts claims that were granted elsewhere; unless this process alone has as many requests under way as may be, which is
    /// not known there then.
    pub(super) fn note(&self, claims: &[Claim], now: i64) -> Result<Vec<Arc<Count>>, Denied> {
        let mut counts = Vec::with_capacity(claims.len());
        for claim in claims {
            let count = self.count_of(claim, now);
            let is_own = !self.overflow.iter().any(|of_many| Arc::ptr_eq(of_many, &count));
            if claim.measure == Measure::Concurrent && is_own {
                if let Err(wait) = count.take_place(claim.limit) {
                    undo(claims, &counts);
                    return Err(Denied::Limited { claim: claim.clone(), wait });
                }
            } else {
                count.note(claim, now);
            }
            counts.push(count);
        }
        Ok(counts)
    }

    /// Adds so much to what was claimed elsewhere; takes it away, if it is negative.
    pub(super) fn add(&self, claim: &Claim, more: i64, now: i64) {
        self.count_of(claim, now).add(claim, more);
    }

    /// Each period of a budget that is not over at `now`, and what is spent of it.
    pub(super) fn spent(&self, now: i64) -> Vec<(Subject, Spending, i64)> {
        let mut all = Vec::new();
        for part in &self.parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(part.counts.iter().filter_map(|((subject, measure), count)| match measure {
                Measure::Spent(spending) if spending.until > now => {
                    Some((subject.clone(), spending.clone(), count.spent.load(Ordering::Acquire)))
                }
                _ => None,
            }));
        }
        all
    }

    fn count_of(&self, claim: &Claim, now: i64) -> Arc<Count> {
        let named = (claim.subject.clone(), claim.measure.clone());
        let part = usize::try_from(self.hasher.hash_one(&named)).unwrap_or_default() % PARTS;
        let mut part = self.parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        let Part { counts, swept } = &mut *part;
        if let Some(count) = counts.get(&named) {
            return Arc::clone(count);
        }
        if counts.len() >= MAX_IN_PART && now.saturating_sub(*swept) >= SWEEP {
            *swept = now;
            // Who holds a count may still add to it.
            counts
                .retain(|(_, measure), count| Arc::strong_count(count) > 1 || count.is_in_use(measure, now));
        }
        let overflow = match claim.measure {
            Measure::Requests => Some(0),
            Measure::Tokens => Some(1),
            Measure::Concurrent => Some(2),
            // Who has a budget is named by the configuration or by the control plane, never by a stranger.
            Measure::Spent(_) => None,
        };
        if let Some(overflow) = overflow.filter(|_| counts.len() >= MAX_IN_PART) {
            return Arc::clone(&self.overflow[overflow]);
        }
        Arc::clone(counts.entry(named).or_default())
    }
}

/// Gives back what was counted of the first of these claims.
fn undo(claims: &[Claim], counts: &[Arc<Count>]) {
    claims.iter().zip(counts).for_each(|(claim, count)| count.undo(claim));
}

impl Count {
    /// Takes what is claimed, or says after how long there may be room.
    fn take(&self, claim: &Claim, now: i64) -> Result<Left, Duration> {
        match &claim.measure {
            Measure::Concurrent => self.take_place(claim.limit),
            Measure::Requests | Measure::Tokens => self.take_rate(claim, now),
            Measure::Spent(spending) => self.take_of_budget(claim, spending, now),
        }
    }

    fn take_place(&self, limit: u64) -> Result<Left, Duration> {
        let one_more = |under_way: u32| (u64::from(under_way) < limit).then_some(under_way + 1);
        let taken = self.under_way.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        let before = taken.map_err(|_| Duration::from_secs(1))?;
        Ok(Left { amount: limit - u64::from(before) - 1, reset: Duration::ZERO })
    }

    /// Whoever comes while something is left has their turn, so that a budget is overdrawn by one request at most.
    fn take_of_budget(&self, claim: &Claim, spending: &Spending, now: i64) -> Result<Left, Duration> {
        let amount = signed(claim.amount);
        let taken = self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, |spent| {
            (spent < signed(claim.limit)).then_some(spent.saturating_add(amount))
        });
        let before = taken.map_err(|_| micros(spending.until - now))?;
        Ok(left_of_budget(claim.limit, before.saturating_add(amount), spending, now))
    }

    fn take_rate(&self, claim: &Claim, now: i64) -> Result<Left, Duration> {
        let share = share(claim.limit, signed(claim.amount));
        let after = |unused_from: i64| unused_from.max(now).saturating_add(share);
        let taken = self.unused_from.fetch_update(Ordering::AcqRel, Ordering::Acquire, |unused_from| {
            (after(unused_from) - now <= MINUTE_MICROS).then_some(after(unused_from))
        });
        match taken {
            Ok(unused_from) => Ok(left_of_rate(claim.limit, after(unused_from) - now)),
            Err(unused_from) => Err(micros(after(unused_from) - now - MINUTE_MICROS)),
        }
    }

    /// Counts so much more of a rate or budget that was claimed; less, if it is negative.
    pub(super) fn add(&self, claim: &Claim, more: i64) {
        match claim.measure {
            Measure::Spent(_) => add_to(&self.spent, more),
            _ => add_to(&self.unused_from, share(claim.limit, more)),
        }
    }

    /// Ends what a claim held while its request was under way.
    pub(super) fn give_back(&self) {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
    }

    fn undo(&self, claim: &Claim) {
        match claim.measure {
            Measure::Concurrent => self.give_back(),
            Measure::Requests | Measure::Tokens | Measure::Spent(_) => self.add(claim, -signed(claim.amount)),
        }
    }

    fn note(&self, claim: &Claim, now: i64) {
        match claim.measure {
            Measure::Concurrent => {
                self.under_way.fetch_add(1, Ordering::AcqRel);
            }
            Measure::Requests | Measure::Tokens => {
                let share = share(claim.limit, signed(claim.amount));
                let noted = |unused_from: i64| Some(unused_from.max(now).saturating_add(share));
                // It never says no.
                let _ = self.unused_from.fetch_update(Ordering::AcqRel, Ordering::Acquire, noted);
            }
            Measure::Spent(_) => self.add(claim, signed(claim.amount)),
        }
    }

    fn is_in_use(&self, measure: &Measure, now: i64) -> bool {
        match measure {
            Measure::Requests | Measure::Tokens => self.unused_from.load(Ordering::Acquire) > now,
            Measure::Concurrent => self.under_way.load(Ordering::Acquire) > 0,
            Measure::Spent(spending) => spending.until > now,
        }
    }
}

/// Adds so much, as far as it can be counted: a provider may say that it used any number of tokens.
fn add_to(count: &AtomicI64, more: i64) {
    let added = |count: i64| Some(count.saturating_add(more));
    // It never says no.
    let _ = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, added);
}
