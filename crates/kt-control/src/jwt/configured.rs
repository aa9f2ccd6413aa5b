//! Signing keys that the deployment keeps itself, in files that its configuration names, instead of in the database.

use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{DecodingKey, EncodingKey};
use kt_domain::error::Error;
use kt_domain::events::PublicKey;
use kt_domain::keys::PassKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::Keys;

/// How the public half of every Ed25519 key begins in DER (RFC 8410 section 4).
const ED25519_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key that the deployment keeps.
pub struct ConfiguredJwtKey {
    kid: String,
    public: [u8; 32],
    /// There for the one that signs alone.
    signing: Option<EncodingKey>,
}

/// A file holds no key that access tokens can be signed or verified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtKeyError {
    /// No private key of the one algorithm.
    #[error("it holds no Ed25519 private key in PEM: `openssl genpkey -algorithm ed25519` makes one")]
    Private,
    /// No public key of the one algorithm.
    #[error("it holds no Ed25519 public key in PEM: `openssl pkey -in PRIVATE -pubout` prints one")]
    Public,
}

impl ConfiguredJwtKey {
    /// The key whose private half this is, in PEM (PKCS #8), and which signs or only verifies.
    pub fn from_private_pem(kid: &str, pem: &str, signs: bool) -> Result<Self, JwtKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| JwtKeyError::Private)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| JwtKeyError::Private)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| JwtKeyError::Private)?;
        // Files come with and without the public half; what signs takes the latter alone.
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| JwtKeyError::Private)?;
        let signing = signs.then(|| EncodingKey::from_ed_der(pkcs8.as_ref()));
        Ok(Self { kid: kid.to_owned(), public, signing })
    }

    /// The key whose public half this is, in PEM. It verifies.
    pub fn from_public_pem(kid: &str, pem: &str) -> Result<Self, JwtKeyError> {
        let info =
            SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| JwtKeyError::Public)?;
        let bytes = info.strip_prefix(&ED25519_INFO[..]).ok_or(JwtKeyError::Public)?;
        let public = bytes.try_into().map_err(|_| JwtKeyError::Public)?;
        Ok(Self { kid: kid.to_owned(), public, signing: None })
    }

    /// By what a gateway knows what it has signed.
    pub(super) fn pass_key(&self) -> PassKey {
        PassKey { kid: self.kid.clone(), key: PublicKey(self.public) }
    }
}

/// All of them, ready for use.
pub(super) fn in_use(configured: &[ConfiguredJwtKey]) -> Result<Keys, Error> {
    let mut keys = Keys { signing: Vec::new(), verifying: HashMap::new() };
    for key in configured {
        if let Some(signing) = &key.signing {
            keys.signing.push((Timestamp::MIN, key.kid.clone(), signing.clone()));
        }
        let x = URL_SAFE_NO_PAD.encode(key.public);
        let decoding = DecodingKey::from_ed_components(&x).map_err(Error::internal)?;
        keys.verifying.insert(key.kid.clone(), (decoding, x));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=\n-----END PUBLIC KEY-----\n";

    const P256: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEIE/oSBfyq/Gmw3B5uHBVC+f4W1wL\n\
        wFRTZ3DZmlGdEEj62Tgv6pVa3FlnHxMUlrSNk+n7ZW7KJuNiNflklPbZPQ==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn both_halves_of_a_key_verify_and_the_private_one_signs_where_it_is_told_to() {
        let signing = ConfiguredJwtKey::from_private_pem("k", PRIVATE, true).unwrap();
        let resting = ConfiguredJwtKey::from_private_pem("k", PRIVATE, false).unwrap();
        let public = ConfiguredJwtKey::from_public_pem("k", PUBLIC).unwrap();
        assert_eq!((signing.public, resting.public), (public.public, public.public));
        let signs = [&signing, &resting, &public].map(|key| key.signing.is_some());
        assert_eq!(signs, [true, false, false]);
    }

    #[test]
    fn what_is_no_key_of_the_one_algorithm_is_refused() {
        for pem in ["", "no key", PRIVATE, P256, &PUBLIC[..60]] {
            assert_eq!(ConfiguredJwtKey::from_public_pem("k", pem).err(), Some(JwtKeyError::Public), "{pem}");
        }
        for pem in ["", "no key", PUBLIC, &PRIVATE[..60]] {
            let made = ConfiguredJwtKey::from_private_pem("k", pem, true);
            assert_eq!(made.err(), Some(JwtKeyError::Private), "{pem}");
        }
    }
}
