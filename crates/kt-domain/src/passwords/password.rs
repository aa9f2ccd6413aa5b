//! A password as somebody typed it, in the one form in which it is checked, hashed and compared.

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_public_assigned;

/// No policy may allow fewer characters: NIST SP 800-63B-4 section 3.1.1.2.
pub const MIN_CHARACTERS: u32 = 8;

/// More characters are refused, never cut: ASVS 6.2.8. At least 64 have to be accepted: ASVS 6.2.9.
pub const MAX_CHARACTERS: usize = 256;

/// More bytes are refused: 256 characters of four bytes each fit.
pub const MAX_BYTES: usize = 4 * MAX_CHARACTERS;

/// A password in Unicode normalization form KC, so that it is the same from every keyboard, and otherwise exactly as it
/// was typed: not trimmed, not cut, capitals kept. At most [`MAX_CHARACTERS`] long, so that whatever reads it takes
/// bounded time.
///
/// A character is a Unicode code point: an é counts as one, and so does a plain emoji.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// The password that was typed. It is bounded in length and nothing else is known of it; whether it may be chosen
    /// is for [`check`](super::check()) to say.
    pub fn new(typed: &str) -> Result<Self, TooLong> {
        // Normalization can make a character eighteen times as long, so both sides of it are bounded.
        bound(typed)?;
        let normalized: String = typed.nfkc().collect();
        bound(&normalized)?;
        Ok(Self(normalized.into()))
    }

    /// The text, for what hashes or examines it. It must not be kept or shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Characters that Unicode has not defined yet. A later version may normalize them in another way, and their holder
    /// could not sign in any more: UAX 15 section 12.1, which NIST SP 800-63B-4 section 3.1.1.2 refers to.
    pub(super) fn has_unassigned_characters(&self) -> bool {
        self.expose().chars().any(|c| !is_public_assigned(c) && !is_for_private_use(c))
    }
}

/// A password is longer than is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password is too long: use at most {MAX_CHARACTERS} characters ({MAX_BYTES} bytes)")]
pub struct TooLong;

fn bound(text: &str) -> Result<(), TooLong> {
    if text.len() > MAX_BYTES || text.chars().count() > MAX_CHARACTERS { Err(TooLong) } else { Ok(()) }
}

/// Nothing will ever be defined for these, so nothing will change for them.
fn is_for_private_use(c: char) -> bool {
    matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{FFFFD}' | '\u{100000}'..='\u{10FFFD}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_text_are_one_password_and_nothing_else_is_changed() {
        let normalized = [
            ("caf\u{e9}", "cafe\u{301}"),
            ("\u{212b}ngstr\u{f6}m", "A\u{30a}ngstro\u{308}m"),
            ("１２３ａ", "123a"),
            ("ﬁne", "fine"),
        ];
        for (one, other) in normalized {
            assert_eq!(Password::new(one).unwrap().expose(), Password::new(other).unwrap().expose(), "{one}");
        }
        for kept in ["  two spaces  ", "Case", "case", "tab\tand\nline", "\u{1F600}\u{1F44D}", "nul\0", ""] {
            assert_eq!(Password::new(kept).unwrap().expose(), kept);
        }
    }

    #[test]
    fn a_password_is_whole_or_refused() {
        let accepted = ["x".repeat(64), "x".repeat(256), "\u{1F600}".repeat(256)];
        for text in accepted {
            assert_eq!(Password::new(&text).unwrap().expose(), text);
        }
        // The last grows to 18 characters each when it is normalized.
        let refused =
            ["x".repeat(257), "\u{1F600}".repeat(257), "x".repeat(1_000_000), "\u{FDFA}".repeat(15)];
        for text in refused {
            assert_eq!(Password::new(&text).unwrap_err(), TooLong);
        }
        assert_eq!(Password::new(&"\u{FDFA}".repeat(14)).unwrap().expose().chars().count(), 14 * 18);
    }

    #[test]
    fn nothing_shows_a_password_by_accident() {
        let password = Password::new("hunter2").unwrap();
        assert!(!format!("{password:?}").contains("hunter2"));
    }

    #[test]
    fn only_characters_that_may_still_change_are_found() {
        for (text, found) in
            [("\u{0378}", true), ("\u{FFFFF}", true), ("\u{E000}", false), ("\u{1F600}é\n", false)]
        {
            assert_eq!(Password::new(text).unwrap().has_unassigned_characters(), found, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn normalizing_again_changes_nothing(typed in any::<String>()) {
            if let Ok(password) = Password::new(&typed) {
                let again = Password::new(password.expose()).unwrap();
                prop_assert_eq!(again.expose(), password.expose());
            }
        }
    }
}
