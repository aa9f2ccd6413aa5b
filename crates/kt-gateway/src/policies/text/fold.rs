//! Text as a reader sees it: characters that show nothing are left out, and others are written as the ASCII character
//! that they look like or stand for, so that a pattern need not know every disguise.
//!
//! What is folded: control characters but for spaces and the ends of lines, invisible and directional characters (Unicode
//! TR36 and TR39 name them as a means of deception), forms that are compatible with one ASCII character (full width,
//! mathematical and circled letters, tag characters), ligatures of Latin letters, decimal digits of other scripts, and
//! escapes, which stand in JSON within JSON. Whether a backslash begins an escape nobody can tell (`C:\new`,
//! `{"a":"one\ntwo"}`), so that a text with backslashes is read in both ways. Neither can anybody tell whether a letter of
//! another script stands for the Latin one that it looks like, so that a text with such letters is also read as it is seen.

use std::ops::Range;

use memchr::memchr;

use super::characters::{first_other, folded, is_plain, is_plain_ascii, letters_behind};
use super::look_alikes::{has_look_alikes, look_alike};
use super::origins::Origins;

/// How many digits an escape has, as in `\u0041`.
const DIGITS: usize = 4;
/// How many bytes of a text there are for each run of its origins, about, where not all of it stands for itself.
const BYTES_OF_A_RUN: usize = 16;
/// How many backslashes may begin one escape: each JSON within JSON doubles them.
const MAX_BACKSLASHES: usize = 16;
/// What a backslash and a letter are taken for. `\u0041` is an escape in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// For what stands there, as in a path.
    #[default]
    Written,
    /// For what JSON means by them: `\n` is the end of a line.
    Meant,
}

/// What a letter of another script is taken for that looks like a Latin one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Letters {
    /// For what it is.
    #[default]
    Written,
    /// For the Latin one.
    Seen,
}

/// The ways in which a text reads.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// Whether it reads as it stands.
    as_it_stands: bool,
    /// How else it reads.
    others: Vec<Folded>,
}

/// Folded text, and where each of its bytes stood in the raw text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folded {
    pub(crate) text: String,
    /// A backslash and what it may stand before have one together, so that nobody cuts between them.
    origins: Origins,
    escapes: Escapes,
    letters: Letters,
}

impl Readings {
    pub(crate) fn of(raw: &str) -> Self {
        if is_plain_ascii(raw) {
            return Self { as_it_stands: true, others: Vec::new() };
        }
        if is_plain(raw) {
            let seen = has_look_alikes(raw).then(|| Folded::default().as_seen().whole(raw));
            return Self { as_it_stands: true, others: seen.into_iter().collect() };
        }
        let mut others = vec![Folded::default().whole(raw)];
        if memchr(b'\\', raw.as_bytes()).is_some() {
            let meant = Folded::default().as_meant().whole(raw);
            others.extend((meant.text != others[0].text).then_some(meant));
        }
        if others.iter().any(|folded| has_look_alikes(&folded.text)) {
            others.push(Folded::default().as_seen().whole(raw));
        }
        Self { as_it_stands: false, others }
    }

    /// Each way in which `raw` reads, of which they are, with where everything in it stood unless it reads as it stands.
    pub(crate) fn of_text<'t>(&'t self, raw: &'t str) -> impl Iterator<Item = (&'t str, Option<&'t Folded>)> {
        let as_it_stands = self.as_it_stands.then_some((raw, None));
        as_it_stands.into_iter().chain(self.others.iter().map(|folded| (&*folded.text, Some(folded))))
    }
}

impl Folded {
    /// The same, to be read on by what JSON means.
    pub(crate) fn as_meant(&self) -> Self {
        Self { escapes: Escapes::Meant, ..self.clone() }
    }

    /// The same by what JSON means, and read by how its letters look. So far nothing but letters may tell these apart.
    pub(crate) fn as_seen(&self) -> Self {
        let mut seen = Self { escapes: Escapes::Meant, letters: Letters::Seen, ..Self::default() };
        for (at, c) in self.text.char_indices() {
            seen.take(c, self.raw(at..at + c.len_utf8()));
        }
        seen
    }

    /// With all of a text.
    fn whole(mut self, raw: &str) -> Self {
        self.text.reserve(raw.len());
        self.origins.reserve(raw.len() / BYTES_OF_A_RUN);
        self.push(raw, 0, true);
        self
    }

    /// Whether it reads as its letters look.
    pub(crate) fn is_as_seen(&self) -> bool {
        self.letters == Letters::Seen
    }

