//! Single sign-on: what an identity provider says of somebody, and what an organization makes of it (SPEC section 9).
//!
//! A protocol's own code verifies what a provider sent and puts it into an [`ExternalIdentity`]; from there on both
//! protocols are one. Whose account it is, is decided by [`reception`]; what it proves, by [`ProviderSettings`]; and
//! whether it lets anybody in, by the one gate in [`crate::sign_in`].

mod domains;
pub mod google;
pub mod id_token;
mod identity;
mod oidc;
mod published;
pub mod reception;
mod saml;
mod settings;

pub use domains::{DOMAIN_GRACE, DOMAIN_RECORD, DomainProof, DomainStanding, OwnDomain};
pub use identity::{ExternalIdentity, IdentitySource};
pub use oidc::{ClientAuthentication, OidcEndpoints, OidcSettings, is_web_address};
pub use published::{PublishedPart, PublishedProblem};
pub use saml::{CERTIFICATE_WARNING, SamlCertificate, SamlSettings, ends_soon};
pub use settings::{AttributeNames, GroupRole, ProviderDetails, ProviderSettings};

use crate::words;

/// How a provider and we speak to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// OIDC (`OpenID Connect Core 1.0`).
    Oidc,
    /// SAML 2.0.
    Saml,
}

words!(Protocol { Oidc = "oidc", Saml = "saml" });
