//! Letters that nobody's eye tells from Latin ones.

use super::blocks::first;

/// How many characters there are up to the last of those that look like Latin letters.
const COUNT: u32 = 0x530;
/// For each of them, the Latin letter; zero for those that look like none. A text is read faster by it than by telling
/// them apart one by one.
static LATIN: [u8; COUNT as usize] = by_character();

/// Whether a text has a letter that looks like a Latin one. Most texts have no byte with which such a letter begins.
pub(super) fn has_look_alikes(text: &str) -> bool {
    let begun = first(text.as_bytes(), |byte| matches!(byte, 0xC4..=0xD4));
    begun.is_some_and(|at| text[at..].chars().any(|c| look_alike(c) != c))
}

/// The Latin letter that one of another script looks like, or one with a mark that is overlooked: the common part of the
/// confusables of Unicode TR39. Others stay as they are.
pub(crate) fn look_alike(c: char) -> char {
    match LATIN.get(c as usize) {
        None | Some(0) => c,
        Some(latin) => char::from(*latin),
    }
}

const fn by_character() -> [u8; COUNT as usize] {
    let mut table = [0; COUNT as usize];
    let mut code = 0;
    while code < COUNT {
        if let Some(c) = char::from_u32(code) {
            table[code as usize] = latin(c);
        }
        code += 1;
    }
    table
}

const fn latin(c: char) -> u8 {
    match c {
        'а' | 'α' | 'ɑ' => b'a',
        'А' | 'Α' => b'A',
        'в' => b'b',
        'В' | 'Β' => b'B',
        'с' => b'c',
        'С' => b'C',
        'ԁ' => b'd',
        'е' | 'ε' => b'e',
        'Е' | 'Ε' => b'E',
        'ɡ' => b'g',
        'һ' | 'н' => b'h',
        'Н' | 'Η' => b'H',
        'і' | 'ι' | 'ı' => b'i',
        'І' | 'Ι' => b'I',
        'ј' => b'j',
        'Ј' => b'J',
        'к' | 'κ' => b'k',
        'К' | 'Κ' => b'K',
        'ł' => b'l',
        'Ł' => b'L',
        'м' => b'm',
        'М' | 'Μ' => b'M',
        'Ν' => b'N',
        'о' | 'ο' => b'o',
        'О' | 'Ο' => b'O',
        'р' | 'ρ' => b'p',
        'Р' | 'Ρ' => b'P',
        'ԛ' => b'q',
        'Ԛ' => b'Q',
        'ѕ' => b's',
        'Ѕ' => b'S',
        'т' | 'τ' => b't',
        'Т' | 'Τ' => b'T',
        'υ' => b'u',
        'ν' => b'v',
        'ԝ' => b'w',
        'Ԝ' => b'W',
        'х' | 'χ' => b'x',
        'Х' | 'Χ' => b'X',
        'у' => b'y',
        'У' | 'Υ' => b'Y',
        'Ζ' => b'Z',
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_that_looks_like_another_is_known_by_its_first_byte() {
        for c in '\0'..=char::MAX {
            let latin = latin(c);
            assert_eq!(look_alike(c), if latin == 0 { c } else { char::from(latin) });
            assert_eq!(has_look_alikes(&format!("a text {c}")), latin != 0, "{c:?}");
        }
    }
}
