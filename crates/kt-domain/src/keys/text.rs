//! How a key is written: `kt_ak_`, `kt_gk_` or `kt_sk_`, 32 random bytes and a checksum, both in base62.
//!
//! The checksum lets a scanner of leaked secrets tell a key from what only looks like one, without asking anybody, and
//! lets the API refuse most of what was never a key without asking its database. It guards nothing.

use secrecy::{ExposeSecret, SecretString};

use crate::actor::KeyKind;
use crate::random::Random;
use crate::secret::SecretDigest;

/// Digits, capitals, small letters: the order that scanners for GitHub's tokens know.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The characters that 256 bits take.
const SECRET_LENGTH: usize = 43;

/// The characters that 32 bits take.
const CHECKSUM_LENGTH: usize = 6;

/// How many of its first characters are kept and shown, so that people can tell their keys apart.
pub const PREFIX_SHOWN: usize = 10;

/// How every key begins, of whatever kind.
pub const MARKER: &str = "kt_";

/// A new key. It is shown to its maker and never stored.
pub struct KeyText(SecretString);

impl KeyText {
    /// Draws a new one.
    #[must_use]
    pub fn generate(kind: KeyKind, random: &mut Random) -> Self {
        let mut text = marker(kind).to_owned();
        text.push_str(&base62(random.bytes::<32>(), SECRET_LENGTH));
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self(text.into())
    }

    /// The whole key, for its maker.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(self.expose())
    }

    /// Its first characters: enough to tell it from others, nothing to guess the rest from.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.expose()[..PREFIX_SHOWN]
    }
}

/// The kind of key that `text` is; `None` when it is none: another marker, length or alphabet, or the checksum is wrong.
#[must_use]
pub fn recognise(text: &str) -> Option<KeyKind> {
    let kind = KeyKind::ALL.iter().copied().find(|kind| text.starts_with(marker(*kind)))?;
    let is_base62 = text[marker(kind).len()..].bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_base62 || text.len() != marker(kind).len() + SECRET_LENGTH + CHECKSUM_LENGTH {
        return None;
    }
    let (checked, sum) = text.split_at(text.len() - CHECKSUM_LENGTH);
    (checksum(checked) == sum).then_some(kind)
}

/// How clients of other systems name a key in a query string.
const KEY_PARAMETERS: [&str; 4] = ["access_token", "api_key", "apikey", "key"];

/// Whether a query string holds a key, good or not: addresses are written into logs and histories (OWASP ASVS 5.0,
/// 14.2.1).
#[must_use]
pub fn stands_in_query(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, value)| {
        KEY_PARAMETERS.iter().any(|key| name.eq_ignore_ascii_case(key)) || recognise(&value).is_some()
    })
}

fn marker(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Access => "kt_ak_",
        KeyKind::Gateway => "kt_gk_",
        KeyKind::Scim => "kt_sk_",
    }
}

/// The CRC-32 (ISO 3309) of everything before it.
fn checksum(text: &str) -> String {
    base62(crc32fast::hash(text.as_bytes()).to_be_bytes(), CHECKSUM_LENGTH)
}

/// The number that `bytes` are, most significant byte first, in `length` digits to the base 62.
fn base62<const N: usize>(mut bytes: [u8; N], length: usize) -> String {
    let mut digits = vec![0_u8; length];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u16;
        for byte in &mut bytes {
            let number = remainder << 8 | u16::from(*byte);
            // The remainder before was below 62, so that the quotient fits a byte.
            [*byte, _] = (number / 62).to_le_bytes();
            remainder = number % 62;
        }
        *digit = BASE62[usize::from(remainder)];
    }
    digits.into_iter().map(char::from).collect()
}
