//! What an organization has decided about a SAML provider.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::is_web_address;
use crate::error::Error;

/// How long before its end a certificate is warned about: time to ask the people who run the provider (STANDARDS MFA-14).
pub const CERTIFICATE_WARNING: Duration = Duration::from_hours(30 * 24);

/// A SAML provider, and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamlSettings {
    /// The name of the provider, exactly as its messages have it.
    pub entity_id: String,
    /// Where people are sent to prove who they are.
    pub sso_url: String,
    /// Where answers to its requests to log out go.
    #[serde(default)]
    pub logout_url: Option<String>,
    /// Whose signatures are its own.
    pub certificates: Vec<SamlCertificate>,
    /// Where it publishes all of this. Read when somebody says so, never by itself: a new certificate counts once an owner
    /// has seen it.
    #[serde(default)]
    pub metadata_url: Option<String>,
    /// The kind of name that it is asked for.
    #[serde(default)]
    pub name_id_format: Option<String>,
    /// The attribute that tells people apart, where that is not their name (`NameID`).
    #[serde(default)]
    pub subject_attribute: Option<String>,
    /// Whether our requests are signed.
    #[serde(default)]
    pub sign_requests: bool,
    /// The certificate of our own key, in Base64.
    pub own_certificate: String,
    /// That of the key which is to take its place: the provider may know both meanwhile.
    #[serde(default)]
    pub next_certificate: Option<String>,
}

/// A certificate of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamlCertificate {
    /// It, in Base64.
    pub certificate: String,
    /// Its SHA-256 fingerprint.
    pub fingerprint: String,
    /// When it ends.
    pub not_after: Timestamp,
}

impl SamlSettings {
    /// Refuses values that break a rule, naming the field. `private` lets a provider be on this machine, over plain http too.
    pub fn validate(&self, private: bool) -> Result<(), Error> {
        let addresses = [
            ("sso_url", Some(&self.sso_url)),
            ("logout_url", self.logout_url.as_ref()),
            ("metadata_url", self.metadata_url.as_ref()),
        ];
        for (field, address) in addresses {
            if address.is_some_and(|address| !is_web_address(address, private)) {
                let message = "Write an https address of the provider, without user name and without `#`.";
                return Err(Error::invalid(field, message));
            }
        }
        if self.certificates.is_empty() {
            let message = "Without a certificate nothing that the provider says can be believed.";
            return Err(Error::invalid("certificates", message));
        }
        let is_word = |text: &String| {
            (1..=200).contains(&text.chars().count())
                && text.trim() == text
                && !text.chars().any(char::is_control)
        };
        if self.subject_attribute.as_ref().is_some_and(|name| !is_word(name)) {
            let message =
                "Write the name of the attribute exactly as the provider sends it: 1 to 200 characters.";
            return Err(Error::invalid("subject_attribute", message));
        }
        Ok(())
    }

    /// When the last certificate ends, if that is so near, or past, that somebody has to act.
    #[must_use]
    pub fn certificates_end_soon(&self, now: Timestamp) -> Option<Timestamp> {
        let end = self.certificates.iter().map(|certificate| certificate.not_after).max()?;
        ends_soon(end, now).then_some(end)
    }
}

/// Whether the end of a certificate is so near, or past, that somebody has to act.
#[must_use]
pub fn ends_soon(end: Timestamp, now: Timestamp) -> bool {
    end <= now.saturating_add(CERTIFICATE_WARNING).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(not_after: &str) -> SamlCertificate {
        let not_after = not_after.parse().unwrap();
        SamlCertificate { certificate: "MII".into(), fingerprint: "AB".into(), not_after }
    }

    fn settings() -> SamlSettings {
        SamlSettings {
            entity_id: "https://id.example".into(),
            sso_url: "https://id.example/sso".into(),
            logout_url: None,
            certificates: vec![certificate("2026-06-01T00:00:00Z"), certificate("2026-04-01T00:00:00Z")],
            metadata_url: None,
            name_id_format: None,
            subject_attribute: None,
            sign_requests: false,
            own_certificate: "MII".into(),
            next_certificate: None,
        }
    }

    #[test]
    fn a_field_at_fault_is_named() {
        let good = settings();
        let table = [
            (SamlSettings { sso_url: "javascript:alert(1)".into(), ..good.clone() }, "sso_url"),
            (SamlSettings { sso_url: "http://localhost/sso".into(), ..good.clone() }, "sso_url"),
            (SamlSettings { logout_url: Some("ftp://id.example".into()), ..good.clone() }, "logout_url"),
            (SamlSettings { metadata_url: Some("/metadata".into()), ..good.clone() }, "metadata_url"),
            (SamlSettings { certificates: Vec::new(), ..good.clone() }, "certificates"),
            (SamlSettings { subject_attribute: Some(" uid".into()), ..good.clone() }, "subject_attribute"),
        ];
        good.validate(false).unwrap();
        for (bad, field) in table {
            assert_eq!(bad.validate(false).unwrap_err().param.as_deref(), Some(field));
        }
        SamlSettings { sso_url: "http://localhost/sso".into(), ..good }.validate(true).unwrap();
    }

    #[test]
    fn the_last_certificate_is_warned_about_thirty_days_ahead() {
        let soon = |now: &str| settings().certificates_end_soon(now.parse().unwrap()).is_some();
        assert!(!soon("2026-05-01T23:59:59Z"));
        assert!(soon("2026-05-02T00:00:00Z"));
        assert!(soon("2026-07-01T00:00:00Z"), "and after its end");
    }
}
