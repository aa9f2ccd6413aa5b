//! What an organization demands of the people and keys in it (SPEC section 7).

use serde::{Deserialize, Serialize};

use crate::email::EmailAddress;
use crate::error::Error;
use crate::keys::KeyRestrictions;
use crate::lockout::LockoutSettings;
use crate::mfa::MfaSettings;
use crate::passwords::PasswordPolicy;
use crate::sessions::SessionSettings;
use crate::words;

/// How often the console's CSRF token changes. The protection itself has no off switch (R64–R66).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CsrfRotation {
    /// One token for the life of the session.
    #[default]
    PerSession,
    /// A fresh token for every state-changing request.
    PerRequest,
}

words!(CsrfRotation { PerSession = "per_session", PerRequest = "per_request" });

/// The section `csrf`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsrfSettings {
    /// How often the token changes.
    pub rotation: CsrfRotation,
}

/// The section `registration`: who may ask to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrationSettings {
    /// Whether people may register themselves, without an invitation.
    pub self_registration: bool,
    /// Whether an administrator approves those who did.
    pub signup_approval: bool,
    /// The domains whose addresses may register; none means any. Compared whole: no suffixes.
    pub email_domains: Vec<String>,
}

impl Default for RegistrationSettings {
    fn default() -> Self {
        Self { self_registration: false, signup_approval: true, email_domains: Vec::new() }
    }
}

impl RegistrationSettings {
    /// Refuses what is no domain of an address, naming the entry.
    pub fn validate(&self) -> Result<(), Error> {
        let is_domain = |domain: &str| EmailAddress::parse(&format!("a@{domain}")).is_ok();
        match self.email_domains.iter().position(|domain| !is_domain(domain)) {
            None => Ok(()),
            Some(index) => {
                let message = "Write the part of an address after `@`, such as `example.com`.";
                Err(Error::invalid(format!("registration.email_domains[{index}]"), message))
            }
        }
    }
}

/// All sections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecuritySettings {
    /// How long sessions last.
    pub session: SessionSettings,
    /// What a password must be.
    pub password: PasswordPolicy,
    /// When wrong passwords lock.
    pub lockout: LockoutSettings,
    /// Whom a second factor is asked of.
    pub mfa: MfaSettings,
    /// How the console's forms are guarded.
    pub csrf: CsrfSettings,
    /// What keys must be.
    pub api_keys: KeyRestrictions,
    /// Who may ask to join.
    pub registration: RegistrationSettings,
}

impl SecuritySettings {
    /// Refuses values that break a rule, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.session.validate()?;
        if let Some(field) = self.password.out_of_bounds().into_iter().next() {
            return Err(Error::invalid(format!("password.{}", field.field), field.to_string()));
        }
        self.lockout.validate()?;
        self.mfa.validate()?;
        self.api_keys.validate()?;
        self.registration.validate()
    }
}
