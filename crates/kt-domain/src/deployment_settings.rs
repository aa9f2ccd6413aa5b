//! What a deployment sets for all its organizations: the section `security` of `keeptrusts.yaml` (SPEC sections 2 and 7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::lockout::LockoutSettings;
use crate::mfa::MfaSettings;
use crate::passwords::{PasswordPolicy, Preset};
use crate::security_settings::SecuritySettings;
use crate::sessions::{LONGEST_SESSION, SessionSettings};
use crate::span::Span;

/// Who sets session lifetime, password policy and lockout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ManagedBy {
    /// The deployment's configuration; an organization sees them and changes nothing.
    #[default]
    Deployment,
    /// Each organization, no looser than what the deployment's configuration says.
    Console,
}

/// The section `security` of `keeptrusts.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentSettings {
    /// Who sets the next three.
    pub managed_by: ManagedBy,
    /// How long sessions last.
    pub session: SessionSection,
    /// What a password must be.
    pub password: PasswordSection,
    /// When wrong passwords lock.
    pub lockout: LockoutSection,
    /// What an organization begins with that has not set its own.
    pub mfa: MfaDefaults,
}

/// How long sessions last: the values that differ from the usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSection {
    /// How long a session lasts: 15m, 30m, 1h or 4h; 30m without it.
    pub timeout: Option<Span>,
    /// `true`, which is the default: `timeout` counts from the last activity. `false`: it counts from sign-in.
    pub idle: Option<bool>,
    /// How long a session lasts at most, whatever is done in it, up to 24h; 12h without it (NIST SP 800-63B-4 sections 2.2.3
    /// and 2.3.3: at most 24 hours at AAL2, 12 hours at AAL3).
    pub absolute: Option<Span>,
}

impl SessionSection {
    /// The values in force.
    #[must_use]
    pub fn settings(&self) -> SessionSettings {
        self.over(&SessionSettings::default())
    }

    fn loosest(&self) -> SessionSettings {
        self.over(&SessionSettings::loosest_within(self.absolute.unwrap_or(LONGEST_SESSION)))
    }

    fn over(&self, base: &SessionSettings) -> SessionSettings {
        SessionSettings {
            timeout: self.timeout.unwrap_or(base.timeout),
            idle: self.idle.unwrap_or(base.idle),
            absolute: self.absolute.unwrap_or(base.absolute),
        }
    }
}

/// When wrong passwords lock: the values that differ from the usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LockoutSection {
    /// How many failures within `window` lock: 3 to 100; 10 without it.
    #[schemars(range(min = 3, max = 100))]
    pub max_failures: Option<u32>,
    /// The time over which failures are counted, from 1m to 24h; 15m without it.
    pub window: Option<Span>,
    /// How long the lock holds, from 1m to 24h; 15m without it.
    pub duration: Option<Span>,
}

impl LockoutSection {
    /// The values in force.
    #[must_use]
    pub fn settings(&self) -> LockoutSettings {
        self.over(&LockoutSettings::default())
    }

    fn over(&self, base: &LockoutSettings) -> LockoutSettings {
        LockoutSettings {
            max_failures: self.max_failures.unwrap_or(base.max_failures),
            window: self.window.unwrap_or(base.window),
            duration: self.duration.unwrap_or(base.duration),
        }
    }
}

/// What a password must be: a preset, and the values that differ from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordSection {
    /// `recommended`, as without it, or `nist-800-63b`.
    pub preset: Option<Preset>,
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

impl PasswordSection {
    /// The values in force where a second factor is enforced for everybody, or is not.
    #[must_use]
    pub fn policy(&self, second_factor_enforced: bool) -> PasswordPolicy {
        self.over(&self.preset.unwrap_or(Preset::Recommended).policy(second_factor_enforced))
    }

    fn loosest(&self, second_factor_enforced: bool) -> PasswordPolicy {
        let preset = self.preset.map(|preset| preset.policy(second_factor_enforced));
        self.over(&preset.unwrap_or(PasswordPolicy::LOOSEST))
    }

    fn over(&self, base: &PasswordPolicy) -> PasswordPolicy {
        PasswordPolicy {
            min_length: self.min_length.unwrap_or(base.min_length),
            require_uppercase: self.require_uppercase.unwrap_or(base.require_uppercase),
            require_number: self.require_number.unwrap_or(base.require_number),
            require_special: self.require_special.unwrap_or(base.require_special),
            history: self.history.unwrap_or(base.history),
            max_age_days: self.max_age_days.unwrap_or(base.max_age_days),
        }
    }
}

/// What an organization begins with.
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

/// The loosest that an organization may choose where it sets these itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoosestSettings {
    /// How long sessions last.
    pub session: SessionSettings,
    /// What a password must be.
    pub password: PasswordPolicy,
    /// When wrong passwords lock.
    pub lockout: LockoutSettings,
}

