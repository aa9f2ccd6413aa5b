//! How hard a password is to guess: an estimate after zxcvbn (Wheeler, USENIX Security 2016).

use serde::Serialize;

use super::context::Context;
use super::password::Password;

/// The lowest score that may be chosen: zxcvbn calls it safely unguessable, more than 10^8 guesses.
pub const STRONG_ENOUGH: u8 = 3;

/// The time of an estimate grows with the square of the length; what stands behind these characters only adds strength.
const ESTIMATED_CHARACTERS: usize = 100;

/// How hard a password is to guess, and what would make it harder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Strength {
    /// From 0, guessed at once, to 4, more than 10^10 guesses.
    pub score: u8,
    /// What makes it weak and what would help, in sentences; nothing for scores of 3 and 4.
    pub advice: Vec<String>,
}

/// The strength of a password for the account it is meant for, also while it is being typed. It takes as long as
/// [`check`](super::check()).
#[must_use]
pub fn strength(password: &Password, context: &Context) -> Strength {
    let start: String = password.expose().chars().take(ESTIMATED_CHARACTERS).collect();
    let words = context.words();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let estimate = zxcvbn::zxcvbn(&start, &words);
    let advice = estimate.feedback().map_or_else(Vec::new, |feedback| {
        let warning = feedback.warning().map(|warning| warning.to_string());
        warning.into_iter().chain(feedback.suggestions().iter().map(ToString::to_string)).collect()
    });
    Strength { score: estimate.score().into(), advice }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score(password: &str, context: &Context) -> u8 {
        strength(&Password::new(password).unwrap(), context).score
    }

    #[test]
    fn guessable_passwords_score_low_and_others_high() {
        let nobody = Context::default();
        let low = ["", "password", "Passw0rd!2024", "aaaaaaaaaaaaaaaaaaaa", "qwertyuiop[]", "1q2w3e4r5t6y"];
        for password in low {
            assert!(score(password, &nobody) < STRONG_ENOUGH, "{password}");
        }
        let emoji =
            "\u{1F98A}\u{1F34B}\u{1F3BB}\u{1F9ED}\u{1F6F6}\u{1F40C}\u{1F9F2}\u{1F335}\u{1F52D}\u{1F6B2}";
        let high = ["vexing-otter-plumbs-azure", "kqzvtmwyhbnrpxj", emoji];
        for password in high {
            assert!(score(password, &nobody) >= STRONG_ENOUGH, "{password}");
        }
    }

    #[test]
    fn what_belongs_to_the_account_counts_for_little() {
        let context = Context { organization_name: "Wrzlbrmpft Xyquast", ..Context::default() };
        let password = "wrzlbrmpftxyquast";
        assert!(score(password, &Context::default()) >= STRONG_ENOUGH);
        assert!(score(password, &context) < STRONG_ENOUGH);
    }

    #[test]
    fn a_weak_password_comes_with_advice_and_a_strong_one_without() {
        let of = |text| strength(&Password::new(text).unwrap(), &Context::default());
        assert!(!of("password").advice.is_empty());
        assert_eq!(of("vexing-otter-plumbs-azure").advice, [""; 0]);
    }

    #[test]
    fn what_stands_far_behind_is_not_looked_at() {
        let start = "vexing otter plumbs azure kettles; ".repeat(3);
        let of = |text: &str| strength(&Password::new(text).unwrap(), &Context::default());
        let (start, longer) = (
            &start[..ESTIMATED_CHARACTERS],
            format!("{}{}", &start[..ESTIMATED_CHARACTERS], "4@8({".repeat(30)),
        );
        assert_eq!(of(start), of(&longer));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_has_a_strength(text in any::<String>(), name in any::<String>()) {
            if let Ok(password) = Password::new(&text) {
                let context = Context { name: &name, ..Context::default() };
                prop_assert!(strength(&password, &context).score <= 4);
            }
        }
    }
}
