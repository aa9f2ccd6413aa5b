//! The section `api_keys` of an organization's security settings (SPEC section 7; R137–R148).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::judge::KeyTerms;
use crate::actor::{KeyKind, Scope};
use crate::error::Error;
use crate::network::cidr::Cidr;
use crate::words;

/// Who may make keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyCreation {
    /// Admins and owners.
    #[default]
    Admins,
    /// Members too, for themselves and access keys only.
    Everyone,
}

words!(KeyCreation { Admins = "admins", Everyone = "everyone" });

/// What an organization demands of its keys, access and gateway alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyRestrictions {
    /// How many days after it was made a key must be rotated; `null` for never.
    pub max_age_days: Option<u32>,
    /// The ranges from which keys work; none means anywhere. A key's own ranges can only narrow them.
    pub allowed_ranges: Vec<Cidr>,
    /// Whether every key must have ranges of its own.
    pub require_ip_binding: bool,
    /// How often a key works in a minute at most; `null` for no limit. A key's own limit can only lower it.
    pub max_requests_per_minute: Option<u32>,
    /// Whether every key must have been given a scope.
    pub require_scope: bool,
    /// Who may make keys.
    pub creation: KeyCreation,
    /// Whether keys that are too old or lack a scope are refused at once, instead of a week after they were flagged.
    pub enforce_immediately: bool,
}

impl Default for KeyRestrictions {
    fn default() -> Self {
        Self {
            max_age_days: None,
            allowed_ranges: Vec::new(),
            require_ip_binding: false,
            max_requests_per_minute: None,
            require_scope: true,
            creation: KeyCreation::Admins,
            enforce_immediately: false,
        }
    }
}

/// The longest list of ranges. Each use of a key looks at all of them.
const MOST_RANGES: usize = 100;

/// The highest rate: above it, a limit is none.
const MOST_PER_MINUTE: u32 = 60_000;

/// The greatest age, in days.
const MOST_DAYS: u32 = 3650;

impl KeyRestrictions {
    /// Refuses values out of bounds, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        if self.max_age_days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
            let message = format!("Give 1 to {MOST_DAYS} days, or null for no limit.");
            return Err(Error::invalid("api_keys.max_age_days", message));
        }
        check_ranges("api_keys.allowed_ranges", &self.allowed_ranges)?;
        check_rate("api_keys.max_requests_per_minute", self.max_requests_per_minute)
    }

    /// The scope of a new key for which none was chosen. Where one is demanded, a gateway's has the least that serves it.
    #[must_use]
    pub fn usual_scope(&self, kind: KeyKind) -> Option<Scope> {
        (self.require_scope && kind == KeyKind::Gateway).then_some(Scope::Write)
    }

    /// Refuses terms that no key may be given at `now`, naming the field: those that the organization forbids, and
    /// those that make no sense.
    pub fn check_terms(&self, kind: KeyKind, terms: &KeyTerms, now: Timestamp) -> Result<(), Error> {
        check_ranges("ip_ranges", &terms.ranges)?;
        check_rate("requests_per_minute", terms.requests_per_minute)?;
        let highest = self.max_requests_per_minute.unwrap_or(MOST_PER_MINUTE);
        let faults = [
            (
                self.require_scope && terms.scope.is_none(),
                "scope",
                "Your organization demands a scope: give `read-only`, `write` or `admin`.".to_owned(),
            ),
            (
                kind == KeyKind::Gateway && terms.scope == Some(Scope::ReadOnly),
                "scope",
                "A gateway delivers events, which is more than reading: give `write`.".to_owned(),
            ),
            (
                kind == KeyKind::Scim && terms.scope == Some(Scope::ReadOnly),
                "scope",
                "An identity provider changes members, which is more than reading: give `write`.".to_owned(),
            ),
            (
                self.require_ip_binding && terms.ranges.is_empty(),
                "ip_ranges",
                "Your organization demands that keys are bound to addresses: give at least one range."
                    .to_owned(),
            ),
            (
                terms.requests_per_minute.is_some_and(|rate| rate > highest),
                "requests_per_minute",
                format!("Your organization allows {highest} requests per minute at most."),
            ),
            (
                terms.expires_at.is_some_and(|end| end <= now),
                "expires_at",
                "Give a time that lies ahead, or null for none.".to_owned(),
            ),
        ];
        match faults.into_iter().find(|(is_at_fault, ..)| *is_at_fault) {
            Some((_, param, message)) => Err(Error::invalid(param, message)),
            None => Ok(()),
        }
    }

    /// Keys that were made at this moment or before are too old at `now`, if any can be.
    #[must_use]
    pub fn too_old_since(&self, now: Timestamp) -> Option<Timestamp> {
        let age = self.max_age()?;
        Some(now.saturating_sub(age).unwrap_or(Timestamp::MIN))
    }

    /// The greatest age of a key.
    pub(super) fn max_age(&self) -> Option<Duration> {
        self.max_age_days.map(|days| Duration::from_hours(24 * u64::from(days)))
    }
}

/// Refuses a list of ranges that is too long.
pub fn check_ranges(param: &'static str, ranges: &[Cidr]) -> Result<(), Error> {
    if ranges.len() > MOST_RANGES {
        return Err(Error::invalid(param, format!("Give at most {MOST_RANGES} ranges.")));
    }
    Ok(())
}

/// Refuses a rate out of bounds.
pub fn check_rate(param: &'static str, per_minute: Option<u32>) -> Result<(), Error> {
    if per_minute.is_some_and(|rate| !(1..=MOST_PER_MINUTE).contains(&rate)) {
        let message = format!("Give 1 to {MOST_PER_MINUTE} requests per minute, or null for no limit.");
        return Err(Error::invalid(param, message));
    }
    Ok(())
}
