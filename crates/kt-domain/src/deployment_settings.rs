//! What a deployment sets for all its organisations: the section `security` of `keeptrusts.yaml` (SPEC sections 2 and 7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::lockout::LockoutSettings;
use crate::mfa::MfaSettings;
use crate::passwords::{PasswordPolicy, Preset};
use crate::security_settings::SecuritySettings;
use crate::sessions::SessionSettings;
use crate::span::Span;

/// Who sets session lifetime, password policy and lockout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ManagedBy {
    /// The deployment's configuration; an organisation sees them and changes nothing.
    #[default]
    Deployment,
    /// Each organisation, no looser than the deployment's configuration.
    Console,
}

/// The section `security` of `keeptrusts.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentSettings {
    /// Who sets the next three.
    pub managed_by: ManagedBy,
    /// How long sessions last.
    pub session: SessionSettings,
    /// What a password must be.
    pub password: PasswordSection,
    /// When wrong passwords lock.
    pub lockout: LockoutSettings,
    /// What an organisation begins with that has not set its own.
    pub mfa: MfaDefaults,
}

/// What a password must be: a preset, and the values that differ from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordSection {
    /// `recommended` or `nist-800-63b`.
    pub preset: Preset,
    /// The fewest characters, from 8 to 64.
    #[schemars(range(min = 8, max = 64))]
    pub min_length: Option<u32>,
    /// Whether at least one upper-case letter is needed.
    pub require_uppercase: Option<bool>,
    /// Whether at least one digit is needed.
    pub require_number: Option<bool>,
    /// Whether at least one character is needed that is neither a letter nor a digit.
    pub require_special: Option<bool>,
    /// How many of the last passwords may not be used again, at most 24; 0 allows all.
    #[schemars(range(max = 24))]
    pub history: Option<u32>,
    /// After how many days a password has to be changed, at most 3650; 0 never asks for it.
    #[schemars(range(max = 3650))]
    pub max_age_days: Option<u32>,
}

impl Default for PasswordSection {
    fn default() -> Self {
        Self {
            preset: Preset::Recommended,
            min_length: None,
            require_uppercase: None,
            require_number: None,
            require_special: None,
            history: None,
            max_age_days: None,
        }
    }
}

impl PasswordSection {
    /// The values in force where a second factor is enforced for everybody, or is not.
    #[must_use]
    pub fn policy(&self, second_factor_enforced: bool) -> PasswordPolicy {
        let preset = self.preset.policy(second_factor_enforced);
        PasswordPolicy {
            min_length: self.min_length.unwrap_or(preset.min_length),
            require_uppercase: self.require_uppercase.unwrap_or(preset.require_uppercase),
            require_number: self.require_number.unwrap_or(preset.require_number),
            require_special: self.require_special.unwrap_or(preset.require_special),
            history: self.history.unwrap_or(preset.history),
            max_age_days: self.max_age_days.unwrap_or(preset.max_age_days),
        }
    }
}

/// What an organisation begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MfaDefaults {
    /// How long those newly asked for a second factor have to enrol: up to 720h (30 days); none with `0h`.
    #[serde(with = "crate::mfa::grace")]
    #[schemars(with = "String")]
    pub grace_period: Option<Span>,
}

impl Default for MfaDefaults {
    fn default() -> Self {
        Self { grace_period: MfaSettings::default().grace_period }
    }
}

impl DeploymentSettings {
    /// The first value that breaks a rule in each section, named as it stands below `security`.
    #[must_use]
    pub fn broken_rules(&self) -> Vec<Error> {
        let policy =
            SecuritySettings { password: self.password.policy(false), ..SecuritySettings::default() };
        let mfa = self.to_settings().mfa;
        let sections = [self.session.validate(), policy.validate(), self.lockout.validate(), mfa.validate()];
        sections.into_iter().filter_map(Result::err).collect()
    }

    /// The settings of an organisation that has chosen nothing.
    #[must_use]
    pub fn to_settings(&self) -> SecuritySettings {
        SecuritySettings {
            session: self.session.clone(),
            password: self.password.policy(false),
            lockout: self.lockout.clone(),
            mfa: MfaSettings { grace_period: self.mfa.grace_period, ..MfaSettings::default() },
            ..SecuritySettings::default()
        }
    }

    /// What an organisation has chosen, nowhere looser than the deployment's; the deployment's own where it sets them.
    #[must_use]
    pub fn tighten(&self, settings: SecuritySettings) -> SecuritySettings {
        let password = self.password.policy(settings.mfa.is_enforced_for_all());
        match self.managed_by {
            ManagedBy::Deployment => SecuritySettings {
                session: self.session.clone(),
                password,
                lockout: self.lockout.clone(),
                ..settings
            },
            ManagedBy::Console => SecuritySettings {
                session: settings.session.tightened_to(&self.session),
                password: settings.password.tightened_to(&password),
                lockout: settings.lockout.tightened_to(&self.lockout),
                ..settings
            },
        }
    }

