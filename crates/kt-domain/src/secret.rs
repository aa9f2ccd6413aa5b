//! Secrets that are handed out once and kept as digests only: session cookies, links in e-mails, flow and refresh
//! tokens.
//!
//! 256 random bits need no slow hash (OWASP ASVS 5.0, 6.5.2 and 11.4.1): a digest of them cannot be searched.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::events::{InvalidHex, unhex};
use crate::random::Random;

/// A bearer secret of 256 random bits. It is shown to its holder and never stored.
pub struct Token(SecretString);

impl Token {
    /// Draws a new one.
    #[must_use]
    pub fn generate(random: &mut Random) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random.bytes::<32>()).into())
    }

    /// The text that its holder gets: 43 characters of base64url (RFC 4648 section 5).
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(self.expose())
    }
}

/// What is stored of a secret: its SHA-256. Looking one up by its digest takes the same time for every wrong secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of `secret`, whatever text or bytes it is.
    #[must_use]
    pub fn of(secret: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SecretDigest> for String {
    fn from(digest: SecretDigest) -> Self {
        digest.to_string()
    }
}

impl FromStr for SecretDigest {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        unhex(text.as_bytes()).map(Self).ok_or(InvalidHex)
    }
}

impl TryFrom<String> for SecretDigest {
    type Error = InvalidHex;

    fn try_from(text: String) -> Result<Self, InvalidHex> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_43_characters_and_only_its_digest_is_comparable() {
        let mut random = Random::seeded(1);
        let (one, other) = (Token::generate(&mut random), Token::generate(&mut random));
        assert_eq!(one.expose().len(), 43);
        assert_ne!(one.digest(), other.digest());
        assert_eq!(one.digest(), SecretDigest::of(one.expose()));
        assert_ne!(SecretDigest::of(&one.expose()[..42]), one.digest(), "a truncated token is another one");
    }

    #[test]
    fn a_digest_is_the_sha_256_of_its_text() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(SecretDigest::of("abc").to_string(), expected, "FIPS 180-2 appendix B.1");
    }
}
