//! Signing in a device that has no browser, by a code that its holder approves elsewhere (RFC 8628).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::random::Random;
use crate::secret::SecretDigest;

/// How long a code may be approved and the approval be fetched.
pub const LIFETIME: Duration = Duration::from_mins(10);

/// How long a device waits between two questions (RFC 8628 section 3.2).
pub const INTERVAL: Duration = Duration::from_secs(5);

/// What codes are made of: no vowels, so that no words arise, and nothing that looks like something else (RFC 8628
/// section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// How many letters a code has. 20^8 codes, ten minutes, and a bound on guesses leave no chance worth naming (RFC 8628
/// section 5.1).
const LENGTH: usize = 8;

/// The code that a person reads on the device and types where they are signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCode(String);

/// Not a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code has eight letters, such as WDJB-MJHT")]
pub struct NotACode;

impl UserCode {
    /// Draws a new one.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        // 20 does not divide 2^64; the first letters come more often by one part in 10^18.
        let letter = |_| LETTERS[usize::try_from(random.next_u64() % 20).unwrap_or_default()];
        Self((0..LENGTH).map(letter).map(char::from).collect())
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.0)
    }
}

/// In two halves, as it is read aloud.
impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.0.split_at(LENGTH / 2);
        write!(f, "{first}-{last}")
    }
}

/// As people type it: small letters, spaces and hyphens anywhere are forgiven.
impl FromStr for UserCode {
    type Err = NotACode;

    fn from_str(text: &str) -> Result<Self, NotACode> {
        let letters = text.chars().filter(|c| !matches!(c, '-' | ' '));
        let code: String = letters.map(|c| c.to_ascii_uppercase()).take(LENGTH + 1).collect();
        let is_code = code.len() == LENGTH && code.bytes().all(|byte| LETTERS.contains(&byte));
        if is_code { Ok(Self(code)) } else { Err(NotACode) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_back_however_it_is_typed_and_nothing_else_is() {
        let code = UserCode::draw(&mut Random::seeded(1));
        let shown = code.to_string();
        assert_eq!((shown.len(), shown.find('-')), (9, Some(4)), "{shown}");
        for typed in [
            shown.clone(),
            shown.to_lowercase(),
            shown.replace('-', ""),
            format!(" {} ", shown.replace('-', " ")),
        ] {
            assert_eq!(typed.parse(), Ok(code.clone()), "{typed}");
        }
        for wrong in ["", "WDJB", "WDJB-MJHA", "WDJB-MJH1", "WDJB-MJHTT", "WDJB-MJHẞ", "WDJB_MJHT"] {
            assert_eq!(wrong.parse::<UserCode>(), Err(NotACode), "{wrong}");
        }
        assert_ne!(UserCode::draw(&mut Random::seeded(2)), code);
    }
}
