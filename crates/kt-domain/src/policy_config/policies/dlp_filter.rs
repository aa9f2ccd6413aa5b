//! `dlp-filter`: an organization's own patterns and words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::content::{Action, Phase, Unreadable};
use crate::patterns;
use crate::policy_config::codes;
use crate::policy_config::rules::Review;

/// `dlp-filter`: finds what an organization does not want to leave it, by patterns and words of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DlpFilter {
    /// What happens to content that holds some.
    pub action: Action,
    /// What it reads.
    pub phases: Vec<Phase>,
    /// Regular expressions.
    pub patterns: Vec<Pattern>,
    /// Lists of words.
    pub dictionaries: Vec<Dictionary>,
    /// What happens to content that it cannot read.
    pub unreadable: Unreadable,
    /// Whether it only records what it would have done.
    pub dry_run: bool,
}

/// A regular expression to look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Its name in events, and in brackets in place of what was found.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// The expression, in the syntax of Rust's `regex`. A repetition without an upper bound ends at 256, and a match has
    /// at most 8192 bytes.
    #[schemars(length(min = 1, max = 4096))]
    pub regex: String,
}

/// Words to look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dictionary {
    /// Its name in events, and in brackets in place of what was found.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// The words; one may be several words with spaces between.
    #[serde(default)]
    pub terms: Vec<String>,
    /// Whether a word counts only where it is not a part of a longer one.
    #[serde(default = "yes")]
    pub whole_words: bool,
    /// Whether capitals and small letters are the same.
    #[serde(default = "yes")]
    pub ignore_case: bool,
}

fn yes() -> bool {
    true
}

impl Default for DlpFilter {
    fn default() -> Self {
        Self {
            action: Action::Block,
            phases: Phase::both(),
            patterns: Vec::new(),
            dictionaries: Vec::new(),
            unreadable: Unreadable::Block,
            dry_run: false,
        }
    }
}

impl DlpFilter {
    pub(super) fn review(&self, review: &mut Review) {
        super::review_phases("policy.dlp-filter", &self.phases, review);
        if self.patterns.is_empty() && self.dictionaries.iter().all(|dictionary| dictionary.terms.is_empty())
        {
            review.say(
                &codes::IDLE_POLICY,
                "policy.dlp-filter",
                "there are no patterns and no words, so nothing is looked for",
                "add `patterns` or `dictionaries`",
            );
        }
        for (index, pattern) in self.patterns.iter().enumerate() {
            let path = format!("policy.dlp-filter.patterns[{index}].regex");
            review_pattern(&path, &pattern.regex, patterns::regex(&pattern.regex), review);
        }
        for (index, dictionary) in self.dictionaries.iter().enumerate() {
            for (term_index, term) in dictionary.terms.iter().enumerate() {
                let path = format!("policy.dlp-filter.dictionaries[{index}].terms[{term_index}]");
                let read = patterns::term(term, dictionary.whole_words, dictionary.ignore_case);
                review_pattern(&path, term, read, review);
            }
        }
        self.review_names(review);
    }

    fn review_names(&self, review: &mut Review) {
        let patterns = self.patterns.iter().map(|pattern| pattern.name.as_str());
        let dictionaries = self.dictionaries.iter().map(|dictionary| dictionary.name.as_str());
        let path = |index: usize| match index.checked_sub(self.patterns.len()) {
            None => format!("policy.dlp-filter.patterns[{index}].name"),
            Some(index) => format!("policy.dlp-filter.dictionaries[{index}].name"),
        };
        review.unique(patterns.chain(dictionaries), path, "give each a name of its own");
    }
}

fn review_pattern<T>(path: &str, text: &str, read: Result<T, patterns::PatternError>, review: &mut Review) {
    // An empty text was reported before.
    let (Err(error), false) = (read, text.is_empty()) else { return };
    let suggestion = match &error {
        patterns::PatternError::Syntax(_) => {
            "the syntax is that of https://docs.rs/regex, without look-ahead"
        }
        patterns::PatternError::Empty => "let it match at least one character",
        patterns::PatternError::TooLong => "bound its repetitions, as in `{1,40}`",
    };
    review.say(&codes::BAD_PATTERN, path, format!("the pattern {error}"), suggestion);
}
