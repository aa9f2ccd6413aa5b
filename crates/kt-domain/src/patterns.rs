//! Patterns that text is searched for: how they are written, and what every reader of them may rely on.
//!
//! A pattern always has a longest match, because text of a stream is held back until it is clear that no match begins
//! in it; and it never matches nothing at all.

use regex_syntax::ParserBuilder;
pub use regex_syntax::hir::Hir;
use regex_syntax::hir::{HirKind, Look, Repetition};

/// What stands for "any number of times" in a pattern: as many times as this.
pub const MAX_REPETITIONS: u32 = 256;
/// The longest match that a pattern may have, in bytes.
pub const MAX_MATCH_BYTES: usize = 8192;

/// Why something is no pattern that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It cannot be read as a regular expression.
    #[error("is no regular expression: {0}")]
    Syntax(String),
    /// It matches text of no length, and so everywhere.
    #[error("matches an empty text, which is everywhere")]
    Empty,
    /// A match of it could be longer than can be held back.
    #[error("can match more than {MAX_MATCH_BYTES} bytes")]
    TooLong,
}

/// Reads a regular expression, in the syntax of Rust's `regex` crate without look-around other than `^`, `$` and `\b`.
///
/// `\b` goes by the letters, digits and underscore of ASCII. Repetitions without an upper bound end at
/// [`MAX_REPETITIONS`].
pub fn regex(text: &str) -> Result<Hir, PatternError> {
    let parsed = ParserBuilder::new().nest_limit(50).build().parse(text);
    let pattern = bounded(parsed.map_err(|error| PatternError::Syntax(reason(&error)))?);
    let properties = pattern.properties();
    match (properties.minimum_len(), properties.maximum_len()) {
        (None | Some(0), _) => Err(PatternError::Empty),
        (_, Some(longest)) if longest <= MAX_MATCH_BYTES => Ok(pattern),
        _ => Err(PatternError::TooLong),
    }
}

/// A term of a dictionary, as it stands; `whole_words` lets it match only where it is not part of a longer word.
pub fn term(text: &str, whole_words: bool, ignore_case: bool) -> Result<Hir, PatternError> {
    let words: Vec<String> = text.split_whitespace().map(regex_syntax::escape).collect();
    let flags = if ignore_case { "(?i)" } else { "" };
    let (start, end) = if whole_words { (r"\b{start-half}", r"\b{end-half}") } else { ("", "") };
    regex(&format!(r"{flags}{start}{}{end}", words.join(r"\s{1,4}")))
}

/// The sentence of a parser's error, without the picture of the pattern around it.
fn reason(error: &regex_syntax::Error) -> String {
    let text = error.to_string();
    text.rsplit("error: ").next().unwrap_or_default().trim().to_owned()
}

/// The same pattern with an end to each repetition, ASCII word boundaries, and no groups that are captured.
fn bounded(pattern: Hir) -> Hir {
    match pattern.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(in_ascii(look)),
        HirKind::Capture(group) => bounded(*group.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(bounded).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(bounded).collect()),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            let max = Some(max.unwrap_or_else(|| min.max(MAX_REPETITIONS)));
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(bounded(*sub)) })
        }
    }
}

/// A boundary that an automaton over bytes can decide.
fn in_ascii(look: Look) -> Look {
    match look {
        Look::WordUnicode => Look::WordAscii,
        Look::WordUnicodeNegate => Look::WordAsciiNegate,
        Look::WordStartUnicode => Look::WordStartAscii,
        Look::WordEndUnicode => Look::WordEndAscii,
        Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
        Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_has_a_longest_match_and_none_is_empty() {
        let longest = |text: &str| regex(text).map(|pattern| pattern.properties().maximum_len());
        assert_eq!(longest("abc"), Ok(Some(3)));
        assert_eq!(longest(r"ACME-\d{4}").map(|longest| longest.is_some()), Ok(true));
        assert_eq!(longest("a+"), Ok(Some(256)));
        assert_eq!(longest("a{300,}"), Ok(Some(300)));
        for empty in ["", "a*", "(a|)", r"\b", "^$"] {
            assert_eq!(longest(empty), Err(PatternError::Empty), "{empty}");
        }
        assert_eq!(longest("(a+b+)+"), Err(PatternError::TooLong));
        assert!(matches!(longest("(a"), Err(PatternError::Syntax(reason)) if reason == "unclosed group"));
        assert!(matches!(longest(r"(?=a)b"), Err(PatternError::Syntax(_))));
    }

    #[test]
    fn a_term_stands_for_itself_with_any_spaces_between_its_words() {
        let pattern = term("a.b  c", true, false).unwrap();
        assert_eq!(pattern, regex(r"\b{start-half}a\.b\s{1,4}c\b{end-half}").unwrap());
        assert_eq!(term("  ", false, true), Err(PatternError::Empty));
    }
}
