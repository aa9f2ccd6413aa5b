//! Whether a password may be chosen.

use super::blocklist;
use super::context::Context;
use super::password::{MIN_CHARACTERS, Password, TooLong};
use super::policy::PasswordPolicy;
use super::strength::{STRONG_ENOUGH, strength};

/// Why a password may not be chosen. Its text tells the person what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It has fewer characters than the policy asks for.
    #[error("use at least {least} characters: this has {actual}")]
    TooShort {
        /// The fewest that are accepted.
        least: u32,
        /// How many it has.
        actual: usize,
    },
    /// It is longer than is accepted.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The policy asks for an upper-case letter and it has none.
    #[error("add an upper-case letter")]
    NeedsUppercase,
    /// The policy asks for a digit and it has none.
    #[error("add a digit")]
    NeedsNumber,
    /// The policy asks for another sign and it has none.
    #[error("add a character that is neither a letter nor a digit, such as a space or `-`")]
    NeedsSpecial,
    /// It has a character whose meaning may still change.
    #[error("leave out the character that Unicode has not defined yet")]
    UnassignedCharacter,
    /// It is on the list of common passwords.
    #[error("choose another: this is one of the passwords that are tried first")]
    Common,
    /// It contains something that belongs to the account, the organization or the product.
    #[error("leave out {}: it belongs to you, your organization or this product", quoted(.words))]
    Personal {
        /// The words.
        words: Vec<String>,
    },
    /// It would be guessed too soon.
    #[error("make it harder to guess, for example with another unusual word{}", sentences(.advice))]
    Weak {
        /// What makes it weak and what would help.
        advice: Vec<String>,
    },
    /// It is one of the last passwords of the account. Only whoever keeps those can tell, so [`check`] never does.
    #[error("choose one that is none of your last {history}")]
    Reused {
        /// How many are remembered.
        history: u32,
    },
}

impl Violation {
    /// The name of the broken rule, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "password_too_short",
            Self::TooLong(_) => "password_too_long",
            Self::NeedsUppercase => "password_needs_uppercase",
            Self::NeedsNumber => "password_needs_number",
            Self::NeedsSpecial => "password_needs_special",
            Self::UnassignedCharacter => "password_unassigned_character",
            Self::Common => "password_common",
            Self::Personal { .. } => "password_personal",
            Self::Weak { .. } => "password_weak",
            Self::Reused { .. } => "password_reused",
        }
    }
}

/// Everything that speaks against choosing this password, or nothing: then it may be chosen as far as can be told
/// without the account's earlier passwords.
///
/// Besides the policy these rules hold always: at least [`MIN_CHARACTERS`]; not on the bundled list of common
/// passwords; nothing in it of the account's name and address, the organization or the product; a strength of at least
/// [`STRONG_ENOUGH`].
///
/// It takes milliseconds, and a tenth of a second and more for a text made to be slow: not for a thread that serves
/// others meanwhile, and not in unbounded number.
#[must_use]
pub fn check(policy: &PasswordPolicy, password: &Password, context: &Context) -> Vec<Violation> {
    let words = context.words_in(password.expose());
    let strength = strength(password, context);
    let rules = [
        (password.has_unassigned_characters(), Violation::UnassignedCharacter),
        (blocklist::holds(password), Violation::Common),
        (!words.is_empty(), Violation::Personal { words }),
        (strength.score < STRONG_ENOUGH, Violation::Weak { advice: strength.advice }),
    ];
    let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken).map(|(_, violation)| violation);
    unmet_demands(policy, password).into_iter().chain(broken).collect()
}

/// The demands of the policy itself that this password does not meet: its length and its kinds of characters. Quickly
/// told, so that a password can be looked at again whenever it is typed.
#[must_use]
pub fn unmet_demands(policy: &PasswordPolicy, password: &Password) -> Vec<Violation> {
    let text = password.expose();
    let actual = text.chars().count();
    let least = policy.min_length.max(MIN_CHARACTERS);
    let demands = [
        (actual < least as usize, Violation::TooShort { least, actual }),
        (policy.require_uppercase && !text.contains(char::is_uppercase), Violation::NeedsUppercase),
        (policy.require_number && !text.contains(char::is_numeric), Violation::NeedsNumber),
        (policy.require_special && text.chars().all(char::is_alphanumeric), Violation::NeedsSpecial),
    ];
    demands.into_iter().filter(|(is_unmet, _)| *is_unmet).map(|(_, violation)| violation).collect()
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("\u{201c}{word}\u{201d}")).collect::<Vec<_>>().join(", ")
}

fn sentences(advice: &[String]) -> String {
    if advice.is_empty() { String::new() } else { format!(". {}", advice.join(" ")) }
}

#[cfg(test)]
mod tests;
