//! How long a session lasts.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::span::Span;
use crate::words;

/// The section `session` of an organization's security settings (SPEC section 7; R12–R17).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSettings {
    /// How long a session lasts: 15m, 30m, 1h or 4h.
    pub timeout: Span,
    /// Whether `timeout` counts from the last activity; otherwise it counts from sign-in.
    pub idle: bool,
    /// How long a session lasts at most, whatever is done in it (NIST SP 800-63B-4 sections 2.2.3 and 2.3.3: at most
    /// 24 hours at AAL2, 12 hours at AAL3).
    pub absolute: Span,
}

/// The choices for [`SessionSettings::timeout`].
pub const TIMEOUTS: [Span; 4] = [
    Span(Duration::from_mins(15)),
    Span(Duration::from_mins(30)),
    Span(Duration::from_hours(1)),
    Span(Duration::from_hours(4)),
];

/// The longest that a session may last.
pub const LONGEST_SESSION: Span = Span(Duration::from_hours(24));

impl Default for SessionSettings {
    fn default() -> Self {
        Self { timeout: TIMEOUTS[1], idle: true, absolute: Span(Duration::from_hours(12)) }
    }
}

/// Through which door a session was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// `POST /v1/auth/login` and what follows it.
    Api,
    /// The console's pages.
    Console,
    /// `kt auth login`.
    Cli,
}

words!(Door { Api = "api", Console = "console", Cli = "cli" });

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Nobody did anything for the idle time.
    Idle,
    /// It has lasted as long as it may.
    Absolute,
}

impl SessionSettings {
    /// Refuses values that are not among the choices, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        if !TIMEOUTS.contains(&self.timeout) {
            return Err(Error::invalid("session.timeout", "Choose one of 15m, 30m, 1h, 4h."));
        }
        if self.absolute < self.timeout || self.absolute > LONGEST_SESSION {
            let message = "The longest life of a session must lie between its timeout and 24h.";
            return Err(Error::invalid("session.absolute", message));
        }
        Ok(())
    }

    /// The loosest of those in which a session ends after `absolute` at the latest.
    #[must_use]
    pub fn loosest_within(absolute: Span) -> Self {
        let fitting = TIMEOUTS.into_iter().filter(|timeout| *timeout <= absolute);
        Self { timeout: fitting.max().unwrap_or(TIMEOUTS[0]), idle: true, absolute }
    }

    /// The fields in which these let a session last longer than `floor` does. Counting from sign-in is the stricter way.
    #[must_use]
    pub fn looser_than(&self, floor: &Self) -> Vec<&'static str> {
        let is_looser = [
            ("timeout", self.timeout > floor.timeout),
            ("idle", self.idle && !floor.idle),
            ("absolute", self.absolute > floor.absolute),
        ];
        is_looser.into_iter().filter(|(_, is_looser)| *is_looser).map(|(field, _)| field).collect()
    }

    /// The stricter of the two in every field.
    #[must_use]
    pub fn tightened_to(&self, floor: &Self) -> Self {
        Self {
            timeout: self.timeout.min(floor.timeout),
            idle: self.idle && floor.idle,
            absolute: self.absolute.min(floor.absolute),
        }
    }

    /// Since when a session must have been made, and its holder have been active, to live at `now`: the same as
    /// [`SessionSettings::lapse`], for asking about many at once.
    #[must_use]
    pub fn living_since(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let before = |span: Span| now.saturating_sub(span.0).unwrap_or(Timestamp::MIN);
        if self.idle {
            (before(self.absolute), before(self.timeout))
        } else {
            (before(self.absolute.min(self.timeout)), Timestamp::MIN)
        }
    }

    /// The last moment at which a session that began at `created` and saw its holder's last act at `active` still lives.
    #[must_use]
    pub fn ends_at(&self, created: Timestamp, active: Timestamp) -> Timestamp {
        let by_age = self.ends_by_age_at(created);
        if self.idle { by_age.min(after(active, self.timeout)) } else { by_age }
    }

    /// The last moment at which a session that began at `created` still lives, whatever its holder does.
    #[must_use]
    pub fn ends_by_age_at(&self, created: Timestamp) -> Timestamp {
        after(created, if self.idle { self.absolute } else { self.absolute.min(self.timeout) })
    }

    /// Whether a session that began at `created` and saw its holder's last act at `active` is over at `now`, and why.
    /// It still lives at the very moment of its end and is over after it.
    #[must_use]
    pub fn lapse(&self, created: Timestamp, active: Timestamp, now: Timestamp) -> Option<Lapse> {
        let age = |since: Timestamp| now.duration_since(since).max(jiff::SignedDuration::ZERO).unsigned_abs();
        if age(created) > self.absolute.0 || (!self.idle && age(created) > self.timeout.0) {
            return Some(Lapse::Absolute);
        }
        (self.idle && age(active) > self.timeout.0).then_some(Lapse::Idle)
    }
}

fn after(since: Timestamp, span: Span) -> Timestamp {
    since.saturating_add(span.0).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_idleness_or_by_age_whichever_comes_first() {
        let minutes = |n: u64| Duration::from_mins(n);
        let idle = SessionSettings::default();
        let from_sign_in = SessionSettings { idle: false, ..idle.clone() };
        // settings, minutes of age, minutes since the last act, what holds
        let table = [
            (&idle, 30, 30, None),
            (&idle, 31, 31, Some(Lapse::Idle)),
            (&idle, 719, 1, None),
            (&idle, 721, 1, Some(Lapse::Absolute)),
            (&from_sign_in, 30, 30, None),
            (&from_sign_in, 31, 0, Some(Lapse::Absolute)),
        ];
        let now: Timestamp = "2026-03-15T14:22:31Z".parse().unwrap();
        for (settings, age, inactive, expected) in table {
            let (created, active) = (now - minutes(age), now - minutes(inactive));
            let lapse = settings.lapse(created, active, now);
            assert_eq!(lapse, expected, "{age} minutes old, {inactive} minutes without an act");
            let (made, acted) = settings.living_since(now);
            assert_eq!(created >= made && active >= acted, expected.is_none(), "{age} {inactive}");
            assert_eq!(settings.ends_at(created, active) >= now, expected.is_none(), "{age} {inactive}");
            let is_too_old = expected == Some(Lapse::Absolute);
            assert_eq!(settings.ends_by_age_at(created) < now, is_too_old, "{age} {inactive}");
        }
    }

    #[test]
    fn only_the_offered_timeouts_are_taken() {
        let with = |timeout: &str| SessionSettings {
            timeout: timeout.parse().unwrap(),
            ..SessionSettings::default()
        };
        for good in ["15m", "30m", "60m", "1h", "4h"] {
            assert!(with(good).validate().is_ok(), "{good}");
        }
        for bad in ["14m", "2h", "24h"] {
            assert_eq!(with(bad).validate().unwrap_err().param.as_deref(), Some("session.timeout"), "{bad}");
        }
    }
}
