//! Lists of very many short texts.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list of texts that takes little more than they do: they stand one behind the other.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Texts {
    joined: Box<str>,
    /// Where each of them ends.
    ends: Box<[usize]>,
}

impl Texts {
    /// Each text, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The text at this place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        let start = index.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.joined.get(start..*self.ends.get(index)?)
    }

    /// How many texts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Texts {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let mut growing = Growing::default();
        texts.into_iter().for_each(|text| growing.add(text.as_ref()));
        growing.ended()
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Growing::default())
    }
}

/// A list that is being made.
#[derive(Default)]
struct Growing {
    joined: String,
    ends: Vec<usize>,
}

impl Growing {
    fn add(&mut self, text: &str) {
        self.joined += text;
        self.ends.push(self.joined.len());
    }

    fn ended(self) -> Texts {
        Texts { joined: self.joined.into_boxed_str(), ends: self.ends.into_boxed_slice() }
    }
}

impl<'de> Visitor<'de> for Growing {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut texts: A) -> Result<Texts, A::Error> {
        while let Some(text) = texts.next_element::<String>()? {
            self.add(&text);
        }
        Ok(self.ended())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out_in_order() {
        let written = ["10.0.0.0/8", "", "ä", "::1"];
        let texts = Texts::from_iter(written);
        assert_eq!(texts.iter().collect::<Vec<_>>(), written);
        assert_eq!((texts.len(), texts.is_empty()), (4, false));
        assert_eq!((texts.get(0), texts.get(1), texts.get(3)), (Some("10.0.0.0/8"), Some(""), Some("::1")));
        assert_eq!(texts.get(4), None);
        assert_eq!(format!("{texts:?}"), format!("{written:?}"));
    }

    #[test]
    fn where_one_text_ends_and_the_next_begins_is_part_of_the_list() {
        assert_ne!(Texts::from_iter(["ab", "c"]), Texts::from_iter(["a", "bc"]));
        assert_ne!(Texts::from_iter([""]), Texts::default());
        assert_eq!(Texts::from_iter(["ab", "c"]), Texts::from_iter(["ab", "c"]));
        assert!(Texts::default().is_empty());
    }

    #[test]
    fn it_is_written_and_read_like_any_list_of_texts() {
        let written = serde_json::json!(["10.0.0.0/8", "", "::1"]);
        let texts: Texts = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&texts).unwrap(), written);
        for other in [serde_json::json!("a"), serde_json::json!([1]), serde_json::json!({})] {
            assert!(serde_json::from_value::<Texts>(other.clone()).is_err(), "{other}");
        }
    }
}
