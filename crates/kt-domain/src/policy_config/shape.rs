//! The shape of a configuration, taken from the JSON Schema that its structures generate.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::PolicyConfig;

/// What may stand in one place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Boolean,
    Integer {
        min: i128,
        max: i128,
    },
    Text {
        /// Lengths in characters.
        min: usize,
        max: usize,
        format: Option<Format>,
    },
    Choice(Vec<String>),
    List(Box<Shape>),
    /// A mapping with keys of the user's choice.
    Map(Box<Shape>),
    /// A mapping with the keys given here.
    Section(BTreeMap<String, Key>),
}

impl Shape {
    /// What may stand behind these keys, if sections have them.
    pub(crate) fn behind<'k>(&self, mut keys: impl Iterator<Item = &'k str>) -> Option<&Self> {
        keys.try_fold(self, |shape, key| match shape {
            Self::Section(keys) => keys.get(key).map(|key| &key.shape),
            _ => None,
        })
    }

    /// Whether it is a list of words, which can stand in one line with commas between them.
    pub(crate) fn is_list_of_words(&self) -> bool {
        matches!(self, Self::List(items) if matches!(**items, Self::Text { .. } | Self::Choice(_)))
    }
}

/// How a text must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A [`Span`](super::Span).
    Duration,
    /// A [`Money`](crate::money::Money).
    Amount,
}

/// A key of a section.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// The JSON Schema (draft 2020-12) of a configuration file, for editors and other tools.
#[must_use]
pub fn json_schema() -> Value {
    schema_of::<PolicyConfig>("Keeptrusts gateway configuration")
}

/// The JSON Schema of a document of this type.
pub(crate) fn schema_of<T: JsonSchema>(title: &str) -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>();
    schema.insert("title".into(), title.into());
    let mut schema = schema.to_value();
    refuse_null(&mut schema);
    schema
}

/// Takes the `null` out of every optional value: a key without a value is an error, not its absence.
fn refuse_null(schema: &mut Value) {
    let is_null = |value: &Value| value == "null" || value["type"] == "null";
    for keyword in ["type", "anyOf"] {
        let Some(choices) = schema.get_mut(keyword).and_then(Value::as_array_mut) else { continue };
        choices.retain(|choice| !is_null(choice));
        if let [_] = **choices
            && let Some(only) = choices.pop()
        {
            take_instead(schema, keyword, only);
        }
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(refuse_null),
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        _ => {}
    }
}

/// Puts `only` in the place of a list of choices: a name in place of several, the members of a schema beside the others.
fn take_instead(schema: &mut Value, keyword: &str, only: Value) {
    let Some(members) = schema.as_object_mut() else { return };
    match only {
        Value::Object(inner) => {
            members.remove(keyword);
            members.extend(inner);
        }
        name => {
            members.insert(keyword.into(), name);
        }
    }
}

/// The shape of a whole configuration.
pub(super) fn root() -> &'static Shape {
    static ROOT: OnceLock<Shape> = OnceLock::new();
    ROOT.get_or_init(|| shape_of(&json_schema()))
}

/// The shape of what a schema describes.
pub(crate) fn shape_of(schema: &Value) -> Shape {
    Reader { definitions: &schema["$defs"] }.shape(schema)
}

struct Reader<'a> {
    definitions: &'a Value,
}

impl Reader<'_> {
    /// Reads one schema. A construct that it does not know would be read as a text; a test sees to it that the schema
    /// has none.
    fn shape(&self, schema: &Value) -> Shape {
        let schema = self.resolved(schema);
        if let Some(choices) = choices(schema) {
            return Shape::Choice(choices);
        }
        // What may be a text or a number is a text with a format.
        match schema["type"].as_str().unwrap_or_default() {
            "boolean" => Shape::Boolean,
            "integer" => Shape::Integer {
                min: bound(schema, "minimum").unwrap_or(0),
                max: bound(schema, "maximum").unwrap_or_else(|| largest(schema)),
            },
            "array" => Shape::List(Box::new(self.shape(&schema["items"]))),
            "object" => match schema.get("properties").and_then(Value::as_object) {
                Some(properties) => Shape::Section(self.keys(schema, properties)),
                None => Shape::Map(Box::new(self.shape(&schema["additionalProperties"]))),
            },
            _ => Shape::Text {
                min: length(schema, "minLength").unwrap_or(0),
                max: length(schema, "maxLength").unwrap_or(usize::MAX),
                format: format(schema),
            },
        }
    }

    fn keys(&self, schema: &Value, properties: &Map<String, Value>) -> BTreeMap<String, Key> {
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
        properties
            .iter()
            .map(|(name, schema)| {
                let required = required.iter().any(|required| *required == name);
                (name.clone(), Key { shape: self.shape(schema), required })
            })
            .collect()
    }

    fn resolved<'s>(&'s self, schema: &'s Value) -> &'s Value {
        match schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
            Some(name) => &self.definitions[name],
            None => schema,
        }
    }
}

