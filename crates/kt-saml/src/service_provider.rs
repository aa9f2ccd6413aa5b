//! This service, as identity providers see it.

use std::fmt::Write as _;

use crate::certificate::Certificate;
use crate::name;
use crate::xml::escaped;

/// This service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceProvider {
    /// Its name, which is the address of its metadata.
    pub entity_id: String,
    /// Where responses come in.
    pub acs_url: String,
    /// Where requests to log out come in.
    pub logout_url: String,
}

impl ServiceProvider {
    /// What it publishes about itself (SAML metadata, section 2.4.4). With each of `keys` it may sign; `signs_requests` says that
    /// it always does. No key is offered for encryption: what comes is not to be encrypted.
    #[must_use]
    pub fn metadata(&self, keys: &[Certificate], signs_requests: bool) -> String {
        let mut roles = String::new();
        for certificate in keys {
            let _ = write!(
                roles,
                r#"<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="{}"><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"#,
                name::SIGNATURE,
                certificate.to_base64(),
            );
        }
        for binding in [name::REDIRECT, name::POST] {
            let _ = write!(
                roles,
                r#"<md:SingleLogoutService Binding="{binding}" Location="{}"/>"#,
                escaped(&self.logout_url)
            );
        }
        for format in [name::PERSISTENT, name::EMAIL] {
            let _ = write!(roles, "<md:NameIDFormat>{format}</md:NameIDFormat>");
        }
        format!(
            concat!(
                r#"<?xml version="1.0" encoding="UTF-8"?>"#,
                r#"<md:EntityDescriptor xmlns:md="{metadata}" entityID="{entity}">"#,
                r#"<md:SPSSODescriptor protocolSupportEnumeration="{protocol}" AuthnRequestsSigned="{signs}" WantAssertionsSigned="true">"#,
                r#"{roles}<md:AssertionConsumerService Binding="{post}" Location="{acs}" index="0" isDefault="true"/>"#,
                r#"</md:SPSSODescriptor></md:EntityDescriptor>"#
            ),
            metadata = name::METADATA,
            entity = escaped(&self.entity_id),
            protocol = name::PROTOCOL,
            signs = signs_requests,
            roles = roles,
            post = name::POST,
            acs = escaped(&self.acs_url),
        )
    }
}
