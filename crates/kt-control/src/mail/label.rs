//! What somebody typed or a program claimed, made fit to be shown in a mail.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Enough for names; too little for an advertisement.
const MAX_CHARACTERS: usize = 100;

/// A name, note or description on one line: no control characters, none that turn the direction of text or hide, at most
/// 100 characters. It cannot add a header, a paragraph, or a line that looks like ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct Label(String);

impl Label {
    /// What of `text` can be shown. Never empty.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let visible: String = text
            .chars()
            .filter(|character| !is_hidden(*character))
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect();
        let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            return Self("(no name)".to_owned());
        }
        match line.char_indices().nth(MAX_CHARACTERS) {
            Some((end, _)) => Self(format!("{}…", line[..end].trim_end())),
            None => Self(line),
        }
    }
}

/// Marks of direction, characters without width, and tags: they show nothing and make other text look different.
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_short_visible_line() {
        let long = "ab ".repeat(100);
        let cut = format!("{}…", "ab ".repeat(34)[..100].trim_end());
        let cases = [
            ("Ada Lovelace", "Ada Lovelace"),
            ("  Ada \t Lovelace ", "Ada Lovelace"),
            ("Zoë 山田 👩\u{200d}🔬", "Zoë 山田 👩\u{200d}🔬"),
            ("x\r\nBcc: a@b.example", "x Bcc: a@b.example"),
            ("x\0y\u{1b}[31m\u{85}z", "x y [31m z"),
            ("line\u{2028}paragraph\u{2029}end", "line paragraph end"),
            ("\u{202e}drowssap\u{202c}", "drowssap"),
            ("p\u{200b}ay\u{feff}\u{2066}pal", "paypal"),
            ("\r\n\u{200b}", "(no name)"),
            ("", "(no name)"),
            (&long, &cut),
        ];
        for (text, shown) in cases {
            assert_eq!(Label::new(text).to_string(), shown, "{text:?}");
        }
        let from_json: Label = serde_json::from_str(r#""a\r\nb""#).unwrap();
        assert_eq!(from_json.to_string(), "a b");
    }
}
