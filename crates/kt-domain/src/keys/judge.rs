//! Whether a key may be used: what it was given, against what its organization demands, at one moment.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::restrictions::KeyRestrictions;
use crate::actor::{KeyKind, Scope};
use crate::error::{Error, ErrorKind};
use crate::network::cidr::Cidr;
use crate::words;

/// What a key was given, and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTerms {
    /// How far it reaches; a key without a scope reads only.
    pub scope: Option<Scope>,
    /// From where it works; none means anywhere.
    pub ranges: Vec<Cidr>,
    /// How often it works in a minute at most.
    pub requests_per_minute: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was, or will be, ended by a revocation or a rotation.
    pub ends_at: Option<Timestamp>,
    /// Since when it has been known to break the organization's demands, where they came after the key.
    pub flagged_at: Option<Timestamp>,
}

impl KeyTerms {
    /// Whether it was revoked, or replaced by a rotation whose overlap is over.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// Whether a key with these terms can do anything that one with `other` cannot: reach further, from elsewhere, more
    /// often, or longer.
    #[must_use]
    pub fn exceed(&self, other: &Self) -> bool {
        let reach = |terms: &Self| terms.scope.unwrap_or(Scope::ReadOnly);
        let is_held = |range: &Cidr| other.ranges.iter().any(|held| held.encloses(*range));
        let is_from_elsewhere =
            !other.ranges.is_empty() && (self.ranges.is_empty() || !self.ranges.iter().all(is_held));
        reach(self) > reach(other)
            || is_from_elsewhere
            || is_beyond(self.requests_per_minute, other.requests_per_minute)
            || is_beyond(self.expires_at, other.expires_at)
    }
}

/// Whether the one limit lets through more than the other; none lets everything through.
fn is_beyond<T: Ord>(limit: Option<T>, other: Option<T>) -> bool {
    other.is_some_and(|other| limit.is_none_or(|limit| limit > other))
}

/// A demand of the organization that a key does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// It is older than keys may be.
    OverAge,
    /// It was given no scope.
    NoScope,
    /// It has no ranges of its own.
    NoIpBinding,
}

words!(Breach { OverAge = "over_age", NoScope = "no_scope", NoIpBinding = "no_ip_binding" });

/// Why a key may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was revoked or replaced: nobody is told more than that it is no key.
    Ended,
    /// Its own time is over.
    Expired,
    /// It does not work from this address.
    WrongAddress,
    /// It should have been rotated.
    OverAge,
    /// It should have been replaced by one with a scope.
    NoScope,
}

/// What holds of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be used.
    Good,
    /// It may be used until then, and must be rotated.
    Flagged {
        /// What is wrong with it.
        reasons: Vec<Breach>,
        /// From when on it may not be used.
        refused_from: Timestamp,
    },
    /// It may not be used.
    Refused(Refusal),
}

/// How long a key that must be rotated goes on working (SPEC section 7).
pub(super) const GRACE: Duration = Duration::from_hours(7 * 24);

/// Whether the key may be used from `ip` at `now`. Address, end and expiry decide at once; a key that is too old or has
/// no scope has a week, counted from when it came to break the demand, unless the organization gives none. Where the
/// address cannot be told, a key that is bound to addresses does not work.
#[must_use]
pub fn judge(
    terms: &KeyTerms,
    restrictions: &KeyRestrictions,
    ip: Option<IpAddr>,
    now: Timestamp,
) -> Verdict {
    if terms.has_ended(now) {
        return Verdict::Refused(Refusal::Ended);
    }
    if terms.expires_at.is_some_and(|end| end <= now) {
        return Verdict::Refused(Refusal::Expired);
    }
    let reasons = breaches(terms, restrictions, now);
    let is_unbound = reasons.contains(&Breach::NoIpBinding);
    if is_unbound || !holds(&terms.ranges, ip) || !holds(&restrictions.allowed_ranges, ip) {
        return Verdict::Refused(Refusal::WrongAddress);
    }
    let due = reasons.iter().map(|breach| (refused_from(*breach, terms, restrictions), *breach));
    match due.min_by_key(|(refused_from, _)| *refused_from) {
        None => Verdict::Good,
        Some((refused_from, _)) if now < refused_from => Verdict::Flagged { reasons, refused_from },
        Some((_, breach)) => Verdict::Refused(breach.into()),
    }
}

