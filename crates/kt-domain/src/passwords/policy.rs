//! What an organization demands of passwords, and how that stands to the standards.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::password::MIN_CHARACTERS;

/// A minimum above this would refuse what ASVS 6.2.9 wants accepted.
const LARGEST_MINIMUM: u32 = 64;
/// Each remembered password costs one more hash when a new one is chosen.
const LONGEST_HISTORY: u32 = 24;
const LARGEST_MAX_AGE_DAYS: u32 = 3650;

/// What NIST SP 800-63B-4 section 3.1.1.2 asks for where nothing but the password signs in.
const MINIMUM_ALONE: u32 = 15;
/// Stricter than the 8 that NIST allows beside a second factor.
const MINIMUM_WITH_SECOND_FACTOR: u32 = 12;

/// The demands on passwords that a deployment or an organization can set. The rules that hold always are in
/// [`check`](super::check()).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordPolicy {
    /// The fewest characters, from 8 to 64.
    #[schemars(range(min = 8, max = 64))]
    pub min_length: u32,
    /// Whether at least one upper-case letter is needed.
    pub require_uppercase: bool,
    /// Whether at least one digit is needed.
    pub require_number: bool,
    /// Whether at least one character is needed that is neither a letter nor a digit.
    pub require_special: bool,
    /// How many of the last passwords may not be used again, at most 24; 0 allows all.
    #[schemars(range(max = 24))]
    pub history: u32,
    /// After how many days a password has to be changed, at most 3650; 0 never asks for it.
    #[schemars(range(max = 3650))]
    pub max_age_days: u32,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Preset::Recommended.policy(false)
    }
}

/// A policy under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// Twelve characters of all kinds, five passwords remembered, a change every 90 days.
    #[serde(rename = "recommended")]
    Recommended,
    /// What NIST SP 800-63B-4 section 3.1.1.2 asks for: length, and neither kinds of characters nor expiry.
    #[serde(rename = "nist-800-63b")]
    Nist80063b,
}

impl Preset {
    /// The values of this preset where a second factor is enforced for everybody, or is not.
    #[must_use]
    pub fn policy(self, second_factor_enforced: bool) -> PasswordPolicy {
        match self {
            Self::Recommended => PasswordPolicy {
                min_length: 12,
                require_uppercase: true,
                require_number: true,
                require_special: true,
                history: 5,
                max_age_days: 90,
            },
            Self::Nist80063b => PasswordPolicy {
                min_length: if second_factor_enforced { MINIMUM_WITH_SECOND_FACTOR } else { MINIMUM_ALONE },
                require_uppercase: false,
                require_number: false,
                require_special: false,
                history: 5,
                max_age_days: 0,
            },
        }
    }
}

/// A value of a policy lies outside what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}: write a number from {least} to {most}")]
pub struct OutOfBounds {
    /// The field of [`PasswordPolicy`].
    pub field: &'static str,
    /// What it holds.
    pub value: u32,
    /// The smallest value that is allowed.
    pub least: u32,
    /// The largest value that is allowed.
    pub most: u32,
}

impl PasswordPolicy {
    /// The policy that demands least; what holds always comes on top.
    pub const LOOSEST: Self = Self {
        min_length: MIN_CHARACTERS,
        require_uppercase: false,
        require_number: false,
        require_special: false,
        history: 0,
        max_age_days: 0,
    };

    /// Every value that is out of bounds; none is where a policy is in force.
    #[must_use]
    pub fn out_of_bounds(&self) -> Vec<OutOfBounds> {
        let bounds = [
            ("min_length", self.min_length, MIN_CHARACTERS, LARGEST_MINIMUM),
            ("history", self.history, 0, LONGEST_HISTORY),
            ("max_age_days", self.max_age_days, 0, LARGEST_MAX_AGE_DAYS),
        ];
        bounds
            .into_iter()
            .filter(|(_, value, least, most)| !(least..=most).contains(&value))
            .map(|(field, value, least, most)| OutOfBounds { field, value, least, most })
            .collect()
    }

