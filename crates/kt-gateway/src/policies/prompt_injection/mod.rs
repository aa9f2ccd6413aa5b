//! `prompt-injection`: how suspicious a request reads.
//!
//! Each rule stands for a way in which texts try to take over a model (OWASP LLM01); a rule counts once for a request,
//! however often it matches. This is no understanding: who puts the same in other words gets past it, and a text about
//! such attacks reads like one. It keeps out what is copied, and tells of what is tried.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use kt_domain::events::Phase;
use kt_domain::policy_config::PolicySettings;
use memchr::memchr_iter;

use super::text::blocks::first;
use super::text::look_alikes::look_alike;
use super::text::patterns::{Patterns, TooLarge};
use super::{Judge, Reading};
use rules::{FAMILIES, Family};

pub(super) const KIND: &str = "prompt-injection";

pub(super) fn make(settings: &PolicySettings) -> Result<Judge, TooLarge> {
    let settings = settings.prompt_injection.clone().unwrap_or_default();
    let families =
        FAMILIES.iter().map(|Family { lead, rules }| (*lead, rules.iter().map(rules::rule).collect()));
    let patterns = Patterns::new(families.collect(), &[])?;
    let reading =
        Reading { phases: vec![Phase::Request], unreadable: settings.unreadable, dry_run: settings.dry_run };
    Ok(Judge::Injection(Injection { patterns, threshold: settings.threshold, reading }))
}

/// The rules of `prompt-injection`, made ready.
pub(super) struct Injection {
    patterns: Patterns,
    threshold: u32,
    pub(super) reading: Reading,
}

/// Points for text that no screen shows, and for an attack that is encoded.
const HIDDEN: (&str, u32) = ("hidden-text", 8);
const ENCODED: (&str, u32) = ("encoded", 5);
/// How many characters that show nothing are more than a language or an emoji needs: tag characters spell out ASCII.
const MANY_TAGS: usize = 4;
/// The shortest run of Base64 that is looked into, in characters, and the longest.
const MIN_ENCODED: usize = 24;
const MAX_ENCODED: usize = 16_384;

impl Injection {
    /// What the rules find in the texts of a request, together.
    pub(super) fn judge<'t>(&self, texts: impl Iterator<Item = (&'t str, &'t str)>) -> Found {
        let mut found = Found::default();
        for (raw, read) in texts {
            self.read(read, &mut found);
            if tags(raw).take(MANY_TAGS).count() == MANY_TAGS {
                found.add(HIDDEN.0, HIDDEN.1);
            }
            for hidden in encoded(read) {
                if self.read(&hidden, &mut found) {
                    found.add(ENCODED.0, ENCODED.1);
                }
            }
        }
        found
    }

    /// Whether a request in which this was found reads like an attack.
    pub(super) fn is_attack(&self, found: &Found) -> bool {
        found.points >= self.threshold
    }

    /// Adds what the rules find in a text, and says whether they find anything: also what was found before.
    fn read(&self, text: &str, found: &mut Found) -> bool {
        let mut finds = false;
        self.patterns.find_all(&skeleton(text), |hit| {
            finds = true;
            found.add(hit.rule, rules::points(hit.rule));
        });
        finds
    }
}

/// What was found so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rules: BTreeSet<Arc<str>>,
    points: u32,
}

impl Found {
    /// The points of all its rules, if there are any.
    pub(super) fn score(&self) -> Option<u32> {
        (!self.rules.is_empty()).then_some(self.points)
    }

    fn add(&mut self, name: &str, points: u32) {
        if !self.rules.contains(name) {
            self.rules.insert(name.into());
            self.points += points;
        }
    }
}

/// Text in small letters, with letters of other scripts that look like Latin ones written as those. What is ASCII, which is
/// all of most texts, is taken as a whole.
fn skeleton(text: &str) -> String {
    let mut skeleton = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(mut at) = first(rest.as_bytes(), |byte| !byte.is_ascii()) {
        skeleton.push_str(&rest[..at]);
        for c in rest[at..].chars().take_while(|c| !c.is_ascii()) {
            match look_alike(c) {
                latin @ '\0'..='\u{7F}' => skeleton.push(latin),
                small if is_never_capital(small) => skeleton.push(small),
                other => skeleton.extend(other.to_lowercase()),
            }
            at += c.len_utf8();
        }
        rest = &rest[at..];
    }
    skeleton.push_str(rest);
    skeleton.make_ascii_lowercase();
    skeleton
}

/// Whether a character is one of those, most of what is written, that are small letters or of scripts that have no others.
/// The standard library searches a long list for each.
fn is_never_capital(c: char) -> bool {
    matches!(
        c,
        'ß'..='ÿ'
            | 'ά'..='ώ'
            | 'а'..='џ'
            | '\u{591}'..='\u{109F}'
            | '\u{2000}'..='\u{2125}'
            | '\u{2E80}'..='\u{A63F}'
            | '\u{AC00}'..='\u{D7FB}'
    )
}

/// The characters of a text that spell out ASCII and that no screen shows. All begin with the same byte.
fn tags(text: &str) -> impl Iterator<Item = char> {
    let begun = memchr_iter(0xF3, text.as_bytes());
    let characters = begun.filter_map(|at| text[at..].chars().next());
    characters.filter(|c| matches!(c, '\u{E0020}'..='\u{E007E}'))
}

/// The texts that stand encoded as Base64 in a text.
fn encoded(text: &str) -> impl Iterator<Item = String> {
    runs(text.as_bytes()).filter(|run| run.len() <= MAX_ENCODED).filter_map(|run| {
        let whole = &run[..run.len() - usize::from(run.len() % 4 == 1)];
        let bytes = STANDARD_NO_PAD.decode(whole).or_else(|_| URL_SAFE_NO_PAD.decode(whole)).ok()?;
        String::from_utf8(bytes).ok()
    })
}

/// Whether a byte is one of Base64's characters.
static IS_BASE64: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
        byte += 1;
    }
    table
};

/// The runs of Base64's characters that are at least [`MIN_ENCODED`] long. Such a run has a character at every place of
/// that distance, so that most of a text need not be looked at.
fn runs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_other = |byte: &u8| !IS_BASE64[usize::from(*byte)];
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(shortest) = text.get(from..from + MIN_ENCODED) {
            if let Some(other) = shortest.iter().rposition(is_other) {
                from += other + 1;
                continue;
            }
            let rest = &text[from..];
            let run = &rest[..rest.iter().position(is_other).unwrap_or(rest.len())];
            from += run.len();
            return Some(run);
        }
        None
    })
}
