//! What one character reads as.

use unicode_normalization::char::decompose_compatible;

/// The zeros of scripts that write decimal numbers with digits of their own; nine more follow each.
const ZEROS: [u32; 22] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x17E0, 0x1810, 0x19D0, 0x1B50, 0xA620, 0xABF0,
];
/// How many bytes are asked at once whether one of them shows nothing; a multiple of what the machine compares at once.
const BLOCK: usize = 64;

/// Whether folding would change nothing in a text without backslashes.
pub(super) fn is_plain(raw: &str) -> bool {
    !has_control(raw) && (raw.is_ascii() || raw.chars().all(|c| folded(c) == Some(c)))
}

/// Whether an ASCII character of a text shows nothing. Looks at every byte, without a branch that would keep the compiler
/// from comparing many at once.
fn has_control(raw: &str) -> bool {
    let is_control = |byte: u8| (byte < b' ' && !matches!(byte, b'\t'..=b'\r')) || byte == 0x7F;
    raw.as_bytes()
        .chunks(BLOCK)
        .any(|block| block.iter().fold(false, |found, byte| found | is_control(*byte)))
}

/// What a character reads as; nothing for one that does not show.
pub(super) fn folded(c: char) -> Option<char> {
    match c {
        // ASCII itself, and letters of which none is a form of it: most of what is written.
        '\t'..='\r'
        | ' '..='~'
        | '\u{C0}'..='\u{17E}'
        | '\u{391}'..='\u{3C9}'
        | '\u{400}'..='\u{52F}'
        | '\u{4E00}'..='\u{9FFF}' => Some(c),
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
    fn what_is_taken_for_a_letter_at_once_is_no_form_of_another_character() {
        for c in '\0'..=char::MAX {
            let is_form = digit(c).or_else(|| compatible(c)).is_some_and(|form| form != c);
            assert!(!is_form || folded(c) != Some(c), "{c:?}");
        }
    }
}
