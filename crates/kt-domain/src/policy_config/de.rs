//! A tree as input for `serde`.

use serde::de::DeserializeOwned;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::codes;
use super::finding::Report;
use super::node::{Node, Value};
use super::scalar::{self, Scalar};

/// Makes the structures from a checked tree. `None` if the tree as a whole is no configuration, which the check has
/// reported.
pub(crate) fn from_tree<T: DeserializeOwned>(tree: &Node, report: &mut Report) -> Option<T> {
    if tree.is_refused() {
        return None;
    }
    match T::deserialize(tree) {
        Ok(config) => Some(config),
        Err(error) => {
            let suggestion = "compare the file with the reference page";
            report.at(&codes::WRONG_TYPE, tree.place, "", error.to_string(), suggestion);
            None
        }
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Mapping(entries) => visitor.visit_map(MapDeserializer::new(
                entries.iter().map(|entry| (entry.key.as_str(), &entry.value)),
            )),
            Value::Sequence(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().filter(|item| !item.is_refused())))
            }
            Value::Scalar { text, plain } => match scalar::meaning(text, *plain) {
                Scalar::Boolean(boolean) => visitor.visit_bool(boolean),
                Scalar::Integer(number) => match u64::try_from(number) {
                    Ok(number) => visitor.visit_u64(number),
                    Err(_) => Err(Error::custom(format_args!("`{text}` is out of range"))),
                },
                Scalar::Null => visitor.visit_unit(),
                Scalar::OtherNumber | Scalar::Text => visitor.visit_borrowed_str(text),
            },
            Value::Refused => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::Scalar { text, .. } => {
                (**text).into_deserializer().deserialize_enum(name, variants, visitor)
            }
            _ => Err(Error::custom(format_args!("{name} is written as a text"))),
        }
    }

    /// A text keeps its spelling, also where it could be a number: lengths of time may be reported and kept.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
