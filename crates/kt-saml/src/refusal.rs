//! Why a message proves nothing.

use jiff::Timestamp;
use thiserror::Error;

use crate::xml::XmlError;

/// Why a message was refused. The sentence is for the administrator who sets the provider up: it goes to the audit log and
/// to the page that tests the connection, never to whoever brought the message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is not what a message looks like.
    #[error("the message cannot be read: {0}")]
    Unreadable(&'static str),
    /// Its text is no XML of the narrow kind that is read here.
    #[error("the message cannot be read: {0}")]
    Xml(#[from] XmlError),
    /// It is not built as the standard says.
    #[error("the message is not built as SAML 2.0 says: {0}")]
    Structure(&'static str),
    /// The assertion is encrypted.
    #[error(
        "the assertion is encrypted; turn encryption of assertions off at the identity provider: they travel under TLS"
    )]
    Encrypted,
    /// Nothing in it is signed.
    #[error("neither the response nor the assertion is signed; let the identity provider sign one of them")]
    Unsigned,
    /// A signature does not have the one form that is accepted.
    #[error("the signature does not have the form that is accepted: {0}")]
    SignatureForm(&'static str),
    /// An algorithm is not accepted.
    #[error(
        "the signature uses {0}, which is not accepted; let the identity provider sign with RSA or ECDSA and SHA-256 or better"
    )]
    Algorithm(String),
    /// What is signed was changed.
    #[error("the signed part was changed after it was signed: its digest does not match")]
    Digest,
    /// No configured certificate has made this signature.
    #[error(
        "no configured certificate fits the signature; compare the certificates here with those of the identity provider"
    )]
    UnknownKey,
    /// The provider says that it did not work.
    #[error("the identity provider reports a failure: {0}")]
    Status(String),
    /// It comes from somebody else.
    #[error("the issuer is {found}, but {expected} is configured")]
    Issuer {
        /// The provider that is configured.
        expected: String,
        /// Who it says it is.
        found: String,
    },
    /// It is for another address.
    #[error("it is addressed to {found}; the address of this service is {expected}")]
    Addressee {
        /// Where it came in.
        expected: String,
        /// Where it was to go.
        found: String,
    },
    /// It is for another service.
    #[error("it is meant for the service {found}; the name of this service is {expected}")]
    Audience {
        /// The name of this service.
        expected: String,
        /// Whom it names.
        found: String,
    },
    /// Nobody here asked for it.
    #[error("it answers no request of this service; sign in beginning here, not at the identity provider")]
    Unsolicited,
    /// It answers another request than the browser that brought it made.
    #[error("it answers another request than the one this browser made")]
    OtherRequest,
    /// It is not valid yet.
    #[error("it is not valid before {0}; compare the clocks of this machine and of the identity provider")]
    TooEarly(Timestamp),
    /// It is not valid any more.
    #[error("it was valid until {0}; compare the clocks of this machine and of the identity provider")]
    TooLate(Timestamp),
    /// The person did not prove who they are since they were asked to.
    #[error("the identity provider did not ask the person again, though it was told to (ForceAuthn)")]
    NotAuthenticatedAgain,
}
