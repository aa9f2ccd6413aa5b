//! An organisation and what it demands.

use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::security_settings::SecuritySettings;
use kt_store::Source;
use kt_store::organizations::{self, Versioned};

use crate::control::Control;

/// The name of the document that holds the security settings.
pub(crate) const SECURITY: &str = "security";

impl Control {
    /// What this organisation demands at this moment.
    pub(crate) async fn security_of(
        &self,
        source: &impl Source,
        organization: &OrganizationId,
    ) -> Result<Versioned<SecuritySettings>, Error> {
        Ok(organizations::settings(source, organization, SECURITY).await?)
    }
}

/// What an organisation may be called in addresses and at sign-in: 2 to 63 characters, `a-z`, `0-9` and inner `-`.
pub(crate) fn check_identifier(identifier: &str) -> Result<(), Error> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_good = (2..=63).contains(&identifier.len())
        && identifier.chars().all(inner)
        && !identifier.starts_with('-')
        && !identifier.ends_with('-');
    if is_good {
        return Ok(());
    }
    let message = "Use 2 to 63 characters: small letters, digits, and hyphens between them.";
    Err(Error::invalid("organization", message))
}

/// A name for people to read: 1 to 200 characters, none of them a control character.
pub(crate) fn check_name(param: &'static str, name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    if (1..=200).contains(&length) && !name.chars().any(char::is_control) && name.trim() == name {
        return Ok(());
    }
    Err(Error::invalid(param, "Use 1 to 200 characters, without line breaks and without spaces at the ends."))
}
