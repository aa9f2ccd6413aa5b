//! Of what somebody can cause as often as they like, one in a while: the audit chain must not grow as fast as a stranger
//! can send.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::id::OrganizationId;

/// So many causes of one organization are told apart at most; in a flood of more, its others count for nothing. A flood in
/// one organization silences nothing in another.
const MOST: usize = 2000;

/// Lets one through of each cause, and the next one after a while.
pub(crate) struct Sparingly<K> {
    every: Duration,
    had: Mutex<HashMap<Option<OrganizationId>, Had<K>>>,
}

/// Who has had a turn, and when.
struct Had<K> {
    last: HashMap<K, Timestamp>,
    /// When those were forgotten whose turn comes again: in a flood, not with every request.
    cleared_at: Timestamp,
}

impl<K> Had<K> {
    fn new() -> Self {
        Self { last: HashMap::new(), cleared_at: Timestamp::MIN }
    }
}

impl<K: Eq + Hash> Sparingly<K> {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, had: Mutex::new(HashMap::new()) }
    }

    /// Whether it is the turn of this cause in this organization, or in none that is known, which it then has had.
    pub(crate) fn lets_through(
        &self,
        organization: Option<&OrganizationId>,
        cause: K,
        now: Timestamp,
    ) -> bool {
        let mut all = self.had.lock().unwrap_or_else(PoisonError::into_inner);
        let had = all.entry(organization.cloned()).or_insert_with(Had::new);
        let is_over = |at: &Timestamp| now.duration_since(*at).unsigned_abs() >= self.every;
        if had.last.len() >= MOST && is_over(&had.cleared_at) {
            had.last.retain(|_, at| !is_over(at));
            had.cleared_at = now;
        }
        let is_due = had.last.get(&cause).map_or(had.last.len() < MOST, is_over);
        if is_due {
            had.last.insert(cause, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use kt_domain::random::Random;

    use super::*;

    #[test]
    fn each_cause_has_its_turn_and_a_flood_of_causes_ends_somewhere() {
        let (minute, start) = (Duration::from_mins(1), Timestamp::UNIX_EPOCH);
        let sparingly = Sparingly::new(minute);
        assert!(sparingly.lets_through(None, 0, start));
        assert!(!sparingly.lets_through(None, 0, start + Duration::from_secs(59)));
        assert!(sparingly.lets_through(None, 1, start), "another cause");
        assert!(sparingly.lets_through(None, 0, start + minute), "and again after a while");
        let flooded = Sparingly::new(minute);
        let let_through = (0..2 * MOST).filter(|cause| flooded.lets_through(None, *cause, start)).count();
        assert_eq!(let_through, MOST);
        let other = OrganizationId::new(start, &mut Random::seeded(1));
        assert!(flooded.lets_through(Some(&other), 0, start), "another organization's are heard");
        assert!(flooded.lets_through(None, 2 * MOST, start + minute), "what is over makes room");
    }
}