    /// The fields in which this policy asks for less than `floor` does.
    #[must_use]
    pub fn looser_than(&self, floor: &Self) -> Vec<&'static str> {
        let is_looser = [
            ("min_length", self.min_length < floor.min_length),
            ("require_uppercase", floor.require_uppercase && !self.require_uppercase),
            ("require_number", floor.require_number && !self.require_number),
            ("require_special", floor.require_special && !self.require_special),
            ("history", self.history < floor.history),
            ("max_age_days", self.lifetime_in_days() > floor.lifetime_in_days()),
        ];
        is_looser.into_iter().filter(|(_, is_looser)| *is_looser).map(|(field, _)| field).collect()
    }

    /// The stricter of the two in every field.
    #[must_use]
    pub fn tightened_to(&self, floor: &Self) -> Self {
        let shorter_lived = if self.lifetime_in_days() <= floor.lifetime_in_days() { self } else { floor };
        Self {
            min_length: self.min_length.max(floor.min_length),
            require_uppercase: self.require_uppercase || floor.require_uppercase,
            require_number: self.require_number || floor.require_number,
            require_special: self.require_special || floor.require_special,
            history: self.history.max(floor.history),
            max_age_days: shorter_lived.max_age_days,
        }
    }

    /// The preset whose values these are, if they are one's.
    #[must_use]
    pub fn preset(&self, second_factor_enforced: bool) -> Option<Preset> {
        let presets = [Preset::Recommended, Preset::Nist80063b];
        presets.into_iter().find(|preset| preset.policy(second_factor_enforced) == *self)
    }

    /// How old a password may become, if there is an end to that.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        (self.max_age_days > 0).then(|| Duration::from_hours(24 * u64::from(self.max_age_days)))
    }

    /// From when on a password that was chosen at `chosen` has to be changed, if ever.
    #[must_use]
    pub fn ends_at(&self, chosen: Timestamp) -> Option<Timestamp> {
        self.max_age().map(|age| chosen.saturating_add(age).unwrap_or(Timestamp::MAX))
    }

    /// Whether a password that was chosen at `chosen` has to be changed at `now`.
    #[must_use]
    pub fn has_expired(&self, chosen: Timestamp, now: Timestamp) -> bool {
        self.ends_at(chosen).is_some_and(|end| end <= now)
    }

    /// Where this policy departs from NIST SP 800-63B-4 or ASVS 5.0, in sentences for whoever answers for it.
    #[must_use]
    pub fn deviations(&self, second_factor_enforced: bool) -> Vec<String> {
        let mut deviations = Vec::new();
        if self.min_length < MINIMUM_ALONE && !second_factor_enforced {
            deviations.push(format!(
                "A minimum of {} characters is below the {MINIMUM_ALONE} that NIST SP 800-63B-4 section 3.1.1.2 \
                 asks for where no second factor is enforced.",
                self.min_length
            ));
        }
        if self.require_uppercase || self.require_number || self.require_special {
            deviations.push(
                "Kinds of characters are demanded, which NIST SP 800-63B-4 section 3.1.1.2 and ASVS 6.2.5 forbid."
                    .to_owned(),
            );
        }
        if self.max_age_days > 0 {
            deviations.push(format!(
                "A change is forced after {} days, which NIST SP 800-63B-4 section 3.1.1.2 and ASVS 6.2.10 forbid \
                 unless a password has become known.",
                self.max_age_days
            ));
        }
        deviations
    }

    fn lifetime_in_days(&self) -> u32 {
        if self.max_age_days == 0 { u32::MAX } else { self.max_age_days }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn changed(change: impl Fn(&mut PasswordPolicy)) -> PasswordPolicy {
        let mut policy = PasswordPolicy::default();
        change(&mut policy);
        policy
    }

    #[test]
    fn an_empty_object_is_the_recommended_policy_and_unknown_fields_are_refused() {
        let policy: PasswordPolicy = serde_json::from_str("{}").unwrap();
        assert_eq!(policy, Preset::Recommended.policy(true));
        let written = r#"{"min_length":12,"require_uppercase":true,"require_number":true,"require_special":true,"history":5,"max_age_days":90}"#;
        assert_eq!(serde_json::to_string(&policy).unwrap(), written);

        assert_eq!(changed(|policy| policy.history = 6).preset(false), None);
        let unknown = serde_json::from_str::<PasswordPolicy>(r#"{"minlength":12}"#).unwrap_err().to_string();
        assert!(unknown.contains("minlength") && unknown.contains("min_length"), "{unknown}");
    }

    #[test]
    fn presets_have_their_names() {
        for (name, preset) in [("recommended", Preset::Recommended), ("nist-800-63b", Preset::Nist80063b)] {
            assert_eq!(serde_json::to_value(preset).unwrap(), name);
            for second_factor in [false, true] {
                assert_eq!(preset.policy(second_factor).preset(second_factor), Some(preset));
            }
        }
    }

    #[test]
    fn each_value_has_its_bounds() {
        type Set = fn(&mut PasswordPolicy, u32);
        let cases: [(Set, _, _, _); 3] = [
            (|policy, value| policy.min_length = value, "min_length", 8, 64),
            (|policy, value| policy.history = value, "history", 0, 24),
            (|policy, value| policy.max_age_days = value, "max_age_days", 0, 3650),
        ];
        for (set, field, least, most) in cases {
            let complaint = |value| changed(|policy| set(policy, value)).out_of_bounds();
            assert_eq!(complaint(least), [], "{field}");
            assert_eq!(complaint(most), [], "{field}");
            assert_eq!(complaint(most + 1), [OutOfBounds { field, value: most + 1, least, most }]);
        }
        let short = changed(|policy| policy.min_length = 7).out_of_bounds();
        assert_eq!(short[0].to_string(), "`min_length` is 7: write a number from 8 to 64");
    }

    #[test]
    fn looser_is_told_field_by_field() {
        let floor = PasswordPolicy::default();
        let looser: [(fn(&mut PasswordPolicy), _); 7] = [
            (|policy| policy.min_length = 11, "min_length"),
            (|policy| policy.require_uppercase = false, "require_uppercase"),
            (|policy| policy.require_number = false, "require_number"),
            (|policy| policy.require_special = false, "require_special"),
            (|policy| policy.history = 4, "history"),
            (|policy| policy.max_age_days = 91, "max_age_days"),
            (|policy| policy.max_age_days = 0, "max_age_days"),
        ];
        for (change, field) in looser {
            let policy = changed(change);
            assert_eq!(policy.looser_than(&floor), [field]);
            assert_eq!(floor.looser_than(&policy), [""; 0], "{field} the other way round");
        }
        assert_eq!(floor.looser_than(&floor), [""; 0]);
        let never = changed(|policy| policy.max_age_days = 0);
        assert_eq!(never.looser_than(&never), [""; 0]);
    }

    #[test]
    fn a_password_expires_when_its_days_are_over_and_never_without_a_limit() {
        let chosen: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let after = |hours| chosen + SignedDuration::from_hours(hours);
        let ninety = PasswordPolicy::default();
        assert!(!ninety.has_expired(chosen, after(90 * 24 - 1)));
        assert!(ninety.has_expired(chosen, after(90 * 24)));
        assert_eq!(ninety.ends_at(chosen), Some(after(90 * 24)));
        let never = Preset::Nist80063b.policy(false);
        assert!(!never.has_expired(chosen, after(400 * 24)));
        assert_eq!(never.ends_at(chosen), None);
    }

    #[test]
    fn deviations_are_those_of_the_values_in_force() {
        let about = |policy: PasswordPolicy, second_factor| {
            let words = ["minimum of", "Kinds of characters", "change is forced"];
            let deviations = policy.deviations(second_factor);
            words.map(|word| deviations.iter().any(|deviation| deviation.contains(word)))
        };
        assert_eq!(about(PasswordPolicy::default(), false), [true, true, true]);
        assert_eq!(about(PasswordPolicy::default(), true), [false, true, true]);
        for second_factor in [false, true] {
            assert_eq!(about(Preset::Nist80063b.policy(second_factor), second_factor), [false; 3]);
        }
        assert_eq!(about(Preset::Nist80063b.policy(true), false), [true, false, false]);
    }
}