    /// Refuses settings that are looser than the deployment's, naming the field.
    pub fn allow(&self, settings: &SecuritySettings) -> Result<(), Error> {
        let password = self.password.policy(settings.mfa.is_enforced_for_all());
        let looser = [
            ("session", settings.session.looser_than(&self.session)),
            ("password", settings.password.looser_than(&password)),
            ("lockout", settings.lockout.looser_than(&self.lockout)),
        ];
        let first = looser.iter().find_map(|(section, fields)| fields.first().map(|field| (section, field)));
        match first {
            None => Ok(()),
            Some((section, field)) => Err(Error::invalid(
                format!("{section}.{field}"),
                "This is looser than the deployment allows. Choose a stricter value, or have the operator change \
                 `security` in keeptrusts.yaml.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mfa::MfaPolicy;
    use crate::sessions::TIMEOUTS;

    fn section(policy: &PasswordPolicy) -> PasswordSection {
        serde_json::from_value(serde_json::to_value(policy).unwrap()).unwrap()
    }

    fn sections() -> impl Strategy<Value = (SessionSettings, PasswordPolicy, LockoutSettings)> {
        let span = |hours: std::ops::Range<u64>| {
            hours.prop_map(|hours| Span(std::time::Duration::from_hours(hours)))
        };
        let session =
            (0..TIMEOUTS.len(), any::<bool>(), span(4..25)).prop_map(|(timeout, idle, absolute)| {
                SessionSettings { timeout: TIMEOUTS[timeout], idle, absolute }
            });
        let password = (8..65_u32, any::<[bool; 3]>(), 0..25_u32, 0..4_u32).prop_map(
            |(min_length, [require_uppercase, require_number, require_special], history, max_age_days)| {
                PasswordPolicy {
                    min_length,
                    require_uppercase,
                    require_number,
                    require_special,
                    history,
                    max_age_days,
                }
            },
        );
        let lockout = (3..101_u32, span(1..25), span(1..25))
            .prop_map(|(max_failures, window, duration)| LockoutSettings { max_failures, window, duration });
        (session, password, lockout)
    }

    proptest! {
        #[test]
        fn what_was_tightened_is_allowed_and_no_looser_than_what_was_chosen(
            (session, password, lockout) in sections(),
            floor in sections(),
        ) {
            let deployment = DeploymentSettings {
                managed_by: ManagedBy::Console,
                session: floor.0,
                password: section(&floor.1),
                lockout: floor.2,
                ..DeploymentSettings::default()
            };
            let chosen = SecuritySettings { session, password, lockout, ..SecuritySettings::default() };
            let tightened = deployment.tighten(chosen.clone());
            prop_assert!(deployment.allow(&tightened).is_ok());
            prop_assert!(tightened.validate().is_ok());
            prop_assert!(tightened.session.looser_than(&chosen.session).is_empty());
            prop_assert!(tightened.password.looser_than(&chosen.password).is_empty());
            prop_assert!(tightened.lockout.looser_than(&chosen.lockout).is_empty());
            if deployment.allow(&chosen).is_ok() {
                prop_assert_eq!(tightened, chosen);
            }
        }
    }

    #[test]
    fn a_looser_value_is_refused_by_its_name() {
        type Change = fn(&mut SecuritySettings);
        let deployment = DeploymentSettings::default();
        let table: [(Change, &str); 5] = [
            (|settings| settings.session.timeout = TIMEOUTS[2], "session.timeout"),
            (
                |settings| settings.session.absolute = Span(std::time::Duration::from_hours(13)),
                "session.absolute",
            ),
            (|settings| settings.password.min_length = 11, "password.min_length"),
            (|settings| settings.lockout.max_failures = 11, "lockout.max_failures"),
            (
                |settings| settings.lockout.duration = Span(std::time::Duration::from_mins(14)),
                "lockout.duration",
            ),
        ];
        deployment.allow(&SecuritySettings::default()).unwrap();
        for (change, field) in table {
            let mut settings = SecuritySettings::default();
            change(&mut settings);
            assert_eq!(deployment.allow(&settings).unwrap_err().param.as_deref(), Some(field));
        }
        let from_sign_in = DeploymentSettings {
            session: SessionSettings { idle: false, ..SessionSettings::default() },
            ..deployment
        };
        let refused = from_sign_in.allow(&SecuritySettings::default()).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("session.idle"));
    }

    #[test]
    fn an_empty_section_holds_the_defaults_and_unknown_keys_are_refused() {
        let settings: DeploymentSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings.managed_by, ManagedBy::Deployment);
        assert_eq!(settings.to_settings(), SecuritySettings::default());
        assert!(settings.broken_rules().is_empty());
        serde_json::from_str::<DeploymentSettings>(r#"{"managedby":"console"}"#).unwrap_err();
        let bad = r#"{"session":{"timeout":"2h"},"password":{"history":25},"lockout":{"max_failures":2}}"#;
        let broken = serde_json::from_str::<DeploymentSettings>(bad).unwrap().broken_rules();
        let fields: Vec<_> = broken.iter().filter_map(|error| error.param.as_deref()).collect();
        assert_eq!(fields, ["session.timeout", "password.history", "lockout.max_failures"]);
    }

    #[test]
    fn a_preset_asks_for_less_where_a_second_factor_is_enforced() {
        let deployment: DeploymentSettings =
            serde_json::from_str(r#"{"password":{"preset":"nist-800-63b","history":9}}"#).unwrap();
        let optional = deployment.to_settings();
        assert_eq!((optional.password.min_length, optional.password.history), (15, 9));
        let mut enforced = optional;
        enforced.mfa.policy = MfaPolicy::RequiredForAll;
        assert_eq!(deployment.tighten(enforced).password.min_length, 12);
    }
}