/// The choices of an enumeration: schemars writes `enum`, or `oneOf` with a `const` each where each has a sentence.
fn choices(schema: &Value) -> Option<Vec<String>> {
    let texts =
        |values: &mut dyn Iterator<Item = &Value>| values.map(|v| v.as_str().map(String::from)).collect();
    if let Some(choices) = schema["enum"].as_array() {
        texts(&mut choices.iter())
    } else {
        texts(&mut schema["oneOf"].as_array()?.iter().map(|choice| &choice["const"]))
    }
}

fn format(schema: &Value) -> Option<Format> {
    match schema["format"].as_str()? {
        "duration-text" => Some(Format::Duration),
        "amount-text" => Some(Format::Amount),
        _ => None,
    }
}

fn bound(schema: &Value, key: &str) -> Option<i128> {
    schema[key].as_i64().map(i128::from).or_else(|| schema[key].as_u64().map(i128::from))
}

fn length(schema: &Value, key: &str) -> Option<usize> {
    schema[key].as_u64().and_then(|length| usize::try_from(length).ok())
}

/// The largest number of an integer type.
fn largest(schema: &Value) -> i128 {
    match schema["format"].as_str() {
        Some("uint32") => u32::MAX.into(),
        _ => u64::MAX.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_construct_of_the_schema_is_understood() {
        fn known(schema: &Value) {
            let Some(object) = schema.as_object() else { return };
            for (keyword, value) in object {
                match keyword.as_str() {
                    "properties" | "$defs" => value.as_object().unwrap().values().for_each(known),
                    "items" | "additionalProperties" => known(value),
                    "oneOf" => value.as_array().unwrap().iter().for_each(known),
                    "type" if value.is_array() => {
                        let is_amount = format(schema) == Some(Format::Amount);
                        assert!(is_amount && *value == serde_json::json!(["string", "number"]), "{schema}");
                    }
                    "type" => {
                        let name = value.as_str().unwrap();
                        assert!(
                            matches!(name, "boolean" | "integer" | "string" | "array" | "object"),
                            "{schema}"
                        );
                    }
                    "$schema" | "title" | "description" | "default" | "required" | "$ref" | "const"
                    | "enum" | "minimum" | "maximum" | "minLength" | "maxLength" => {}
                    "format" => {
                        let format = value.as_str().unwrap();
                        assert!(
                            matches!(format, "uint32" | "uint64" | "duration-text" | "amount-text"),
                            "{format}"
                        );
                    }
                    "pattern" => assert!(format(schema).is_some(), "{schema}"),
                    other => panic!("`{other}` in {schema}"),
                }
            }
        }
        known(&json_schema());
    }

    #[test]
    fn the_shape_has_what_the_structures_say() {
        let Shape::Section(keys) = root() else { panic!() };
        let Shape::Section(events) = &keys["events"].shape else { panic!() };
        assert_eq!(events["on_failure"].shape, Shape::Choice(vec!["refuse".into(), "allow".into()]));
        let Shape::Section(providers) = &keys["providers"].shape else { panic!() };
        let Shape::List(target) = &providers["targets"].shape else { panic!() };
        let Shape::Section(target) = &**target else { panic!() };
        assert!(target["id"].required && !target["weight"].required);
        assert_eq!(target["weight"].shape, Shape::Integer { min: 1, max: 1000 });
        assert_eq!(target["id"].shape, Shape::Text { min: 1, max: 200, format: None });
        assert!(matches!(target["secret_key_ref"].shape, Shape::Section(_)));
        assert!(matches!(target["headers"].shape, Shape::Map(_)));
    }
}
