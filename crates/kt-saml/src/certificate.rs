//! The certificate of an identity provider: a key that is trusted because it was configured.
//!
//! Its issuer is not asked about (SAML metadata interoperability profile, section 2.6.1): the one who configured it vouches.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// The largest certificate, in its DER form.
const LIMIT: usize = 16 * 1024;

/// What is around a certificate in PEM form (RFC 7468).
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A certificate with a key that can sign what is accepted here.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    kind: KeyKind,
    key: Vec<u8>,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    P521,
}

/// How something is signed. There is no other way: neither SHA-1 nor a shared secret has a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    RsaSha256,
    RsaSha384,
    RsaSha512,
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
}

/// Why a text is no certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// It is neither PEM nor the Base64 text of a certificate.
    #[error("this is no certificate: paste one in PEM form, beginning with -----BEGIN CERTIFICATE-----")]
    NotACertificate,
    /// Its key is of another kind or too weak.
    #[error("the key of the certificate must be RSA of 2048 to 8192 bits, or ECDSA on P-256, P-384 or P-521")]
    Key,
}

impl Certificate {
    /// Reads a certificate in PEM form, or its Base64 text alone as it stands in metadata.
    pub fn from_text(text: &str) -> Result<Self, CertificateError> {
        let base64 = match text.split_once(BEGIN) {
            Some((_, rest)) => rest.split_once(END).ok_or(CertificateError::NotACertificate)?.0,
            None => text,
        };
        let compact: String = base64.split_ascii_whitespace().collect();
        let der = STANDARD.decode(compact).map_err(|_| CertificateError::NotACertificate)?;
        Self::from_der(der)
    }

    /// Reads certificates in PEM form, one after the other, or the Base64 text of one.
    pub fn all_in(text: &str) -> Result<Vec<Self>, CertificateError> {
        match text.split_once(BEGIN) {
            Some((_, first)) => {
                first.split(BEGIN).map(|rest| Self::from_text(&format!("{BEGIN}{rest}"))).collect()
            }
            None => Self::from_text(text).map(|one| vec![one]),
        }
    }

    /// Reads a certificate in its binary form.
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        if der.len() > LIMIT {
            return Err(CertificateError::NotACertificate);
        }
        let (rest, certificate) =
            X509Certificate::from_der(&der).map_err(|_| CertificateError::NotACertificate)?;
        if !rest.is_empty() {
            return Err(CertificateError::NotACertificate);
        }
        let moment = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| CertificateError::NotACertificate)
        };
        let (not_before, not_after) =
            (moment(certificate.validity.not_before)?, moment(certificate.validity.not_after)?);
        let kind = kind_of(certificate.public_key()).ok_or(CertificateError::Key)?;
        let key = certificate.public_key().subject_public_key.data.to_vec();
        // Weak and broken keys show here, when one is configured, and not when somebody wants to sign in.
        ParsedPublicKey::new(kind.fitting(), &key).map_err(|_| CertificateError::Key)?;
        if kind == KeyKind::Rsa && !(2048..=8192).contains(&rsa_bits(certificate.public_key())) {
            return Err(CertificateError::Key);
        }
        Ok(Self { der, kind, key, not_before, not_after })
    }

    /// Its Base64 text, as it is kept and as it stands in metadata.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// The SHA-256 fingerprint as providers show it: hexadecimal pairs with colons.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let pairs: Vec<String> =
            digest(&SHA256, &self.der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// Whether its key made `signature` over `message` in this way.
    pub(crate) fn verifies(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        algorithm.with(self.kind).is_some_and(|algorithm| {
            UnparsedPublicKey::new(algorithm, &self.key).verify(message, signature).is_ok()
        })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint())
    }
}

/// By the names of RFC 3279 section 2.3.1 and RFC 5480 section 2.1.1.
fn kind_of(key: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
    match key.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => Some(KeyKind::Rsa),
        "1.2.840.10045.2.1" => {
            match key.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string().as_str() {
                "1.2.840.10045.3.1.7" => Some(KeyKind::P256),
                "1.3.132.0.34" => Some(KeyKind::P384),
                "1.3.132.0.35" => Some(KeyKind::P521),
                _ => None,
            }
        }
        _ => None,
    }
}

fn rsa_bits(key: &SubjectPublicKeyInfo<'_>) -> usize {
    key.parsed().map_or(0, |key| key.key_size())
}

impl KeyKind {
    fn fitting(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rsa => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

impl SignatureAlgorithm {
    /// The one of this name (RFC 6931 sections 2.3.2 to 2.3.6).
    pub(crate) fn named(uri: &str) -> Option<Self> {
        match uri {
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256" => Some(Self::RsaSha256),
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384" => Some(Self::RsaSha384),
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512" => Some(Self::RsaSha512),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256" => Some(Self::EcdsaSha256),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384" => Some(Self::EcdsaSha384),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512" => Some(Self::EcdsaSha512),
            _ => None,
        }
    }

    /// How a key of this kind is used for it, if it can be.
    fn with(self, kind: KeyKind) -> Option<&'static dyn VerificationAlgorithm> {
        match (self, kind) {
            (Self::RsaSha256, KeyKind::Rsa) => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            (Self::RsaSha384, KeyKind::Rsa) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            (Self::RsaSha512, KeyKind::Rsa) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            (Self::EcdsaSha256, KeyKind::P256) => Some(&signature::ECDSA_P256_SHA256_FIXED),
            (Self::EcdsaSha384, KeyKind::P384) => Some(&signature::ECDSA_P384_SHA384_FIXED),
            (Self::EcdsaSha512, KeyKind::P521) => Some(&signature::ECDSA_P521_SHA512_FIXED),
            _ => None,
        }
    }
}