/// Every demand that the key does not meet at `now`.
#[must_use]
pub fn breaches(terms: &KeyTerms, restrictions: &KeyRestrictions, now: Timestamp) -> Vec<Breach> {
    let is_over_age = comes_of_age(terms, restrictions).is_some_and(|moment| moment <= now);
    let all = [
        (is_over_age, Breach::OverAge),
        (restrictions.require_scope && terms.scope.is_none(), Breach::NoScope),
        (restrictions.require_ip_binding && terms.ranges.is_empty(), Breach::NoIpBinding),
    ];
    all.into_iter().filter_map(|(is_broken, breach)| is_broken.then_some(breach)).collect()
}

/// How often the key works in a minute: the lower of its own limit and the organization's.
#[must_use]
pub fn effective_rate(terms: &KeyTerms, restrictions: &KeyRestrictions) -> Option<u32> {
    terms.requests_per_minute.into_iter().chain(restrictions.max_requests_per_minute).min()
}

/// How often a key of this kind works in a minute where nobody has said. An identity provider that has gone astray must not
/// keep everybody else waiting; Microsoft asks for 25 requests a second of what Entra ID provisions.
#[must_use]
pub const fn usual_rate(kind: KeyKind) -> Option<u32> {
    match kind {
        KeyKind::Scim => Some(1500),
        KeyKind::Access | KeyKind::Gateway => None,
    }
}

fn comes_of_age(terms: &KeyTerms, restrictions: &KeyRestrictions) -> Option<Timestamp> {
    let age = restrictions.max_age()?;
    Some(terms.created_at.saturating_add(age).unwrap_or(Timestamp::MAX))
}

/// From when on a key is refused for what it does not meet. Being bound to addresses is asked at once.
pub(super) fn refused_from(breach: Breach, terms: &KeyTerms, restrictions: &KeyRestrictions) -> Timestamp {
    let since = match breach {
        Breach::OverAge => comes_of_age(terms, restrictions).unwrap_or(terms.created_at),
        Breach::NoScope | Breach::NoIpBinding => terms.created_at,
    };
    let since = terms.flagged_at.map_or(since, |flagged_at| flagged_at.max(since));
    if breach == Breach::NoIpBinding {
        return since;
    }
    let grace = if restrictions.enforce_immediately { Duration::ZERO } else { GRACE };
    since.saturating_add(grace).unwrap_or(Timestamp::MAX)
}

fn holds(ranges: &[Cidr], ip: Option<IpAddr>) -> bool {
    ranges.is_empty() || ip.is_some_and(|ip| ranges.iter().any(|range| range.contains(ip)))
}

impl From<Breach> for Refusal {
    fn from(breach: Breach) -> Self {
        match breach {
            Breach::OverAge => Self::OverAge,
            Breach::NoScope => Self::NoScope,
            Breach::NoIpBinding => Self::WrongAddress,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ended => Self::invalid_key(),
            Refusal::Expired => Self::new(
                ErrorKind::Unauthenticated,
                "key_expired",
                "This API key has expired. Make a new one under Settings → Access Keys.",
            ),
            Refusal::OverAge => Self::new(
                ErrorKind::Unauthenticated,
                "key_expired",
                "This API key is older than your organization allows. Rotate it under Settings → Access Keys.",
            ),
            Refusal::WrongAddress => Self::new(
                ErrorKind::Forbidden,
                "key_ip_denied",
                "This API key may not be used from your address. Use it from its ranges, or have them widened.",
            ),
            Refusal::NoScope => Self::new(
                ErrorKind::Forbidden,
                "insufficient_scope",
                "Your organization demands keys with a scope, and this one has none. Have it given one.",
            ),
        }
    }
}

impl Error {
    /// The one answer to every key that is none: unknown, mistyped, revoked, or of somebody who has left.
    #[must_use]
    pub fn invalid_key() -> Self {
        let message = "This API key is not known or was revoked. Check it, or make a new one.";
        Self::new(ErrorKind::Unauthenticated, "invalid_key", message)
    }
}
