//! What the server has still to be told: settlements that it did not confirm, and what was spent while it was away.
//!
//! Everything here changes nothing the second time it is told, so that it is told again until the server has answered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kt_domain::random::Random;

use super::AFTERWARDS;

/// What a request used of the budgets from which it had claimed.
#[derive(Debug)]
pub(super) struct Settlement {
    /// The name under which it claimed.
    pub(super) name: u64,
    /// The key of each budget, and what was used of it.
    pub(super) used: Vec<(String, u64)>,
    /// Whether the claim may come to the server only after this, and is then not to be granted.
    pub(super) may_come_first: bool,
}

/// What was spent of budgets while the server was away.
#[derive(Debug)]
pub(super) struct Spent {
    /// Tells it from all others.
    pub(super) name: u64,
    pub(super) sums: Vec<Sum>,
}

/// What was spent of one budget.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) key: String,
    pub(super) amount: i64,
    /// For how many milliseconds it is to be known.
    pub(super) kept: i64,
}

/// What one worker owes the server.
#[derive(Default)]
pub(super) struct Debts(Mutex<State>);

#[derive(Default)]
struct State {
    settlements: VecDeque<Arc<Settlement>>,
    /// What was told and not confirmed.
    told: Option<Arc<Spent>>,
    /// What was spent since: the end of the budget's period, and how much. Less than nothing where a request used less than
    /// it had claimed.
    spent: HashMap<String, (i64, i64)>,
}

impl Debts {
    /// Notes a settlement that was not confirmed.
    pub(super) fn settle(&self, settlement: Arc<Settlement>) {
        self.state().settlements.push_back(settlement);
    }

    /// Notes that so much more was spent of a budget's period that is over at `until`; less, if it is negative.
    pub(super) fn spend(&self, key: String, until: i64, more: i64) {
        let mut state = self.state();
        let (_, amount) = state.spent.entry(key).or_insert((until, 0));
        *amount = amount.saturating_add(more);
    }

    /// What was spent and is to be told next, at `now`: what was told already without an answer, in the same words, or what
    /// came together since.
    pub(super) fn spent(&self, now: i64) -> Option<Arc<Spent>> {
        let mut state = self.state();
        if state.told.is_none() {
            let sums = state.spent.drain().map(|(key, (until, amount))| {
                let kept = (until - now) / 1000 + AFTERWARDS;
                Sum { key, amount, kept }
            });
            let sums: Vec<Sum> = sums.filter(|sum| sum.amount != 0 && sum.kept > 0).collect();
            if !sums.is_empty() {
                state.told = Some(Arc::new(Spent { name: Random::from_os().next_u64(), sums }));
            }
        }
        state.told.clone()
    }

    /// The settlement that is to be told next.
    pub(super) fn settlement(&self) -> Option<Arc<Settlement>> {
        self.state().settlements.front().cloned()
    }

    /// Forgets what was spent, which the server has confirmed.
    pub(super) fn forget_spent(&self, confirmed: &Spent) {
        let mut state = self.state();
        state.told = state.told.take().filter(|told| told.name != confirmed.name);
    }

    /// Forgets the settlement that was to be told next, once the server has confirmed it.
    pub(super) fn forget_settlement(&self, confirmed: &Settlement) {
        let mut state = self.state();
        if state.settlements.front().is_some_and(|first| first.name == confirmed.name) {
            state.settlements.pop_front();
        }
    }

    pub(super) fn are_none(&self) -> bool {
        let state = self.state();
        state.settlements.is_empty() && state.told.is_none() && state.spent.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn amounts(spent: Option<Arc<Spent>>) -> Option<Vec<i64>> {
        spent.map(|spent| spent.sums.iter().map(|sum| sum.amount).collect())
    }

    #[test]
    fn what_was_told_is_told_in_the_same_words_until_it_is_confirmed() {
        let debts = Debts::default();
        assert!(debts.are_none() && debts.spent(0).is_none());
        debts.spend("a".into(), HOUR, 10);
        debts.spend("a".into(), HOUR, -3);
        let first = debts.spent(0).expect("something was spent");
        assert_eq!((first.sums[0].amount, first.sums[0].kept), (7, HOUR / 1000 + AFTERWARDS));
        debts.spend("a".into(), HOUR, 5);
        let again = debts.spent(0).expect("it was not confirmed");
        assert_eq!((again.name, again.sums[0].amount), (first.name, 7));
        debts.forget_spent(&again);
        let next = debts.spent(0).expect("more was spent meanwhile");
        assert!(next.name != first.name && next.sums[0].amount == 5);
        debts.forget_spent(&first);
        assert_eq!(amounts(debts.spent(0)), Some(vec![5]), "an old confirmation is of nothing else");
        debts.forget_spent(&next);
        assert!(debts.are_none());
    }

    #[test]
    fn what_comes_to_nothing_or_is_of_a_period_long_over_is_not_told() {
        let debts = Debts::default();
        debts.spend("a".into(), HOUR, 10);
        debts.spend("a".into(), HOUR, -10);
        debts.spend("b".into(), HOUR, 10);
        assert!(debts.spent(HOUR + AFTERWARDS * 1000).is_none());
        debts.spend("b".into(), HOUR, 10);
        assert_eq!(amounts(debts.spent(HOUR)), Some(vec![10]), "the control");
    }

    #[test]
    fn a_settlement_is_told_until_it_is_confirmed() {
        let debts = Debts::default();
        let settlement = |name| Arc::new(Settlement { name, used: Vec::new(), may_come_first: false });
        debts.settle(settlement(1));
        debts.settle(settlement(2));
        let next = || debts.settlement().map(|settlement| settlement.name);
        assert_eq!([next(), next()], [Some(1), Some(1)]);
        debts.forget_settlement(&settlement(2));
        debts.forget_settlement(&settlement(1));
        assert_eq!(next(), Some(2));
        debts.forget_settlement(&settlement(2));
        assert!(debts.are_none());
    }
}
