//! The key that signs what this service says, where an identity provider wants that.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use jiff::Timestamp;
use jiff::tz::Offset;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use thiserror::Error;

use crate::certificate::Certificate;

/// How long the certificate of a key is valid. Providers compare it, or its key, with what they were given; what it says of
/// its end is for those that insist on one.
const VALID_YEARS: i32 = 10;

/// A key, and the certificate that providers know it by.
pub struct SigningKey {
    pkcs8: Vec<u8>,
    key: RsaKeyPair,
    certificate: Certificate,
}

/// There is no such key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the key that signs requests cannot be made or read")]
pub struct SigningKeyError;

impl SigningKey {
    /// How it signs.
    pub(crate) const ALGORITHM: &'static str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

    /// Makes one: RSA, since many providers know nothing else, of 3072 bits (NIST SP 800-57 part 1, beyond 2030).
    pub fn generate(common_name: &str, now: Timestamp) -> Result<Self, SigningKeyError> {
        let key =
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072).map_err(|_| SigningKeyError)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let year = i32::from(Offset::UTC.to_datetime(now).year());
        params.not_before = date_time_ymd(year, 1, 1);
        params.not_after = date_time_ymd(year + VALID_YEARS, 12, 31);
        let certificate = params.self_signed(&key).map_err(|_| SigningKeyError)?;
        Self::from_parts(key.serialize_der(), certificate.der().to_vec())
    }

    /// One that was kept.
    pub fn from_parts(pkcs8: Vec<u8>, certificate: Vec<u8>) -> Result<Self, SigningKeyError> {
        let key = RsaKeyPair::from_pkcs8(&pkcs8).map_err(|_| SigningKeyError)?;
        let certificate = Certificate::from_der(certificate).map_err(|_| SigningKeyError)?;
        Ok(Self { pkcs8, key, certificate })
    }

    /// The private key, to be kept sealed.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// What providers know it by.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        match self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature) {
            Ok(()) => signature,
            // No signature at all is refused by whoever reads it.
            Err(_) => Vec::new(),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.certificate)
    }
}
