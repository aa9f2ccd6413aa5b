//! What an organization has chosen of its security settings, over what its deployment sets.
//!
//! Only the sections that it has chosen are kept, so that the others follow the deployment's configuration.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::deployment_settings::{DeploymentSettings, ManagedBy};
use crate::error::{Error, ErrorKind};
use crate::mfa::MfaSettings;
use crate::passwords::Preset;
use crate::security_settings::SecuritySettings;
use crate::words;

/// A section of the security settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// How long sessions last.
    Session,
    /// What a password must be.
    Password,
    /// When wrong passwords lock.
    Lockout,
    /// Whom a second factor is asked of.
    Mfa,
    /// How the console's forms are guarded.
    Csrf,
    /// What API keys must be.
    ApiKeys,
    /// Who may ask to join.
    Registration,
}

words!(Section {
    Session = "session",
    Password = "password",
    Lockout = "lockout",
    Mfa = "mfa",
    Csrf = "csrf",
    ApiKeys = "api_keys",
    Registration = "registration",
});

impl Section {
    /// Who sets it in this deployment.
    #[must_use]
    pub fn managed_by(self, deployment: &DeploymentSettings) -> ManagedBy {
        match self {
            Self::Session | Self::Password | Self::Lockout => deployment.managed_by,
            Self::Mfa | Self::Csrf | Self::ApiKeys | Self::Registration => ManagedBy::Console,
        }
    }
}

/// The sections that an organization has chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecurityChoices(Map<String, Value>);

/// A change of the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingsChange {
    /// What is to be kept.
    pub choices: SecurityChoices,
    /// What is in force with it.
    pub settings: SecuritySettings,
    /// The sections that are different now, with the fields that are: what they held, and what they hold.
    pub sections: Vec<(Section, Value, Value)>,
}

impl SecurityChoices {
    /// What is in force in this deployment.
    pub fn in_force(&self, deployment: &DeploymentSettings) -> Result<SecuritySettings, serde_json::Error> {
        if self.0.is_empty() {
            return Ok(deployment.to_settings());
        }
        let mut sections = serde_json::to_value(deployment.to_settings())?;
        for (name, section) in &self.0 {
            let is_followed = name
                .parse()
                .is_ok_and(|section: Section| section.managed_by(deployment) == ManagedBy::Deployment);
            if !is_followed {
                sections[name] = section.clone();
            }
        }
        Ok(deployment.tighten(serde_json::from_value(sections)?))
    }

    /// These choices with the fields of `patch`, an object of sections, put in place of those in force. Fields that it
    /// does not name stay. Refused, naming the field, where one is unknown, breaks a rule or is looser than the
    /// deployment allows; `deployment_managed` where the deployment sets the section.
    pub fn patched(
        &self,
        deployment: &DeploymentSettings,
        patch: &Map<String, Value>,
    ) -> Result<SettingsChange, Error> {
        let before = serde_json::to_value(self.in_force(deployment).map_err(Error::internal)?)
            .map_err(Error::internal)?;
        let mut after = before.clone();
        for (section, fields) in named_sections(patch)? {
            if section.managed_by(deployment) == ManagedBy::Deployment {
                return Err(deployment_managed(section));
            }
            if let (Section::Password, Some(preset)) = (section, fields.get(PRESET)) {
                after[section.as_str()] = policy_of(preset, &after)?;
            }
            let is_preset = |field: &str| section == Section::Password && field == PRESET;
            for (field, value) in fields.iter().filter(|(field, _)| !is_preset(field)) {
                set(&mut after, section, field, value)?;
            }
        }
        let settings: SecuritySettings = serde_json::from_value(after).map_err(Error::internal)?;
        settings.validate()?;
        deployment.allow(&settings)?;
        // As it is written, not as it was sent: `60m` is `1h`.
        let after = serde_json::to_value(&settings).map_err(Error::internal)?;
        let mut choices = self.clone();
        let mut sections = Vec::new();
        for section in Section::ALL.iter().copied() {
            let name = section.as_str();
            if before[name] != after[name] {
                choices.0.insert(name.to_owned(), after[name].clone());
                let (was, is) = difference(&before[name], &after[name]);
                sections.push((section, was, is));
            }
        }
        Ok(SettingsChange { choices, settings, sections })
    }
}

/// Fields by their names.
type Fields = Map<String, Value>;

/// The field of the section `password` that sets all others.
const PRESET: &str = "preset";

/// The sections that a patch names, the password's last: its presets depend on whether a second factor is enforced.
fn named_sections(patch: &Fields) -> Result<Vec<(Section, &Fields)>, Error> {
    let mut sections = Vec::new();
    for (name, fields) in patch {
        let section: Section = name
            .parse()
            .map_err(|why| Error::invalid(name.clone(), format!("There is no such section: {why}.")))?;
        let Value::Object(fields) = fields else {
            return Err(Error::invalid(name.clone(), "Send an object with the fields to change."));
        };
        sections.push((section, fields));
    }
    sections.sort_by_key(|(section, _)| *section == Section::Password);
    Ok(sections)
}

