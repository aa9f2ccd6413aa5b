//! Where in a whole text a match can begin at all, found much faster than by trying every place.

use kt_domain::patterns::Hir;
use memchr::memchr;
use regex_automata::meta::{BuildError, Regex};
use regex_automata::util::prefilter::Prefilter;
use regex_automata::{Input, MatchKind, Span};

use super::blocks::first;

/// What shows where a match may begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lead {
    /// At a digit, or at most so many bytes before one.
    Digit(usize),
    /// At this byte, or at most so many bytes before one.
    Byte(u8, usize),
    /// At one of these words, or at most so many bytes before it. None begins with another. Up to twenty are found at the
    /// speed of one; more are better split over several groups.
    Words(&'static [(&'static str, usize)]),
    /// Where the patterns themselves are found.
    Patterns,
}

/// A lead, made ready.
pub(super) enum Scout {
    Digit(usize),
    Byte(u8, usize),
    Words(Words),
    Patterns(Regex),
}

/// Words to look for.
pub(super) struct Words {
    finder: Prefilter,
    /// Each with how much of a match may stand before it.
    listed: &'static [(&'static str, usize)],
    most_before: usize,
    /// How long the longest of them is.
    longest: usize,
}

impl Scout {
    /// Makes the lead of `patterns` ready; `memory` is what may be taken to find them.
    pub(super) fn new(lead: Lead, patterns: &[&Hir], memory: usize) -> Result<Self, BuildError> {
        Ok(match lead {
            Lead::Digit(before) => Self::Digit(before),
            Lead::Byte(byte, before) => Self::Byte(byte, before),
            Lead::Words(words) => match Words::new(words) {
                Some(words) => Self::Words(words),
                None => Self::Patterns(finder(patterns, memory)?),
            },
            Lead::Patterns => Self::Patterns(finder(patterns, memory)?),
        })
    }

    /// The first and the last of the next places, at `from` or later, at each of which a match may begin.
    pub(super) fn next(&self, text: &str, from: usize) -> Option<(usize, usize)> {
        let bytes = text.as_bytes();
        let (at, before) = match self {
            Self::Digit(before) => (from + first(&bytes[from..], |byte| byte.is_ascii_digit())?, *before),
            Self::Byte(byte, before) => (from + memchr(*byte, &bytes[from..])?, *before),
            Self::Words(words) => {
                let (first, last) = words.next(bytes, from)?;
                return Some((text.ceil_char_boundary(first).max(from), last));
            }
            Self::Patterns(finder) => {
                let start = finder.search(&Input::new(text).range(from..))?.start();
                return Some((start, start));
            }
        };
        let first = text.ceil_char_boundary(at.saturating_sub(before)).max(from);
        Some((first, at))
    }
}

impl Words {
    fn new(words: &'static [(&'static str, usize)]) -> Option<Self> {
        let needles: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Some(Self {
            finder: Prefilter::new(MatchKind::LeftmostFirst, &needles)?,
            listed: words,
            most_before: words.iter().map(|(_, before)| *before).max()?,
            longest: words.iter().map(|(word, _)| word.len()).max()?,
        })
    }

    /// The next places without a gap between them. A later word may reach farther back than an earlier one, so that those
    /// are asked too which could: none, where every match begins with its word.
    fn next(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        if self.most_before == 0 {
            let at = self.finder.find(text, Span { start: from, end: text.len() })?.start;
            return Some((at, at));
        }
        let mut places: Option<(usize, usize)> = None;
        let mut rest = Span { start: from, end: text.len() };
        while let Some(found) = self.finder.find(text, rest) {
            let at = found.start;
            let own = (at.saturating_sub(self.before(&text[found.range()])).max(from), at);
            let (first, last) = match places {
                None => own,
                Some((_, last)) if at > last + self.most_before => break,
                Some((first, last)) if own.0 <= last + 1 => (first.min(own.0), at),
                Some(earlier) => earlier,
            };
            places = Some((first, last));
            let end = last + self.most_before + self.longest;
            rest = Span { start: at + 1, end: end.min(text.len()) };
        }
        places
    }

    fn before(&self, word: &[u8]) -> usize {
        self.listed
            .iter()
            .find(|(own, _)| own.as_bytes() == word)
            .map_or(self.most_before, |(_, before)| *before)
    }
}

/// Finds the first match of any of the patterns.
fn finder(patterns: &[&Hir], memory: usize) -> Result<Regex, BuildError> {
    let config = Regex::config().nfa_size_limit(Some(memory)).hybrid_cache_capacity(memory);
    Regex::builder().configure(config).build_many_from_hir(patterns)
}
