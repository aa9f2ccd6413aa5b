//! A SAML 2.0 service provider (OASIS SAML 2.0 core, bindings, profiles and metadata): what is said to identity providers,
//! and what of their answers is believed.
//!
//! There is no input or output here and no clock: a message comes in with the moment it came at, and leaves as what it
//! proves or as a [`Refusal`]. Who may sign in is decided elsewhere.
//!
//! SAML libraries have failed in one way again and again: the tree whose signature was checked was not the tree that was
//! read. So a message is parsed once, in a profile narrow enough to have no odd corners ([`xml`]); a signature is checked
//! over an element of that tree ([`signature`]); and what is read is read from that element ([`response`], [`logout`]).
//! Keys come from what was configured ([`IdentityProvider`]), never from a message.

mod certificate;
mod logout;
mod metadata;
mod name;
mod redirect;
mod refusal;
mod request;
mod response;
mod service_provider;
mod signature;
mod signing_key;
mod xml;

pub use certificate::{Certificate, CertificateError};
pub use logout::{
    LogoutExpected, VerifiedLogout, logout_answer, verify_posted_logout, verify_redirected_logout,
};
pub use metadata::{IdentityProvider, MetadataError};
pub use redirect::RedirectedMessage;
pub use refusal::Refusal;
pub use request::AuthnRequest;
pub use response::{
    Attribute, Expected, NameId, RefusedAt, Stage, VerifiedAssertion, unverified_response, verify_in_stages,
    verify_response,
};
pub use service_provider::ServiceProvider;
pub use signing_key::{SigningKey, SigningKeyError};