/// The values of a preset, given the other sections.
fn policy_of(preset: &Value, sections: &Value) -> Result<Value, Error> {
    let preset: Preset = serde_json::from_value(preset.clone())
        .map_err(|why| Error::invalid("password.preset", why.to_string()))?;
    let mfa: MfaSettings =
        serde_json::from_value(sections[Section::Mfa.as_str()].clone()).map_err(Error::internal)?;
    serde_json::to_value(preset.policy(mfa.is_enforced_for_all())).map_err(Error::internal)
}

/// Sets one field and sees that the whole can still be read.
fn set(sections: &mut Value, section: Section, field: &str, value: &Value) -> Result<(), Error> {
    let param = format!("{section}.{field}");
    let Some(place) = sections[section.as_str()].get_mut(field) else {
        return Err(Error::invalid(param, "There is no such field in this section, or it cannot be set."));
    };
    *place = value.clone();
    match serde_json::from_value::<SecuritySettings>(sections.clone()) {
        Ok(_) => Ok(()),
        Err(why) => Err(Error::invalid(param, why.to_string())),
    }
}

/// Of two objects, the fields in which they differ.
#[must_use]
pub fn difference(before: &Value, after: &Value) -> (Value, Value) {
    let only = |of: &Value, other: &Value| {
        let fields = of.as_object().into_iter().flatten();
        let different = fields.filter(|(name, value)| other.get(name.as_str()) != Some(*value));
        different.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
    };
    (only(before, after), only(after, before))
}

