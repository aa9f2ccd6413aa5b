//! Text as a reader sees it: characters that show nothing are left out, and others are written as the ASCII character
//! that they look like or stand for, so that a pattern need not know every disguise.
//!
//! What is folded: invisible and directional characters (Unicode TR36 and TR39 name them as a means of deception), forms
//! that are compatible with one ASCII character (full width, mathematical and circled letters, tag characters), decimal
//! digits of other scripts, and `\u0041` escapes, which stand in JSON within JSON.

use std::ops::Range;

use memchr::memmem;
use unicode_normalization::char::decompose_compatible;

/// The zeros of scripts that write decimal numbers with digits of their own; nine more follow each.
const ZEROS: [u32; 22] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x17E0, 0x1810, 0x19D0, 0x1B50, 0xA620, 0xABF0,
];
/// How many bytes an escape has, as in `\u0041`.
const ESCAPE: usize = 6;

/// Folded text, and where each of its bytes stood in the raw text.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    pub(crate) text: String,
    /// For each byte the beginning and the end of the character that it comes from.
    origin: Vec<(usize, usize)>,
}

impl Folded {
    /// A text as it reads; `None` when that is as it stands.
    pub(crate) fn of(raw: &str) -> Option<Self> {
        if is_plain(raw) {
            return None;
        }
        let mut folded = Self::default();
        folded.push(raw, 0, true);
        Some(folded)
    }

    /// Folds `raw`, which stands at `base`, and gives how much of it was taken: an escape that may go on is left for the
    /// next time unless the text has `ended`.
    pub(crate) fn push(&mut self, raw: &str, base: usize, ended: bool) -> usize {
        let mut at = 0;
        while let Some(c) = raw[at..].chars().next() {
            let mut end = at + c.len_utf8();
            let mut read = c;
            if c == '\\' {
                match escape(&raw.as_bytes()[at..]) {
                    Escape::Of(escaped) => (read, end) = (escaped, at + ESCAPE),
                    Escape::Unfinished if !ended => return at,
                    Escape::Unfinished | Escape::None => {}
                }
            }
            if let Some(read) = folded(read) {
                self.text.push(read);
                self.origin.extend(std::iter::repeat_n((base + at, base + end), read.len_utf8()));
            }
            at = end;
        }
        at
    }

    /// What stands in the raw text where something was found in the folded one.
    pub(crate) fn raw(&self, found: Range<usize>) -> Range<usize> {
        let start = self.origin.get(found.start).map_or(0, |(start, _)| *start);
        let end = found.end.checked_sub(1).and_then(|last| self.origin.get(last));
        start..end.map_or(start, |(_, end)| *end)
    }

    /// Where in the raw text the character at `at` began; `None` at the end.
    pub(crate) fn raw_start(&self, at: usize) -> Option<usize> {
        self.origin.get(at).map(|(start, _)| *start)
    }

    /// Forgets the first `length` bytes.
    pub(crate) fn forget(&mut self, length: usize) {
        self.text.drain(..length);
        self.origin.drain(..length);
    }
}

/// Whether folding would change nothing.
fn is_plain(raw: &str) -> bool {
    let is_ascii = raw.is_ascii();
    (is_ascii || raw.chars().all(|c| folded(c) == Some(c))) && memmem::find(raw.as_bytes(), b"\\u").is_none()
}

/// What a character reads as; nothing for one that does not show.
fn folded(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c);
    }
    match c {
        '\u{AD}'
        | '\u{34F}'
        | '\u{61C}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}'
        | '\u{FFA0}'
        | '\u{FFF9}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{E0001}'
        | '\u{E007F}'
        | '\u{E0100}'..='\u{E01EF}' => None,
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        '\u{2018}' | '\u{2019}' => Some('\''),
        '\u{2000}'..='\u{200A}' | '\u{1680}' => Some(' '),
        // Tag characters: ASCII that no screen shows and models read.
        '\u{E0020}'..='\u{E007E}' => char::from_u32(u32::from(c) - 0xE_0000),
        _ => Some(digit(c).or_else(|| compatible(c)).unwrap_or(c)),
    }
}

fn digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let value = ZEROS.iter().find_map(|zero| code.checked_sub(*zero).filter(|value| *value < 10))?;
    char::from_digit(value, 10)
}

/// The ASCII character that another is a form of. Letters with marks stay as they are.
fn compatible(c: char) -> Option<char> {
    let mut parts = [None; 2];
    let mut count = 0;
    decompose_compatible(c, |part| {
        if let Some(place) = parts.get_mut(count) {
            *place = Some(part);
        }
        count += 1;
    });
    parts[0].filter(|part| count == 1 && part.is_ascii())
}

enum Escape {
    Of(char),
    /// The text ends before it can be told.
    Unfinished,
    None,
}

/// The escape at the beginning of `text`, which is a backslash.
fn escape(text: &[u8]) -> Escape {
    let digits = match text {
        [_] => return Escape::Unfinished,
        [_, b'u', digits @ ..] => &digits[..digits.len().min(ESCAPE - 2)],
        _ => return Escape::None,
    };
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Escape::None;
    }
    if digits.len() < ESCAPE - 2 {
        return Escape::Unfinished;
    }
    let code = digits
        .iter()
        .filter_map(|digit| char::from(*digit).to_digit(16))
        .fold(0, |code, digit| code * 16 + digit);
    char::from_u32(code).map_or(Escape::None, Escape::Of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_plain_text_reads_as_plain_text() {
        for (raw, read) in [
            ("４１１１\u{3000}１１１１", "4111 1111"),
            ("bo\u{200B}b\u{AD}@exa\u{2060}mple.com", "bob@example.com"),
            ("𝐛𝐨𝐛＠example．com", "bob@example.com"),
            ("٠٤٢ १२३", "042 123"),
            ("\u{E0068}\u{E0069}", "hi"),
            (r"bob\u0040example.com", "bob@example.com"),
            ("030\u{2011}123\u{A0}456", "030-123 456"),
        ] {
            assert_eq!(Folded::of(raw).map(|folded| folded.text).as_deref(), Some(read), "{raw}");
        }
    }

    #[test]
    fn ordinary_text_of_any_language_stays_as_it_is() {
        for raw in [
            "",
            "plain",
            "Grüße aus Köln",
            "日本語のテキスト",
            "ένα δύο",
            "C:\\users",
            r"\n\t\x",
            r"\ud83d",
            "é",
        ] {
            let read = Folded::of(raw);
            assert!(read.as_ref().is_none_or(|folded| folded.text == raw), "{raw}: {read:?}");
        }
    }

    #[test]
    fn what_is_found_is_known_by_its_place_in_the_raw_text() {
        let raw = "an ４２\u{200B}\\u0040 end";
        let folded = Folded::of(raw).unwrap();
        assert_eq!(folded.text, "an 42@ end");
        assert_eq!(&raw[folded.raw(3..6)], "４２\u{200B}\\u0040");
        assert_eq!(&raw[folded.raw(3..5)], "４２");
    }
}
