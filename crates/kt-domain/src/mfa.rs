//! Whom an organization asks for a second factor, and from when on.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Role;
use crate::error::Error;
use crate::sign_in::Factor;
use crate::span::Span;
use crate::words;

/// Whom an organization asks for a second factor (R128, R130–R132).
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

/// What is asked of somebody. Ordered: each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Demand {
    /// Nothing.
    #[default]
    Nothing,
    /// A second factor of any kind.
    Factor,
    /// A passkey.
    Passkey,
}

words!(Demand { Nothing = "nothing", Factor = "factor", Passkey = "passkey" });

impl Demand {
    /// Whether somebody who has these factors has what is asked.
    #[must_use]
    pub fn is_met_by(self, factors: &[Factor]) -> bool {
        match self {
            Self::Nothing => true,
            Self::Factor => !factors.is_empty(),
            Self::Passkey => factors.contains(&Factor::Passkey),
        }
    }
}

/// What an organization asks of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What that is.
    pub demand: Demand,
    /// From when on they can do nothing else, where they lack it.
    pub deadline: Timestamp,
}

/// With as many recovery codes as this or fewer, it is time for new ones.
pub const FEW_RECOVERY_CODES: i64 = 3;

/// A message that reminds somebody of their deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reminder {
    /// They have just been asked.
    Asked,
    /// A week is left.
    Week,
    /// A day is left.
    Day,
}

words!(Reminder { Asked = "asked", Week = "week", Day = "day" });

impl Reminder {
    /// The one that is due: each comes once, and of those that came due together the last.
    #[must_use]
    pub fn due(deadline: Timestamp, now: Timestamp) -> Option<Self> {
        let days = |days: u64| Duration::from_hours(24 * days);
        let left = Duration::try_from(deadline.duration_since(now)).ok().filter(|left| !left.is_zero())?;
        Some(if left <= days(1) {
            Self::Day
        } else if left <= days(7) {
            Self::Week
        } else {
            Self::Asked
        })
    }

    /// The one that is due of something that ends at `end` and was announced when it began, such as a password: none
    /// before the last week.
    #[must_use]
    pub fn of_last_week(end: Timestamp, now: Timestamp) -> Option<Self> {
        Self::due(end, now).filter(|reminder| *reminder != Self::Asked)
    }
}

/// The section `mfa` of an organization's security settings (SPEC section 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MfaSettings {
    /// Whom it asks.
    pub policy: MfaPolicy,
    /// Whether admins and owners need a passkey, whatever the policy: nothing else withstands a false page (R136).
    pub require_passkey_for_admins: bool,
    /// How long those newly asked have to enrol: up to 720h (30 days); none with `0h`.
    #[serde(with = "grace")]
    pub grace_period: Option<Span>,
}

impl Default for MfaSettings {
    fn default() -> Self {
        Self {
            policy: MfaPolicy::Optional,
            require_passkey_for_admins: false,
            grace_period: Some(Span(Duration::from_hours(72))),
        }
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

    /// What somebody with this role is asked for.
    #[must_use]
    pub fn demand(&self, role: Role) -> Demand {
        let is_asked = match self.policy {
            MfaPolicy::Optional => false,
            MfaPolicy::RequiredForAdmins => role >= Role::Admin,
            MfaPolicy::RequiredForAll => true,
        };
        if self.require_passkey_for_admins && role >= Role::Admin {
            Demand::Passkey
        } else if is_asked {
            Demand::Factor
        } else {
            Demand::Nothing
        }
    }

    /// Whether somebody with this role is asked for a second factor.
    #[must_use]
    pub fn asks(&self, role: Role) -> bool {
        self.demand(role) != Demand::Nothing
    }

    /// What somebody with this role is asked for, who has been asked since `asked_since`.
    #[must_use]
    pub fn asked(&self, role: Role, asked_since: Timestamp) -> Asked {
        Asked { demand: self.demand(role), deadline: self.deadline(asked_since) }
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

    /// Whoever was asked at this moment or before has no time left.
    #[must_use]
    pub fn asked_before(&self, now: Timestamp) -> Timestamp {
        let grace = self.grace_period.map_or(Duration::ZERO, |grace| grace.0);
        now.saturating_sub(grace).unwrap_or(Timestamp::MIN)
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
            let json = format!(
                r#"{{"policy":"required_for_all","require_passkey_for_admins":true,"grace_period":"{text}"}}"#
            );
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

    #[test]
    fn the_stricter_of_two_rules_holds() {
        let table = [
            (MfaPolicy::Optional, false, Role::Owner, Demand::Nothing),
            (MfaPolicy::Optional, true, Role::Admin, Demand::Passkey),
            (MfaPolicy::Optional, true, Role::Auditor, Demand::Nothing),
            (MfaPolicy::RequiredForAdmins, false, Role::Admin, Demand::Factor),
            (MfaPolicy::RequiredForAdmins, true, Role::Owner, Demand::Passkey),
            (MfaPolicy::RequiredForAll, true, Role::Member, Demand::Factor),
        ];
        for (policy, require_passkey_for_admins, role, expected) in table {
            let settings = MfaSettings { policy, require_passkey_for_admins, ..MfaSettings::default() };
            assert_eq!(settings.demand(role), expected, "{policy} {require_passkey_for_admins} {role}");
        }
    }

    #[test]
    fn somebody_is_reminded_a_week_and_a_day_before_the_deadline_and_never_after_it() {
        let deadline: Timestamp = "2026-03-31T00:00:00Z".parse().unwrap();
        let hours = |hours: u64| Duration::from_hours(hours);
        let table = [
            (hours(720), Some(Reminder::Asked)),
            (hours(169), Some(Reminder::Asked)),
            (hours(168), Some(Reminder::Week)),
            (hours(72), Some(Reminder::Week)),
            (hours(24), Some(Reminder::Day)),
            (hours(1), Some(Reminder::Day)),
            (hours(0), None),
        ];
        for (left, expected) in table {
            assert_eq!(Reminder::due(deadline, deadline - left), expected, "{left:?} before");
        }
        assert_eq!(Reminder::due(deadline, deadline + hours(1)), None);
        let of_last_week = |left: u64| Reminder::of_last_week(deadline, deadline - hours(left));
        assert_eq!(
            [169, 168, 24, 0].map(of_last_week),
            [None, Some(Reminder::Week), Some(Reminder::Day), None]
        );
    }
}