    /// Whether some letter from `at` on looks like another.
    pub(crate) fn has_look_alikes(&self, at: usize) -> bool {
        self.text.get(at..).is_some_and(has_look_alikes)
    }

    /// Folds `raw`, which stands at `base`, and gives how much of it was taken: an escape that may go on is left for the
    /// next time unless the text has `ended`.
    pub(crate) fn push(&mut self, raw: &str, base: usize, ended: bool) -> usize {
        let mut at = 0;
        loop {
            let rest = &raw[at..];
            let (plain, rest) = rest.split_at(first_other(rest).unwrap_or(rest.len()));
            self.take_plain(plain, base + at);
            at += plain.len();
            let Some(c) = rest.chars().next() else { break };
            let (mut read, mut behind, mut length) = (Some(c), "", c.len_utf8());
            if c == '\\' {
                match escape(rest.as_bytes()) {
                    Escape::Unfinished if !ended => return at,
                    Escape::Number(escaped, whole) => {
                        (read, behind, length) = (folded(escaped), letters_behind(escaped), whole);
                    }
                    Escape::Letter(escaped, whole) if self.escapes == Escapes::Meant => {
                        (read, length) = (Some(escaped), whole);
                    }
                    Escape::Letter(..) | Escape::Unfinished | Escape::None => {
                        if let Some(pair) = rest.get(..2).filter(|pair| is_pair(pair)) {
                            self.origins.all_at(self.text.len(), base + at..base + at + pair.len());
                            self.text.push_str(pair);
                            at += pair.len();
                            continue;
                        }
                    }
                }
            } else {
                (read, behind) = (folded(c), letters_behind(c));
            }
            for read in read.into_iter().chain(behind.chars()) {
                self.take(read, base + at..base + at + length);
            }
            at += length;
        }
        at
    }

    /// Takes characters that stand for themselves, or for letters that they look like.
    fn take_plain(&mut self, mut plain: &str, mut start: usize) {
        while self.letters == Letters::Seen
            && let Some((at, c)) = plain.char_indices().find(|(_, c)| look_alike(*c) != *c)
        {
            self.take_as_it_is(&plain[..at], start);
            let length = c.len_utf8();
            self.origins.each(self.text.len(), start + at, length);
            self.text.push(look_alike(c));
            plain = &plain[at + length..];
            start += at + length;
        }
        self.take_as_it_is(plain, start);
    }

    fn take_as_it_is(&mut self, read: &str, start: usize) {
        if !read.is_empty() {
            self.origins.each(self.text.len(), start, 1);
            self.text.push_str(read);
        }
    }

    fn take(&mut self, read: char, place: Range<usize>) {
        let read = if self.letters == Letters::Seen { look_alike(read) } else { read };
        self.origins.all_at(self.text.len(), place);
        self.text.push(read);
    }

    /// What stands in the raw text where something was found in the folded one.
    pub(crate) fn raw(&self, found: Range<usize>) -> Range<usize> {
        let start = self.raw_start(found.start).unwrap_or(0);
        let last = found.end.checked_sub(1).and_then(|last| self.origin(last));
        start..last.map_or(start, |last| last.end)
    }

    /// Where in the raw text the character at `at` began; `None` at the end.
    pub(crate) fn raw_start(&self, at: usize) -> Option<usize> {
        self.origin(at).map(|place| place.start)
    }

    /// Where in the raw text the byte at `at` stood; `None` at the end.
    fn origin(&self, at: usize) -> Option<Range<usize>> {
        self.origins.of(at).filter(|_| at < self.text.len())
    }

    /// Forgets the first `length` bytes.
    pub(crate) fn forget(&mut self, length: usize) {
        self.text.drain(..length);
        self.origins.forget(length);
    }
}

enum Escape {
    /// A character by its number, and how many bytes it takes.
    Number(char, usize),
    /// A character by its letter, and how many bytes it takes.
    Letter(char, usize),
    /// The text ends before it can be told.
    Unfinished,
    None,
}

/// The escape at the beginning of `text`, which is a backslash. Several of them are one escape of JSON within JSON.
fn escape(text: &[u8]) -> Escape {
    let backslashes = text.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    let escaped = match &text[backslashes..] {
        [] => return Escape::Unfinished,
        [b'u', ..] => return numbered(text, backslashes + 1),
        [b'n', ..] => '\n',
        [b'r', ..] => '\r',
        [b't', ..] => '\t',
        [b'b', ..] => '\u{8}',
        [b'f', ..] => '\u{C}',
        [b'"', ..] => '"',
        [b'/', ..] => '/',
        _ => return Escape::None,
    };
    Escape::Letter(escaped, backslashes + 1)
}