impl DeploymentSettings {
    /// The first value that breaks a rule in each section, named as it stands below `security`.
    #[must_use]
    pub fn broken_rules(&self) -> Vec<Error> {
        let settings = self.to_settings();
        let policy = SecuritySettings { password: settings.password.clone(), ..SecuritySettings::default() };
        let sections = [
            settings.session.validate(),
            policy.validate(),
            settings.lockout.validate(),
            settings.mfa.validate(),
        ];
        sections.into_iter().filter_map(Result::err).collect()
    }

    /// The settings of an organization that has chosen nothing.
    #[must_use]
    pub fn to_settings(&self) -> SecuritySettings {
        SecuritySettings {
            session: self.session.settings(),
            password: self.password.policy(false),
            lockout: self.lockout.settings(),
            mfa: MfaSettings { grace_period: self.mfa.grace_period, ..MfaSettings::default() },
            ..SecuritySettings::default()
        }
    }

    /// What an organization has chosen, nowhere looser than the deployment says; the deployment's own where it sets them.
    #[must_use]
    pub fn tighten(&self, settings: SecuritySettings) -> SecuritySettings {
        match self.managed_by {
            ManagedBy::Deployment => SecuritySettings {
                session: self.session.settings(),
                password: self.password.policy(settings.mfa.is_enforced_for_all()),
                lockout: self.lockout.settings(),
                ..settings
            },
            ManagedBy::Console => {
                let loosest = self.loosest(&settings.mfa);
                SecuritySettings {
                    session: settings.session.tightened_to(&loosest.session),
                    password: settings.password.tightened_to(&loosest.password),
                    lockout: settings.lockout.tightened_to(&loosest.lockout),
                    ..settings
                }
            }
        }
    }

    /// The loosest that an organization may choose which asks for second factors like this: what the configuration says, and
    /// where it says nothing, what is allowed at all.
    #[must_use]
    pub fn loosest(&self, mfa: &MfaSettings) -> LoosestSettings {
        LoosestSettings {
            session: self.session.loosest(),
            password: self.password.loosest(mfa.is_enforced_for_all()),
            lockout: self.lockout.over(&LockoutSettings::LOOSEST),
        }
    }

    /// Refuses settings that are looser than the deployment says, naming the field.
    pub fn allow(&self, settings: &SecuritySettings) -> Result<(), Error> {
        let loosest = self.loosest(&settings.mfa);
        let looser = [
            ("session", settings.session.looser_than(&loosest.session)),
            ("password", settings.password.looser_than(&loosest.password)),
            ("lockout", settings.lockout.looser_than(&loosest.lockout)),
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
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::mfa::MfaPolicy;
    use crate::sessions::TIMEOUTS;

    /// A section that says these of its values which `is_said` names.
    fn section<T: DeserializeOwned>(settings: impl Serialize, mut is_said: impl FnMut() -> bool) -> T {
        let mut fields = serde_json::to_value(settings).unwrap();
        fields.as_object_mut().unwrap().retain(|_, _| is_said());
        serde_json::from_value(fields).unwrap()
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
            said in any::<[bool; 12]>(),
        ) {
            let mut said = said.into_iter();
            let mut is_said = || said.next().unwrap();
            let deployment = DeploymentSettings {
                managed_by: ManagedBy::Console,
                session: section(&floor.0, &mut is_said),
                password: section(&floor.1, &mut is_said),
                lockout: section(&floor.2, &mut is_said),
                ..DeploymentSettings::default()
            };
            prop_assume!(deployment.broken_rules().is_empty());
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
        let usual = SecuritySettings::default();
        let deployment = DeploymentSettings {
            session: section(&usual.session, || true),
            password: section(&usual.password, || true),
            lockout: section(&usual.lockout, || true),
            ..DeploymentSettings::default()
        };
        let silent = DeploymentSettings::default();
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
            silent.allow(&settings).unwrap_or_else(|_| panic!("{field}: nothing was said of it"));
        }
        let from_sign_in = DeploymentSettings {
            session: SessionSection { idle: Some(false), ..SessionSection::default() },
            ..silent
        };
        let refused = from_sign_in.allow(&SecuritySettings::default()).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("session.idle"));
    }

    #[test]
    fn where_nothing_is_said_whatever_is_valid_can_be_chosen() {
        let silent = DeploymentSettings::default();
        for preset in [Preset::Recommended, Preset::Nist80063b] {
            for timeout in TIMEOUTS {
                let session = SessionSettings { timeout, ..SessionSettings::default() };
                let password = preset.policy(false);
                let chosen = SecuritySettings { session, password, ..SecuritySettings::default() };
                silent.allow(&chosen).unwrap();
            }
        }
        let LoosestSettings { session, password, lockout } = silent.loosest(&MfaSettings::default());
        let loosest = SecuritySettings { session, password, lockout, ..SecuritySettings::default() };
        loosest.validate().unwrap();
        silent.allow(&loosest).unwrap();
        let brief: DeploymentSettings = serde_json::from_str(r#"{"session":{"absolute":"2h"}}"#).unwrap();
        let loosest = brief.loosest(&MfaSettings::default()).session;
        assert_eq!(
            (loosest.timeout, loosest.absolute.to_string().as_str()),
            (TIMEOUTS[2], "2h"),
            "one that can be"
        );
        loosest.validate().unwrap();
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
