//! Whom an organisation asks for a second factor, and from when on.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Role;
use crate::error::Error;
use crate::span::Span;
use crate::words;

/// Whom an organisation asks for a second factor (R128, R130–R132).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MfaPolicy {
    /// Nobody: members choose for themselves.
    #[default]
    Optional,
    /// Admins and owners.
    RequiredForAdmins,
    /// Everybody.
    RequiredForAll,
}

words!(MfaPolicy {
    Optional = "optional",
    RequiredForAdmins = "required_for_admins",
    RequiredForAll = "required_for_all",
});

/// The section `mfa` of an organisation's security settings (SPEC section 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MfaSettings {
    /// Whom it asks.
    pub policy: MfaPolicy,
    /// How long those newly asked have to enrol: up to 720h (30 days); none with `0h`.
    #[serde(with = "grace")]
    pub grace_period: Option<Span>,
}

impl Default for MfaSettings {
    fn default() -> Self {
        Self { policy: MfaPolicy::Optional, grace_period: Some(Span(Duration::from_hours(72))) }
    }
}

impl MfaSettings {
    /// Refuses a grace period out of bounds; [`Span`] itself ends at 720h.
    pub fn validate(&self) -> Result<(), Error> {
        match self.grace_period {
            Some(grace) if grace < Span(Duration::from_mins(1)) => {
                Err(Error::invalid("mfa.grace_period", "Give at least 1m, or 0h for no grace."))
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody with this role is asked for a second factor.
    #[must_use]
    pub fn asks(&self, role: Role) -> bool {
        match self.policy {
            MfaPolicy::Optional => false,
            MfaPolicy::RequiredForAdmins => role >= Role::Admin,
            MfaPolicy::RequiredForAll => true,
        }
    }

    /// Whether everybody is asked for a second factor.
    #[must_use]
    pub fn is_enforced_for_all(&self) -> bool {
        self.policy == MfaPolicy::RequiredForAll
    }

    /// Since when somebody with this role is asked, given since when they have been until now: what was begun goes on,
    /// and whoever is not asked (any more) begins anew when they are again.
    #[must_use]
    pub fn asked_since(&self, role: Role, until_now: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        self.asks(role).then(|| until_now.unwrap_or(now))
    }

    /// When the grace of somebody who has been asked since `asked_since` ends; from then on they can only enrol.
    #[must_use]
    pub fn deadline(&self, asked_since: Timestamp) -> Timestamp {
        let grace = self.grace_period.map_or(Duration::ZERO, |grace| grace.0);
        asked_since.saturating_add(grace).unwrap_or(Timestamp::MAX)
    }
}

/// A time of grace in documents: a length of time, or `0h` for none.
pub(crate) mod grace {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::span::Span;

    const NONE: &str = "0h";

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(crate) fn serialize<S: Serializer>(grace: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
        match grace {
            Some(grace) => serializer.collect_str(grace),
            None => serializer.serialize_str(NONE),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        if [NONE, "0", "0m", "0s", "0d"].contains(&text.as_ref()) {
            return Ok(None);
        }
        text.parse().map(Some).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_reads_back_as_it_was_written_and_none_is_zero() {
        for (text, grace) in [("0h", None), ("72h", Some(Span(Duration::from_hours(72))))] {
            let json = format!(r#"{{"policy":"required_for_all","grace_period":"{text}"}}"#);
            let settings: MfaSettings = serde_json::from_str(&json).unwrap();
            assert_eq!(settings.grace_period, grace);
            assert_eq!(serde_json::to_string(&settings).unwrap(), json);
        }
        for bad in ["null", "\"\"", "\"-1h\"", "\"721h\"", "3"] {
            serde_json::from_str::<MfaSettings>(&format!(r#"{{"grace_period":{bad}}}"#)).unwrap_err();
        }
    }

    #[test]
    fn whoever_is_asked_goes_on_being_asked_from_when_it_began() {
        let settings = |policy| MfaSettings { policy, ..MfaSettings::default() };
        let (began, now) = ("2026-03-01T00:00:00Z".parse().unwrap(), "2026-03-15T00:00:00Z".parse().unwrap());
        let table = [
            (MfaPolicy::Optional, Role::Owner, Some(began), None),
            (MfaPolicy::RequiredForAdmins, Role::Admin, None, Some(now)),
            (MfaPolicy::RequiredForAdmins, Role::Admin, Some(began), Some(began)),
            (MfaPolicy::RequiredForAdmins, Role::Auditor, Some(began), None),
            (MfaPolicy::RequiredForAll, Role::Member, None, Some(now)),
        ];
        for (policy, role, until_now, expected) in table {
            assert_eq!(settings(policy).asked_since(role, until_now, now), expected, "{policy} {role}");
        }
    }
}