/// The character of an escape by its number, before whose digits so many bytes of `text` stand.
fn numbered(text: &[u8], begun: usize) -> Escape {
    match unit(&text[begun..]) {
        Ok(first @ 0xD800..=0xDBFF) => pair(text, begun, first),
        Ok(code) => Escape::Number(character(code), begun + DIGITS),
        Err(escape) => escape,
    }
}

/// The character whose first half in UTF-16 is the escape at the beginning of `text`; its second half is written like it. A half
/// without the other is read as one that stands for none, so that nobody takes its digits for those of what follows.
fn pair(text: &[u8], begun: usize, first: u32) -> Escape {
    let (first_half, rest) = text.split_at(begun + DIGITS);
    let beginning = &first_half[..begun];
    if rest.len() < begun && beginning.starts_with(rest) {
        return Escape::Unfinished;
    }
    match rest.strip_prefix(beginning).map(unit) {
        Some(Err(Escape::Unfinished)) => Escape::Unfinished,
        Some(Ok(second @ 0xDC00..=0xDFFF)) => {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            Escape::Number(character(code), 2 * first_half.len())
        }
        _ => Escape::Number(character(first), first_half.len()),
    }
}

/// The number that an escape's digits are, if they are digits.
fn unit(digits: &[u8]) -> Result<u32, Escape> {
    let digits = &digits[..digits.len().min(DIGITS)];
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Escape::None);
    }
    if digits.len() < DIGITS {
        return Err(Escape::Unfinished);
    }
    let digits = digits.iter().filter_map(|digit| char::from(*digit).to_digit(16));
    Ok(digits.fold(0, |number, digit| number * 16 + digit))
}

