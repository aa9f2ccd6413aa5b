//! What people are told about a key, whatever address it is used from.

use std::time::Duration;

use jiff::Timestamp;

use super::judge::{Breach, GRACE, KeyTerms, breaches, refused_from};
use super::restrictions::KeyRestrictions;
use crate::words;

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// It works, from where and as often as it may.
    Active,
    /// It breaks what the organization demands, and is refused from a certain moment on (R145).
    RotationRequired,
    /// Its own time is over.
    Expired,
    /// It was revoked, or replaced by a rotation whose overlap is over.
    Revoked,
}

words!(KeyStatus {
    Active = "active",
    RotationRequired = "rotation_required",
    Expired = "expired",
    Revoked = "revoked",
});

/// Where a key stands, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStanding {
    /// The word for it.
    pub status: KeyStatus,
    /// The demands that it does not meet.
    pub violations: Vec<Breach>,
    /// From when on it is refused for them; in the past when it is refused already.
    pub refused_from: Option<Timestamp>,
}

/// Keys that work still and need somebody before long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysDue {
    /// Those that expire within [`SOON`].
    Expiring,
    /// Those that break what the organization demands of keys.
    Flagged,
}

words!(KeysDue { Expiring = "expiring", Flagged = "flagged" });

/// How soon a key expires that expires soon (R152).
pub const SOON: Duration = Duration::from_hours(7 * 24);

impl KeyTerms {
    /// Whether its own time is over soon, and not yet.
    #[must_use]
    pub fn expires_soon(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end > now && end <= now + SOON)
    }
}

/// Where a key stands at `now`.
#[must_use]
pub fn standing(terms: &KeyTerms, restrictions: &KeyRestrictions, now: Timestamp) -> KeyStanding {
    let is_over = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
    let nothing_more = |status| KeyStanding { status, violations: Vec::new(), refused_from: None };
    if is_over(terms.ends_at) {
        return nothing_more(KeyStatus::Revoked);
    }
    if is_over(terms.expires_at) {
        return nothing_more(KeyStatus::Expired);
    }
    let violations = breaches(terms, restrictions, now);
    let refused_from = violations.iter().map(|breach| refused_from(*breach, terms, restrictions)).min();
    let status = refused_from.map_or(KeyStatus::Active, |_| KeyStatus::RotationRequired);
    KeyStanding { status, violations, refused_from }
}

/// Since when the key has been known to break demands that came after it, now that `after` are demanded in place of
/// `before`: a key that did not break them until now is flagged now, one that no longer does is not. One that breaks both, and
/// would be refused sooner for it, is flagged as if it had been refused when it was going to be, or now: what comes to be
/// demanded takes from nobody the days that they have been told, and gives at least the usual ones (SPEC section 7).
#[must_use]
pub fn flagged_at(
    terms: &KeyTerms,
    before: &KeyRestrictions,
    after: &KeyRestrictions,
    now: Timestamp,
) -> Option<Timestamp> {
    let refused_from = |restrictions| standing(terms, restrictions, now).refused_from;
    let becomes = refused_from(after)?;
    match refused_from(before) {
        None => Some(now),
        Some(was) if becomes < was => Some(was.saturating_sub(GRACE).unwrap_or(Timestamp::MIN).min(now)),
        Some(_) => terms.flagged_at,
    }
}
