//! What somebody types to find something in a list.

use crate::error::Error;

/// Characters that are to stand somewhere in a text, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search(String);

/// The longest search, in characters: no name and no address that is kept is longer.
const MAX_CHARACTERS: usize = 320;

impl Search {
    /// What is looked for; `None` where nothing is. Blanks around it are not meant.
    pub fn read(text: &str) -> Result<Option<Self>, Error> {
        let text = text.trim();
        if text.chars().count() > MAX_CHARACTERS || text.chars().any(char::is_control) {
            let message = format!("Search for at most {MAX_CHARACTERS} characters, without line breaks.");
            return Err(Error::invalid("q", message));
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_one_short_line_or_nothing() {
        let longest = "ä".repeat(MAX_CHARACTERS);
        for (text, read) in [
            ("", Some(None)),
            (" \u{3000} ", Some(None)),
            (" jo ", Some(Some("jo"))),
            ("100 % of_it", Some(Some("100 % of_it"))),
            (&longest, Some(Some(longest.as_str()))),
            (&format!("{longest}ä"), None),
            ("a\0b", None),
            ("a\nb", None),
        ] {
            let found = Search::read(text);
            let found = found.as_ref().map(|search| search.as_ref().map(Search::as_str)).ok();
            assert_eq!(found, read, "{text:?}");
        }
    }
}
