//! What personal data and secrets look like.

use kt_domain::patterns;
use kt_domain::policy_config::Entity;

use super::super::text::patterns::{Candidate, Rule};
use super::check_digits::{digits, luhn, mod_97_of_iban};
use super::national_ids;

/// How far before its first digit a number may begin: six letters of a codice fiscale.
pub(super) const BEFORE_FIRST_DIGIT: usize = 6;
/// How far before its `@` an address may begin (RFC 5321 section 4.5.3.1.1: 64 octets; letters may take several).
pub(super) const BEFORE_AT: usize = 128;

/// The rules of one kind.
pub(super) fn of(entity: Entity) -> Vec<Rule> {
    match entity {
        Entity::Email => vec![rule("email", EMAIL, |_| true)],
        Entity::Phone => PHONES.iter().map(|pattern| rule("phone", pattern, is_phone)).collect(),
        Entity::Card => CARDS.iter().map(|pattern| rule("card", pattern, is_card)).collect(),
        Entity::Iban => vec![rule("iban", IBAN, is_iban)],
        Entity::NationalId => {
            national_ids::ALL.iter().map(|(name, pattern, accepts)| rule(name, pattern, *accepts)).collect()
        }
        Entity::Secret => SECRETS
            .iter()
            .map(|(name, pattern)| Rule { needs_more: true, ..rule(name, pattern, is_random) })
            .collect(),
    }
}

/// A digit is one of ASCII here: those of other scripts were folded to it.
#[expect(clippy::expect_used, reason = "the patterns are constants, and a test reads every one")]
fn rule(name: &str, pattern: &str, accepts: fn(Candidate<'_>) -> bool) -> Rule {
    let pattern = patterns::regex(&pattern.replace(r"\d", "[0-9]")).expect("a pattern of this file");
    Rule { name: name.into(), pattern, accepts, needs_more: false }
}

/// Latin, Greek and Cyrillic letters; of other scripts a sentence without spaces could not be told from an address.
const EMAIL: &str = concat!(
    r"\b{start-half}[A-Za-z0-9\u{C0}-\u{24F}\u{370}-\u{52F}]",
    r"[A-Za-z0-9\u{C0}-\u{24F}\u{370}-\u{52F}._%+'-]{0,63}@",
    r"(?:[A-Za-z0-9\u{C0}-\u{24F}\u{370}-\u{52F}-]{1,63}\.){1,6}",
    r"[A-Za-z\u{C0}-\u{24F}\u{370}-\u{52F}]{2,24}\b{end-half}",
);

/// With a country's code; as North America writes it; as Europe does, in two or three groups after a zero.
const PHONES: [&str; 4] = [
    r"\+[1-9](?:[ .()/-]{0,2}\d){6,14}\b{end-half}",
    r"\b00[1-9](?:[ .()/-]{0,2}\d){7,14}\b",
    r"(?:\b{start-half}\([2-9]\d{2}\) ?|\b[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}\b",
    r"\b0[1-9]\d{1,4}[ /-]\d{3,4}[ -]?\d{3,5}\b",
];

/// A number has eight digits at least and fifteen at most (ITU-T E.164 section 6.1), and is no part of a longer one.
fn is_phone(found: Candidate<'_>) -> bool {
    let goes_on = match found.before {
        [.., digit, b' '] => digit.is_ascii_digit(),
        [.., last] => last.is_ascii_digit() || matches!(last, b'.' | b'-'),
        [] => false,
    };
    (8..=15).contains(&digits(found.text).len()) && !goes_on
}

/// With dots only in the groups that are printed on most: a fraction has as many digits.
const CARDS: [&str; 2] =
    [r"(?:\b|_)\d(?:[ -]?\d){12,18}(?:\b|_)", r"(?:\b|_)\d{4}\.\d{4}\.\d{4}\.\d{4}(?:\b|_)"];

/// In how many groups people write a card's number at most.
const MAX_GROUPS: usize = 6;

/// By the issuers' ranges and lengths, and the Luhn digit. Digits that stand one by one are a list.
fn is_card(found: Candidate<'_>) -> bool {
    let digits = digits(found.text);
    if found.text.len() - digits.len() > MAX_GROUPS {
        return false;
    }
    let front = |count: usize| digits.iter().take(count).fold(0, |number, digit| number * 10 + digit);
    let fits = match (front(1), front(2), front(4)) {
        (4, ..) => matches!(digits.len(), 13 | 16 | 19),
        (_, 51..=55, _) | (.., 2221..=2720) => digits.len() == 16,
        (_, 34 | 37, _) => digits.len() == 15,
        (_, 30 | 36 | 38 | 39, _) => digits.len() == 14,
        (_, 35 | 50 | 56..=58 | 62 | 65, _) | (.., 6011 | 6440..=6499) => (16..=19).contains(&digits.len()),
        _ => false,
    };
    fits && luhn(&digits)
}

const IBAN: &str = r"(?:\b|_)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?:\b|_)";

/// How many characters an IBAN has in each country (SWIFT IBAN Registry).
const IBAN_LENGTHS: [(&str, usize); 40] = [
    ("AE", 23),
    ("AT", 20),
    ("AZ", 28),
    ("BE", 16),
    ("BG", 22),
    ("BR", 29),
    ("CH", 21),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IS", 26),
    ("IT", 27),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SA", 24),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("TR", 26),
];

/// Most that has the form fails by its country or its length, which are asked first.
fn is_iban(found: Candidate<'_>) -> bool {
    let text = found.text.trim_start_matches('_');
    let is_own = |name: &str| text.get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name));
    let Some((_, length)) = IBAN_LENGTHS.iter().find(|(name, _)| is_own(name)) else { return false };
    let characters = || text.chars().filter(char::is_ascii_alphanumeric);
    characters().count() == *length && mod_97_of_iban(&characters().collect::<Vec<_>>())
}

/// Keys and tokens by the form that their issuers give them.
const SECRETS: [(&str, &str); 14] = [
    (
        "private-key",
        r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[\r\n\\rn]{1,4}[A-Za-z-]{1,20}: [^\r\n\\]{1,80}){0,4}[A-Za-z0-9+/= \t\r\n\\]{0,4096}(?:-----END (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    ("anthropic-key", r"\b{start-half}sk-ant-[a-z0-9]{3,8}-[A-Za-z0-9_-]{20,200}\b{end-half}"),
    ("openai-key", r"\b{start-half}sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,200}\b{end-half}"),
    ("aws-key", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    ("github-token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b"),
    ("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,64}\b{end-half}"),
    ("slack-token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}\b{end-half}"),
    ("google-key", r"\bAIza[A-Za-z0-9_-]{35}\b{end-half}"),
    ("stripe-key", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}\b"),
    ("sendgrid-key", r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}\b{end-half}"),
    ("npm-token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("huggingface-token", r"\bhf_[A-Za-z0-9]{30,64}\b"),
    ("pypi-token", r"\bpypi-[A-Za-z0-9_-]{60,250}\b{end-half}"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,1000}\.[A-Za-z0-9_-]{10,1000}\b{end-half}"),
];

/// A key is random: words joined by dashes, as in a file's name, have no digit and capital among them. Of a text that has none
/// no part has any.
fn is_random(found: Candidate<'_>) -> bool {
    let has = |belongs: fn(&u8) -> bool| found.text.as_bytes().iter().any(belongs);
    let is_key_block = found.text.starts_with('-');
    is_key_block || (has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)) || has(u8::is_ascii_uppercase)
}
