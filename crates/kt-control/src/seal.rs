//! Secrets at rest: sealed under one key, bound to the place they are kept in.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

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
/// refused. Of several keys the newest seals, and all open, so that one can take the place of another while servers run.
#[derive(Clone)]
pub struct SealKey {
    /// The oldest first; at least one.
    keys: Arc<RwLock<Vec<OneKey>>>,
    reread: Option<Arc<Reread>>,
}

/// Reads the text of the keys again.
type Reread = dyn Fn() -> Option<String> + Send + Sync;

#[derive(Clone)]
struct OneKey {
    cipher: XChaCha20Poly1305,
    id: String,
}

/// The key that seals secrets cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "a sealing key is 32 bytes in base64 (43 characters), one on each line: let kt make one, or restore the one that was lost"
)]
pub struct SealKeyError;

impl SealKey {
    /// The keys whose text this is, the oldest on the first line.
    pub fn from_text(text: &str) -> Result<Self, SealKeyError> {
        Ok(Self { keys: Arc::new(RwLock::new(OneKey::all(text)?)), reread: None })
    }

    /// The same, which reads its text again when it meets a value of a key that it does not know: another process may have
    /// made one since.
    #[must_use]
    pub fn rereading(self, reread: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { reread: Some(Arc::new(reread)), ..self }
    }

    /// The text of a new key.
    #[must_use]
    pub fn new_text(random: &mut Random) -> String {
        STANDARD_NO_PAD.encode(random.bytes::<32>())
    }

    /// Seals `secret` for `place`, such as `jwt_keys/KID`.
    pub fn seal(&self, place: &str, secret: &[u8], random: &mut Random) -> Result<String, Error> {
        let newest = self.find(None).ok_or_else(|| Error::internal("there is no key that seals"))?;
        let nonce = random.bytes::<24>();
        let payload = Payload { msg: secret, aad: place.as_bytes() };
        let sealed = newest
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::internal("a secret could not be sealed"))?;
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        Ok(format!("{}.{}", newest.id, STANDARD_NO_PAD.encode(bytes)))
    }

    /// Opens what was sealed for `place`. Fails closed: there is no second way to read it.
    pub fn open(&self, place: &str, sealed: &str) -> Result<Vec<u8>, Error> {
        let refuse = |why: &str| Error::internal(format!("the secret at {place} cannot be opened: {why}"));
        let (id, text) = sealed.split_once('.').ok_or_else(|| refuse("it is not sealed"))?;
        let known = self.find(Some(id)).or_else(|| {
            self.read_again();
            self.find(Some(id))
        });
        let key = known.ok_or_else(|| refuse("it was sealed with another key; restore that key file"))?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| refuse("it is damaged"))?;
        let (nonce, text) = bytes.split_first_chunk::<24>().ok_or_else(|| refuse("it is damaged"))?;
        key.cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: place.as_bytes() })
            .map_err(|_| refuse("it was changed, or moved here from another place"))
    }

    /// Whether a value was sealed with the newest key.
    #[must_use]
    pub fn is_of_newest(&self, sealed: &str) -> bool {
        let id = sealed.split_once('.').map(|(id, _)| id);
        id.is_some() && id == self.find(None).as_ref().map(|key| key.id.as_str())
    }

    /// The key of this name, or the newest.
    fn find(&self, id: Option<&str>) -> Option<OneKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().rev().find(|key| id.is_none_or(|id| key.id == id)).cloned()
    }

    fn read_again(&self) {
        let text = self.reread.as_ref().and_then(|reread| reread());
        if let Some(Ok(keys)) = text.as_deref().map(OneKey::all) {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

impl OneKey {
    /// Every key of a text: at least one.
    fn all(text: &str) -> Result<Vec<Self>, SealKeyError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<_> = lines.map(Self::read).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(SealKeyError) } else { Ok(keys) }
    }

    fn read(text: &str) -> Result<Self, SealKeyError> {
        let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| SealKeyError)?;
        let key = <[u8; 32]>::try_from(bytes).map_err(|_| SealKeyError)?;
        let id = SecretDigest::of(&STANDARD_NO_PAD.encode(key)).to_string()[..8].to_owned();
        Ok(Self { cipher: XChaCha20Poly1305::new(&key.into()), id })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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
    fn the_newest_key_seals_and_every_one_opens() {
        let mut random = Random::seeded(2);
        let (old, new) = (SealKey::new_text(&mut random), SealKey::new_text(&mut random));
        let before = SealKey::from_text(&old).unwrap().seal("a", b"secret", &mut random).unwrap();
        let both = SealKey::from_text(&format!("{old}\n{new}\n")).unwrap();
        assert_eq!(both.open("a", &before).unwrap(), b"secret");
        let anew = both.seal("a", b"secret", &mut random).unwrap();
        assert!(both.is_of_newest(&anew) && !both.is_of_newest(&before) && !both.is_of_newest("secret"));
        assert_eq!(SealKey::from_text(&new).unwrap().open("a", &anew).unwrap(), b"secret");
        assert!(SealKey::from_text(&old).unwrap().open("a", &anew).is_err());
    }

    #[test]
    fn a_key_that_was_made_since_is_read_when_it_is_met() {
        let mut random = Random::seeded(3);
        let (old, new) = (SealKey::new_text(&mut random), SealKey::new_text(&mut random));
        let file = Arc::new(Mutex::new(old.clone()));
        let read = Arc::clone(&file);
        let running = SealKey::from_text(&old).unwrap().rereading(move || Some(read.lock().unwrap().clone()));
        let both = format!("{old}\n{new}");
        let anew = SealKey::from_text(&both).unwrap().seal("a", b"secret", &mut random).unwrap();
        assert!(running.open("a", &anew).is_err(), "it is not there yet");
        *file.lock().unwrap() = "damaged".to_owned();
        assert!(running.open("a", &anew).is_err());
        assert!(running.seal("a", b"secret", &mut random).is_ok(), "what it knew it knows still");
        *file.lock().unwrap() = both;
        assert_eq!(running.open("a", &anew).unwrap(), b"secret");
        assert!(running.is_of_newest(&running.seal("a", b"secret", &mut random).unwrap()));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let good = STANDARD_NO_PAD.encode([0; 32]);
        for text in [
            "",
            "\n",
            "c2hvcnQ",
            &STANDARD_NO_PAD.encode([0; 31]),
            &STANDARD_NO_PAD.encode([0; 33]),
            &format!("{good}\nx"),
        ] {
            assert!(SealKey::from_text(text).is_err(), "{text}");
        }
        assert!(SealKey::from_text(&good).is_ok());
    }
}
