//! Secrets at rest: sealed under one key, bound to the place they are kept in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use kt_domain::error::Error;
use kt_domain::random::Random;
use kt_domain::secret::SecretDigest;

/// Seals and opens secrets with XChaCha20-Poly1305, whose 192-bit nonces may be drawn at random.
///
/// A sealed value names its key, and opens only in the place that it was sealed for: moved to another row it is
/// refused.
#[derive(Clone)]
pub struct SealKey {
    cipher: XChaCha20Poly1305,
    id: String,
}

/// The key that seals secrets cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "a sealing key is 32 bytes in base64 (43 characters): let kt make one, or restore the one that was lost"
)]
pub struct SealKeyError;

impl SealKey {
    /// The key whose text this is.
    pub fn from_text(text: &str) -> Result<Self, SealKeyError> {
        let bytes = STANDARD_NO_PAD.decode(text.trim().trim_end_matches('=')).map_err(|_| SealKeyError)?;
        let key = <[u8; 32]>::try_from(bytes).map_err(|_| SealKeyError)?;
        Ok(Self::from_bytes(key))
    }

    /// The text of a new key.
    #[must_use]
    pub fn new_text(random: &mut Random) -> String {
        STANDARD_NO_PAD.encode(random.bytes::<32>())
    }

    fn from_bytes(key: [u8; 32]) -> Self {
        let id = SecretDigest::of(&STANDARD_NO_PAD.encode(key)).to_string()[..8].to_owned();
        Self { cipher: XChaCha20Poly1305::new(&key.into()), id }
    }

    /// Seals `secret` for `place`, such as `jwt_keys/KID`.
    pub fn seal(&self, place: &str, secret: &[u8], random: &mut Random) -> Result<String, Error> {
        let nonce = random.bytes::<24>();
        let payload = Payload { msg: secret, aad: place.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::internal("a secret could not be sealed"))?;
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        Ok(format!("{}.{}", self.id, STANDARD_NO_PAD.encode(bytes)))
    }

    /// Opens what was sealed for `place`. Fails closed: there is no second way to read it.
    pub fn open(&self, place: &str, sealed: &str) -> Result<Vec<u8>, Error> {
        let refuse = |why: &str| Error::internal(format!("the secret at {place} cannot be opened: {why}"));
        let (id, text) = sealed.split_once('.').ok_or_else(|| refuse("it is not sealed"))?;
        if id != self.id {
            return Err(refuse("it was sealed with another key; restore that key file"));
        }
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| refuse("it is damaged"))?;
        let (nonce, text) = bytes.split_first_chunk::<24>().ok_or_else(|| refuse("it is damaged"))?;
        self.cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: place.as_bytes() })
            .map_err(|_| refuse("it was changed, or moved here from another place"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_in_its_place_with_its_key_and_nowhere_else() {
        let mut random = Random::seeded(1);
        let key = SealKey::from_text(&SealKey::new_text(&mut random)).unwrap();
        let sealed = key.seal("jwt_keys/a", b"secret", &mut random).unwrap();
        assert_eq!(key.open("jwt_keys/a", &sealed).unwrap(), b"secret");
        assert_ne!(key.seal("jwt_keys/a", b"secret", &mut random).unwrap(), sealed, "never the same twice");
        let other = SealKey::from_text(&SealKey::new_text(&mut random)).unwrap();
        let mut changed = sealed.clone().into_bytes();
        changed[40] ^= 1;
        let changed = String::from_utf8(changed).unwrap();
        assert!(key.open("jwt_keys/b", &sealed).is_err(), "another place");
        assert!(other.open("jwt_keys/a", &sealed).is_err(), "another key");
        assert!(key.open("jwt_keys/a", &changed).is_err(), "changed");
        assert!(key.open("jwt_keys/a", "secret").is_err(), "not sealed at all");
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for text in ["", "c2hvcnQ", &STANDARD_NO_PAD.encode([0; 31]), &STANDARD_NO_PAD.encode([0; 33])] {
            assert!(SealKey::from_text(text).is_err(), "{text}");
        }
    }
}