fn deployment_managed(section: Section) -> Error {
    let message = format!(
        "The deployment sets this. The operator changes it in keeptrusts.yaml under `security.{section}`, or lets \
         organizations set it with `security.managed_by: console`."
    );
    Error::new(ErrorKind::Conflict, "deployment_managed", message).with_param(section.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deployment_settings::PasswordSection;
    use crate::passwords::PasswordPolicy;

    fn deployment(managed_by: ManagedBy) -> DeploymentSettings {
        DeploymentSettings { managed_by, ..DeploymentSettings::default() }
    }

    fn patch(
        choices: &SecurityChoices,
        deployment: &DeploymentSettings,
        patch: &Value,
    ) -> Result<SettingsChange, Error> {
        choices.patched(deployment, patch.as_object().unwrap())
    }

    #[test]
    fn every_section_has_its_name() {
        let settings = serde_json::to_value(SecuritySettings::default()).unwrap();
        let names: Vec<&str> = settings.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, Section::ALL.iter().map(|section| section.as_str()).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_named_stays_and_only_what_changed_is_told() {
        let deployment = deployment(ManagedBy::Console);
        let first = patch(
            &SecurityChoices::default(),
            &deployment,
            &json!({ "session": { "timeout": "15m" }, "csrf": { "rotation": "per_session" } }),
        );
        let first = first.unwrap();
        assert_eq!(
            first.sections,
            [(Section::Session, json!({ "timeout": "30m" }), json!({ "timeout": "15m" }))]
        );
        let second = patch(&first.choices, &deployment, &json!({ "session": { "idle": false } })).unwrap();
        assert_eq!(second.settings.session.timeout.to_string(), "15m");
        assert_eq!(second.choices.in_force(&deployment).unwrap(), second.settings);
        let nothing = patch(&second.choices, &deployment, &json!({})).unwrap();
        assert_eq!((nothing.sections, nothing.choices), (vec![], second.choices));
    }

    #[test]
    fn a_preset_sets_the_whole_policy_as_the_second_factor_has_it() {
        let loose = DeploymentSettings {
            password: PasswordSection { preset: Some(Preset::Nist80063b), ..PasswordSection::default() },
            ..deployment(ManagedBy::Console)
        };
        let nist = json!({ "password": { "preset": "nist-800-63b", "history": 7 } });
        let alone = patch(&SecurityChoices::default(), &loose, &nist).unwrap();
        let expected = PasswordPolicy { history: 7, ..Preset::Nist80063b.policy(false) };
        assert_eq!(alone.settings.password, expected);
        let both = json!({
            "password": { "preset": "nist-800-63b" }, "mfa": { "policy": "required_for_all" }
        });
        let both = patch(&alone.choices, &loose, &both);
        assert_eq!(both.unwrap().settings.password, Preset::Nist80063b.policy(true));
    }

    #[test]
    fn what_is_refused_is_named() {
        let table = [
            (json!({ "sessions": {} }), "sessions"),
            (json!({ "session": 7 }), "session"),
            (json!({ "session": { "time": "15m" } }), "session.time"),
            (json!({ "session": { "managed_by": "console" } }), "session.managed_by"),
            (json!({ "session": { "timeout": 15 } }), "session.timeout"),
            (json!({ "session": { "timeout": "2h" } }), "session.timeout"),
            (json!({ "password": { "min_length": 7 } }), "password.min_length"),
            (json!({ "password": { "history": 25 } }), "password.history"),
            (json!({ "password": { "preset": "lax" } }), "password.preset"),
            (json!({ "session": { "preset": "recommended" } }), "session.preset"),
            (json!({ "mfa": { "policy": "sometimes" } }), "mfa.policy"),
            (json!({ "mfa": { "grace_period": "721h" } }), "mfa.grace_period"),
            (json!({ "csrf": { "rotation": "off" } }), "csrf.rotation"),
            (json!({ "api_keys": { "max_age_days": 0 } }), "api_keys.max_age_days"),
            (json!({ "api_keys": { "allowed_ranges": ["10.0.0.1/8"] } }), "api_keys.allowed_ranges"),
            (json!({ "registration": { "email_domains": ["a b"] } }), "registration.email_domains[0]"),
        ];
        for (sent, param) in table {
            let refused = patch(&SecurityChoices::default(), &deployment(ManagedBy::Console), &sent);
            let refused = refused.unwrap_err();
            assert_eq!((refused.kind, refused.param.as_deref()), (ErrorKind::Invalid, Some(param)), "{sent}");
        }
    }

    #[test]
    fn what_the_deployment_says_is_the_loosest_and_of_what_it_leaves_open_all_can_be_chosen() {
        let open = deployment(ManagedBy::Console);
        let said: DeploymentSettings = serde_json::from_value(json!({
            "managed_by": "console", "session": { "timeout": "1h" }, "password": { "preset": "recommended" },
        }))
        .unwrap();
        for (sent, is_refused) in [
            (json!({ "session": { "timeout": "1h" } }), None),
            (json!({ "session": { "timeout": "4h" } }), Some("session.timeout")),
            (json!({ "session": { "absolute": "24h" } }), None),
            (json!({ "password": { "preset": "recommended" } }), None),
            (json!({ "password": { "preset": "nist-800-63b" } }), Some("password.require_uppercase")),
            (json!({ "password": { "history": 4 } }), Some("password.history")),
            (json!({ "lockout": { "max_failures": 100 } }), None),
        ] {
            patch(&SecurityChoices::default(), &open, &sent).unwrap();
            let refused = patch(&SecurityChoices::default(), &said, &sent).err();
            assert_eq!(refused.and_then(|error| error.param).as_deref(), is_refused, "{sent}");
        }
    }

    #[test]
    fn what_the_deployment_sets_is_refused_and_not_followed() {
        let by_console = deployment(ManagedBy::Console);
        let strict = json!({ "session": { "timeout": "15m" }, "mfa": { "policy": "required_for_all" } });
        let chosen = patch(&SecurityChoices::default(), &by_console, &strict).unwrap().choices;
        let by_deployment = deployment(ManagedBy::Deployment);
        let settings = chosen.in_force(&by_deployment).unwrap();
        assert_eq!(settings.session, by_deployment.session.settings(), "chosen while organizations set it");
        assert_eq!(settings.mfa.policy.as_str(), "required_for_all");
        for section in ["session", "password", "lockout"] {
            let refused = patch(&chosen, &by_deployment, &json!({ section: {} })).unwrap_err();
            assert_eq!((refused.code, refused.param.as_deref()), ("deployment_managed", Some(section)));
        }
        patch(&chosen, &by_deployment, &json!({ "mfa": { "grace_period": "0h" } })).unwrap();
    }

    #[test]
    fn a_deployment_that_becomes_stricter_is_followed() {
        let loose = deployment(ManagedBy::Console);
        let chosen =
            patch(&SecurityChoices::default(), &loose, &json!({ "lockout": { "max_failures": 9 } })).unwrap();
        let mut strict = loose.clone();
        strict.lockout.max_failures = Some(5);
        strict.mfa.grace_period = None;
        let settings = chosen.choices.in_force(&strict).unwrap();
        assert_eq!(settings.lockout.max_failures, 5);
        assert_eq!(settings.mfa.grace_period, None, "never chosen");
    }

    #[test]
    fn what_is_kept_and_cannot_be_read_is_an_error_and_never_the_default() {
        let kept: SecurityChoices = serde_json::from_str(r#"{"mfa":{"policy":"sometimes"}}"#).unwrap();
        kept.in_force(&deployment(ManagedBy::Deployment)).unwrap_err();
        let kept: SecurityChoices = serde_json::from_str(r#"{"unknown":{}}"#).unwrap();
        kept.in_force(&deployment(ManagedBy::Deployment)).unwrap_err();
    }
}