/// The character of this number; the one that stands for none where there is none.
fn character(code: u32) -> char {
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Whether these two characters are an escape of JSON, or a backslash that is escaped itself.
fn is_pair(text: &str) -> bool {
    matches!(text.as_bytes(), [b'\\', b'\\' | b'"' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Longer and shorter runs of each kind of character.
    fn text() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            "[ a-z,.\n]{0,80}",
            "[а-яА-ЯёЁ ]{0,40}",
            "[α-ωä-üł]{0,6}",
            "[かな漢字、]{0,20}",
            "\\PC{0,4}",
            r#"[\\nu0-9"]{0,4}"#,
            "[\0\u{7F}\u{200B}４’ﬃ\u{E0041}]{1,3}",
            Just(r"\u0435".to_owned()),
            Just(r"\\ud83d\\ude00".to_owned()),
        ];
        proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// A text that is taken one character after the other.
    fn one_by_one(mut folded: Folded, raw: &str) -> Folded {
        let mut taken = 0;
        for (at, c) in raw.char_indices() {
            let end = at + c.len_utf8();
            taken += folded.push(&raw[taken..end], taken, end == raw.len());
        }
        folded
    }

    proptest! {
        #[test]
        fn a_whole_text_reads_like_its_characters_one_by_one(raw in text()) {
            let written = Folded::default();
            for way in [written.as_meant(), written.as_seen(), written] {
                let (whole, one_by_one) = (way.clone().whole(&raw), one_by_one(way, &raw));
                prop_assert_eq!(&whole.text, &one_by_one.text);
                for at in 0..whole.text.len() {
                    prop_assert_eq!(whole.raw(at..at + 1), one_by_one.raw(at..at + 1), "at {}", at);
                }
            }
        }
    }

    /// The ways in which a text reads, as it stands if that is the only one.
    fn read(raw: &str) -> Vec<String> {
        let Readings { as_it_stands, others } = Readings::of(raw);
        let as_it_stands = as_it_stands.then(|| raw.to_owned());
        as_it_stands.into_iter().chain(others.into_iter().map(|folded| folded.text)).collect()
    }

    #[test]
    fn what_looks_like_plain_text_reads_as_plain_text() {
        for (raw, expected) in [
            ("４１１１\u{3000}１１１１", "4111 1111"),
            ("bo\u{200B}b\u{AD}@exa\u{2060}mple.com", "bob@example.com"),
            ("𝐛𝐨𝐛＠example．com", "bob@example.com"),
            ("٠٤٢ १२३", "042 123"),
            ("\u{E0068}\u{E0069}", "hi"),
            (r"bob\u0040example.com", "bob@example.com"),
            (r"bob\\u0040example.com", "bob@example.com"),
            (r"\ud83d\ude00", "😀"),
            (r"\\uD835\\uDC1Bob\u0040example.com", "bob@example.com"),
            (r"\ude004111 \ud83d4111", "\u{FFFD}4111 \u{FFFD}4111"),
            (r"\ud83d\u0041 \ud83d\\ude00", "\u{FFFD}A \u{FFFD}\u{FFFD}"),
            ("030\u{2011}123\u{A0}456", "030-123 456"),
            ("4\u{1D173}1\0\u{7F}1\u{FFF0}1\u{91}1\u{E01F0}1", "411111"),
            (r"4\u00001\u001b1", "411"),
            ("con\u{FB01}dential o\u{FB03}ce \\ufb02at", "confidential office flat"),
        ] {
            assert_eq!(read(raw), [expected], "{raw}");
        }
    }

    #[test]
    fn ordinary_text_of_any_language_stays_as_it_is() {
        for raw in [
            "",
            "plain",
            "a\ttable\r\nof\u{B}two\u{85}lines",
            "Grüße aus Köln",
            "日本語のテキスト",
            "ζωή",
            "C:\\users",
            r"\x\\",
            r"\ud83d",
            "é",
        ] {
            assert_eq!(read(raw), [raw], "{raw}");
        }
    }

    #[test]
    fn a_backslash_is_read_as_written_and_as_json_means_it() {
        for (raw, meant) in [
            (r"one\ntwo", "one\ntwo"),
            (r"one\\ntwo", "one\ntwo"),
            (r"one\\\\ntwo", "one\ntwo"),
            (r"C:\reports\new", "C:\reports\new"),
            (r#"{\"a\":\"\t1\"}"#, "{\"a\":\"\t1\"}"),
            (r"https:\/\/a.example", "https://a.example"),
        ] {
            assert_eq!(read(raw), [raw, meant], "{raw}");
        }
        let many = "\\".repeat(40) + "n";
        assert_eq!(read(&many), [many.clone(), "\\".repeat(24) + "\n"]);
    }

    #[test]
    fn what_is_found_is_known_by_its_place_in_the_raw_text() {
        let raw = "an ４２\u{200B}\\u0040 end";
        let folded = Readings::of(raw).others.remove(0);
        assert_eq!(folded.text, "an 42@ end");
        assert_eq!(&raw[folded.raw(3..6)], "４２\u{200B}\\u0040");
        assert_eq!(&raw[folded.raw(3..5)], "４２");
        let raw = "o\u{FB03}ce";
        let folded = Readings::of(raw).others.remove(0);
        assert_eq!(folded.text, "office");
        for place in [1..2, 2..3, 3..4, 1..4] {
            assert_eq!(&raw[folded.raw(place)], "\u{FB03}", "half a character cannot be cut out");
        }
    }

    #[test]
    fn an_escape_is_within_what_is_found_or_it_is_not() {
        let raw = r"a\nb\\nc";
        let readings = Readings::of(raw).others;
        assert_eq!((readings[0].text.as_str(), readings[1].text.as_str()), (raw, "a\nb\nc"));
        assert_eq!(&raw[readings[0].raw(2..4)], r"\nb", "`n` alone would leave a backslash behind");
        assert_eq!(&raw[readings[0].raw(6..8)], "nc", "the control: this one is no escape");
        assert_eq!(&raw[readings[1].raw(2..5)], r"b\\nc");
    }

    #[test]
    fn letters_that_look_like_others_are_read_as_written_and_as_seen() {
        for (raw, ways) in [
            ("Blue Hеron", vec!["Blue Hеron", "Blue Heron"]),
            ("ВLUE НЕRОN", vec!["ВLUE НЕRОN", "BLUE HERON"]),
            ("нет", vec!["нет", "het"]),
            (r"H\u0435ron", vec!["Hеron", "Heron"]),
            (r"C:\nеw", vec![r"C:\nеw", "C:\nеw", "C:\new"]),
            ("４ H\u{200B}еron", vec!["4 Hеron", "4 Heron"]),
        ] {
            assert_eq!(read(raw), ways, "{raw}");
        }
        let raw = "the Hеrоn flies";
        let seen = &Readings::of(raw).others[0];
        assert_eq!(&raw[seen.raw(4..9)], "Hеrоn");
        assert_eq!(&raw[seen.raw(10..15)], "flies");
    }
}
