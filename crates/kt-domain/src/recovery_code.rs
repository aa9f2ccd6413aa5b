//! The codes that let somebody in who has lost their second factor: each works once (R100–R102).

use std::fmt;
use std::str::FromStr;

use crate::id::UserId;
use crate::random::Random;
use crate::secret::SecretDigest;

/// How many somebody is given at a time.
pub const SET: usize = 10;

/// Crockford's base 32: digits and letters without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// How many characters a code has: 120 random bits. From 112 on a digest needs no slow hash (OWASP ASVS 5.0, 6.5.2), so
/// that a code is looked up and used up by one statement.
const LENGTH: usize = 24;

/// How many stand together when it is shown.
const GROUP: usize = 4;

/// A recovery code. It is shown to its holder once and never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCode(String);

/// Not a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a recovery code has six groups of four characters")]
pub struct NotARecoveryCode;

impl RecoveryCode {
    /// Draws a new one.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let sign = |byte: u8| char::from(ALPHABET[usize::from(byte % 32)]);
        Self(random.bytes::<LENGTH>().into_iter().map(sign).collect())
    }

    /// What is stored of it: bound to its holder, so that nobody else's account opens by it.
    #[must_use]
    pub fn digest(&self, holder: &UserId) -> SecretDigest {
        SecretDigest::of(&format!("{holder}/{}", self.0))
    }
}

/// In groups, as it is written down.
impl fmt::Display for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, sign) in self.0.chars().enumerate() {
            if place > 0 && place % GROUP == 0 {
                f.write_str("-")?;
            }
            write!(f, "{sign}")?;
        }
        Ok(())
    }
}

/// As people type it: small letters, spaces and hyphens are forgiven, and what Crockford's alphabet leaves out for
/// looking like something else is taken for that.
impl FromStr for RecoveryCode {
    type Err = NotARecoveryCode;

    fn from_str(text: &str) -> Result<Self, NotARecoveryCode> {
        let signs = text.chars().filter(|sign| *sign != '-' && !sign.is_whitespace()).take(LENGTH + 1);
        let code: String = signs
            .map(|sign| match sign.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                sign => sign,
            })
            .collect();
        let is_code = code.len() == LENGTH && code.bytes().all(|byte| ALPHABET.contains(&byte));
        if is_code { Ok(Self(code)) } else { Err(NotARecoveryCode) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_back_however_it_is_typed_and_nothing_else_is() {
        let code = RecoveryCode::draw(&mut Random::seeded(1));
        let shown = code.to_string();
        assert_eq!((shown.len(), shown.split('-').count()), (29, 6), "{shown}");
        let typed = [
            shown.clone(),
            shown.to_lowercase(),
            shown.replace('-', ""),
            format!(" {}\n", shown.replace('-', " ")),
            shown.replace('0', "o").replace('1', "l"),
        ];
        for typed in typed {
            assert!(typed.parse() == Ok(code.clone()), "{typed}");
        }
        for wrong in
            ["", "ABCD", &shown[1..], &format!("{shown}0"), &shown.replace('-', "_"), &"U".repeat(24)]
        {
            assert!(wrong.parse::<RecoveryCode>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_code_never_comes_twice_and_is_good_for_one_person() {
        let mut random = Random::seeded(1);
        let codes: std::collections::HashSet<String> =
            (0..1000).map(|_| RecoveryCode::draw(&mut random).to_string()).collect();
        assert_eq!(codes.len(), 1000);
        let now = "2026-03-15T14:22:31Z".parse().unwrap();
        let (one, other) = (UserId::new(now, &mut random), UserId::new(now, &mut random));
        let code = RecoveryCode::draw(&mut random);
        assert_ne!(code.digest(&one), code.digest(&other));
    }
}
