//! What one character reads as.

use unicode_normalization::char::decompose_compatible;

use super::blocks::first;

/// The zeros of scripts that write decimal numbers with digits of their own; nine more follow each.
const ZEROS: [u32; 22] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x17E0, 0x1810, 0x19D0, 0x1B50, 0xA620, 0xABF0,
];

/// Whether a text is ASCII that reads as itself, and has no backslash: most are, and nothing in them looks like anything else.
pub(super) fn is_plain_ascii(raw: &str) -> bool {
    first(raw.as_bytes(), |byte| !is_plain_byte(byte)).is_none()
}

/// Whether folding would change nothing in a text: it has no backslash, and each of its characters reads as itself.
pub(super) fn is_plain(raw: &str) -> bool {
    first_other(raw).is_none()
}

/// Where the first character of a text stands that is a backslash or does not read as itself. Most of a text is told by its
/// bytes, many at once; where that does not tell, its characters are asked up to the end of the word.
pub(super) fn first_other(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = first(bytes, |byte| !is_plain_byte(byte))?;
    loop {
        at += first(&bytes[at..], |byte| !is_surely_plain(byte))?;
        for c in text[at..].chars() {
            if c == '\\' || folded(c) != Some(c) {
                return Some(at);
            }
            at += c.len_utf8();
            if c.is_ascii() {
                break;
            }
        }
    }
}

fn is_plain_byte(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' '..=b'~') && byte != b'\\'
}

/// Whether every character reads as itself that begins with this byte, or the byte begins none. Latin letters with marks
/// and Cyrillic ones are told by their first byte.
fn is_surely_plain(byte: u8) -> bool {
    is_plain_byte(byte) || matches!(byte, 0x80..=0xBF | 0xC3 | 0xC4 | 0xD0..=0xD3)
}

/// What a character reads as; nothing for one that does not show.
pub(super) fn folded(c: char) -> Option<char> {
    match c {
        // ASCII itself, and letters and marks of which none is a form of it: most of what is written.
        '\t'..='\r'
        | ' '..='~'
        | '\u{C0}'..='\u{17E}'
        | '\u{391}'..='\u{3C9}'
        | '\u{400}'..='\u{52F}'
        | '\u{5D0}'..='\u{5EA}'
        | '\u{620}'..='\u{64A}'
        | '\u{904}'..='\u{963}'
        | '\u{E01}'..='\u{E4E}'
        | '\u{201C}'..='\u{201F}'
        | '\u{2020}'..='\u{2022}'
        | '\u{2026}'
        | '\u{3001}'
        | '\u{3002}'
        | '\u{3041}'..='\u{30FF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7A3}' => Some(c),
        '\0'..='\u{8}'
        | '\u{E}'..='\u{1F}'
        | '\u{7F}'..='\u{84}'
        | '\u{86}'..='\u{9F}'
        | '\u{AD}'
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
        | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E001F}'
        | '\u{E007F}'..='\u{E0FFF}' => None,
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        '\u{2018}' | '\u{2019}' => Some('\''),
        '\u{2000}'..='\u{200A}' | '\u{1680}' | '\u{2800}' => Some(' '),
        '\u{FB00}'..='\u{FB04}' => Some('f'),
        '\u{FB05}' | '\u{FB06}' => Some('s'),
        // Tag characters: ASCII that no screen shows and models read.
        '\u{E0020}'..='\u{E007E}' => char::from_u32(u32::from(c) - 0xE_0000),
        _ => Some(digit(c).or_else(|| compatible(c)).unwrap_or(c)),
    }
}

/// The letters of a ligature behind the first one.
pub(super) fn letters_behind(c: char) -> &'static str {
    match c {
        '\u{FB00}' => "f",
        '\u{FB01}' => "i",
        '\u{FB02}' => "l",
        '\u{FB03}' => "fi",
        '\u{FB04}' => "fl",
        '\u{FB05}' | '\u{FB06}' => "t",
        _ => "",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_by_its_first_byte_reads_as_itself() {
        for c in '\0'..=char::MAX {
            let first = c.to_string().as_bytes()[0];
            assert!(!is_surely_plain(first) || folded(c) == Some(c), "{c:?}");
        }
    }

    #[test]
    fn the_first_character_that_reads_as_another_is_found() {
        let plain = "plain text, größer, Привет всем, かな и ещё\n";
        for other in ["\0", "\\", "\u{7F}", "\u{200B}", "４", "’", "\u{E0041}"] {
            for count in 0..4 {
                let before = plain.repeat(count);
                assert_eq!(first_other(&before), None);
                for whole in [format!("{before}{other}"), format!("{before}{other}{plain}{other}")] {
                    assert_eq!(first_other(&whole), Some(before.len()), "{whole:?}");
                }
                let in_a_word = format!("{before}мир{other}");
                assert_eq!(first_other(&in_a_word), Some(before.len() + "мир".len()), "{in_a_word:?}");
            }
        }
    }

    #[test]
    fn what_is_taken_for_a_letter_at_once_is_no_form_of_another_character() {
        for c in '\0'..=char::MAX {
            let is_form = digit(c).or_else(|| compatible(c)).is_some_and(|form| form != c);
            assert!(!is_form || folded(c) != Some(c), "{c:?}");
        }
    }
}
