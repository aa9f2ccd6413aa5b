//! The request that a browser is sent to its identity provider with (SAML core, section 3.4.1).

use jiff::Timestamp;

use crate::metadata::IdentityProvider;
use crate::name;
use crate::redirect;
use crate::service_provider::ServiceProvider;
use crate::signing_key::SigningKey;
use crate::xml::escaped;

/// A request to prove who somebody is.
#[derive(Clone, Copy, Debug)]
pub struct AuthnRequest<'a> {
    /// Its ID: an XML name that cannot be guessed. The response names it again.
    pub id: &'a str,
    /// Who is asked.
    pub identity_provider: &'a IdentityProvider,
    /// Who asks.
    pub service_provider: &'a ServiceProvider,
    /// Whether the person must prove it anew, though the provider may know them.
    pub force_authentication: bool,
    /// The present moment.
    pub now: Timestamp,
}

impl AuthnRequest<'_> {
    /// Where the browser is sent. The provider gives `relay_state` back unchanged; it may have 80 bytes.
    #[must_use]
    pub fn address(&self, relay_state: &str, key: Option<&SigningKey>) -> String {
        redirect::address(
            &self.identity_provider.sso_url,
            "SAMLRequest",
            &self.document(),
            Some(relay_state),
            key,
        )
    }

    fn document(&self) -> String {
        let force = if self.force_authentication { r#" ForceAuthn="true""# } else { "" };
        let format = self.identity_provider.name_id_format.as_deref();
        let format = format.map(|it| format!(r#" Format="{}""#, escaped(it))).unwrap_or_default();
        format!(
            concat!(
                r#"<samlp:AuthnRequest xmlns:samlp="{protocol}" xmlns:saml="{assertion}" ID="{id}" Version="2.0""#,
                r#" IssueInstant="{now}" Destination="{destination}" AssertionConsumerServiceURL="{acs}""#,
                r#" ProtocolBinding="{post}"{force}><saml:Issuer>{issuer}</saml:Issuer>"#,
                r#"<samlp:NameIDPolicy{format} AllowCreate="true"/></samlp:AuthnRequest>"#
            ),
            protocol = name::PROTOCOL,
            assertion = name::ASSERTION,
            id = escaped(self.id),
            now = instant(self.now),
            destination = escaped(self.identity_provider.sso_url.as_str()),
            acs = escaped(&self.service_provider.acs_url),
            post = name::POST,
            force = force,
            issuer = escaped(&self.service_provider.entity_id),
            format = format,
        )
    }
}

/// A moment as messages write it, to the second.
pub(crate) fn instant(moment: Timestamp) -> String {
    format!("{moment:.0}")
}
