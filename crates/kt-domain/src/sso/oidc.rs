//! What an organization has decided about an OIDC provider.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::error::Error;
use crate::words;

/// The longest client id and the longest scope that are taken.
const LONGEST: usize = 500;

/// An OIDC provider, and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// The issuer, exactly as its tokens name it. Its metadata is at `/.well-known/openid-configuration` below it.
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// How we prove that.
    #[serde(default)]
    pub authentication: ClientAuthentication,
    /// Where it is reached; `None` where its metadata says so.
    #[serde(default)]
    pub endpoints: Option<OidcEndpoints>,
}

/// Where a provider is reached that has no metadata, or whose metadata is not to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcEndpoints {
    /// Where people prove who they are.
    pub authorization: String,
    /// Where a code is exchanged.
    pub token: String,
    /// Where its keys are.
    pub jwks: String,
    /// Where more is told about somebody.
    #[serde(default)]
    pub userinfo: Option<String>,
}

/// How we prove to a provider who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientAuthentication {
    /// By the secret, in the header `Authorization` (RFC 6749 section 2.3.1).
    #[default]
    ClientSecretBasic,
    /// By the secret, in the body.
    ClientSecretPost,
    /// Not at all: a public client, whose codes PKCE protects.
    None,
}

words!(ClientAuthentication {
    ClientSecretBasic = "client_secret_basic",
    ClientSecretPost = "client_secret_post",
    None = "none",
});

impl OidcSettings {
    /// Refuses values that break a rule, naming the field. `private` lets a provider be on this machine, over plain http
    /// too.
    pub fn validate(&self, private: bool) -> Result<(), Error> {
        check_address("issuer", &self.issuer, private)?;
        if self.client_id.is_empty() || self.client_id.len() > LONGEST || !is_visible(&self.client_id) {
            let message = "Write the client id that the provider has given to this application.";
            return Err(Error::invalid("client_id", message));
        }
        let Some(endpoints) = &self.endpoints else { return Ok(()) };
        check_address("endpoints.authorization", &endpoints.authorization, private)?;
        check_address("endpoints.token", &endpoints.token, private)?;
        check_address("endpoints.jwks", &endpoints.jwks, private)?;
        match &endpoints.userinfo {
            Some(userinfo) => check_address("endpoints.userinfo", userinfo, private),
            None => Ok(()),
        }
    }
}

/// Whether an address of a provider may be used: https, or http on this machine where that is let.
#[must_use]
pub fn is_web_address(text: &str, private: bool) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    let scheme_fits = url.scheme() == "https" || (url.scheme() == "http" && private && is_here);
    let has_user = !url.username().is_empty() || url.password().is_some();
    scheme_fits && !has_user && url.fragment().is_none() && text.len() <= 2 * LONGEST && is_visible(text)
}

fn check_address(field: &'static str, text: &str, private: bool) -> Result<(), Error> {
    if is_web_address(text, private) {
        return Ok(());
    }
    let message = "Write an https address of the provider, without user name and without `#`.";
    Err(Error::invalid(field, message))
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Display for OidcSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(issuer: &str) -> OidcSettings {
        OidcSettings {
            issuer: issuer.into(),
            client_id: "keeptrusts".into(),
            authentication: ClientAuthentication::default(),
            endpoints: None,
        }
    }

    #[test]
    fn a_provider_is_reached_over_https_or_on_this_machine_where_that_is_let() {
        // Address, whether it is taken, whether it is where private addresses are let.
        for (issuer, public, private) in [
            ("https://id.example.com", true, true),
            ("https://id.example.com/realms/acme", true, true),
            ("https://10.0.0.1", true, true),
            ("http://id.example.com", false, false),
            ("http://10.0.0.1", false, false),
            ("http://localhost:8080", false, true),
            ("http://127.0.0.1:8080/a", false, true),
            ("http://[::1]:8080", false, true),
            ("https://user@id.example.com", false, false),
            ("https://id.example.com/#x", false, false),
            ("https://id.example.com/ x", false, false),
            ("file:///etc/passwd", false, false),
            ("id.example.com", false, false),
            ("", false, false),
        ] {
            assert_eq!(settings(issuer).validate(false).is_ok(), public, "{issuer}");
            assert_eq!(settings(issuer).validate(true).is_ok(), private, "{issuer} where private is let");
        }
    }

    #[test]
    fn a_field_at_fault_is_named() {
        let endpoints = OidcEndpoints {
            authorization: "https://id.example/a".into(),
            token: "https://id.example/t".into(),
            jwks: "javascript:alert(1)".into(),
            userinfo: None,
        };
        let good = settings("https://id.example");
        let table = [
            (OidcSettings { client_id: String::new(), ..good.clone() }, "client_id"),
            (OidcSettings { client_id: "a b".into(), ..good.clone() }, "client_id"),
            (OidcSettings { endpoints: Some(endpoints), ..good.clone() }, "endpoints.jwks"),
        ];
        good.validate(false).unwrap();
        for (bad, field) in table {
            assert_eq!(bad.validate(false).unwrap_err().param.as_deref(), Some(field));
        }
    }
}
