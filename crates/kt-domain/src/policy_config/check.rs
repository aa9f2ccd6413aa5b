//! Compares a tree with its shape, and sets aside what does not fit, so that the rules still see the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::codes;
use super::finding::Report;
use super::node::{Entry, Node, Place, Value};
use super::policies;
use super::scalar::{self, Scalar};
use super::shape::{self, Format, Key, Shape};
use super::span::Span;
use super::suggest::{closest, one_of};

/// Sections that a later version will have. They are refused like any unknown key, and their finding says so.
const LATER_SECTIONS: [&str; 5] = ["rate_limits", "consumer_groups", "routes", "retry", "circuit_breaker"];

/// Reports everything in `tree` that has not the shape of a configuration. Afterwards the tree can be deserialised:
/// what does not fit is left out, and a required text that is missing is empty.
pub(super) fn check(tree: &mut Node, report: &mut Report) {
    let place = Place { width: 1, ..tree.place };
    Checker { report, path: String::new() }.node(tree, place, shape::root());
}

struct Checker<'r, 's> {
    report: &'r mut Report<'s>,
    path: String,
}

impl Checker<'_, '_> {
    /// Checks one node. `place` is where a finding about the node as a whole points to.
    fn node(&mut self, node: &mut Node, place: Place, shape: &Shape) {
        let fits = match (&mut node.value, shape) {
            (Value::Refused, _) => true,
            (Value::Mapping(entries), Shape::Section(keys)) => {
                self.section(entries, place, keys);
                true
            }
            (Value::Mapping(entries), Shape::Map(shape)) => {
                self.map(entries, shape);
                true
            }
            (Value::Sequence(items), Shape::List(shape)) => {
                self.list(items, shape);
                true
            }
            (Value::Scalar { text, plain }, _) => self.scalar(text, plain, place, shape),
            (value, _) => {
                let found = if matches!(value, Value::Mapping(_)) { "a mapping" } else { "a list" };
                self.wrong_type(place, shape, found, None);
                false
            }
        };
        if !fits {
            node.value = Value::Refused;
        }
    }

    fn section(&mut self, entries: &mut Vec<Entry>, place: Place, keys: &BTreeMap<String, Key>) {
        for entry in entries.iter_mut() {
            if let Some(key) = keys.get(&entry.key) {
                self.entry(entry, &key.shape);
            } else {
                self.unknown(entry, keys);
                entry.value.value = Value::Refused;
            }
        }
        for (name, key) in keys {
            if key.required && !entries.iter().any(|entry| entry.key == *name) {
                self.missing(place, name);
            }
        }
        entries.retain(|entry| !matches!(entry.value.value, Value::Refused));
        for (name, _) in keys.iter().filter(|(_, key)| key.required) {
            if !entries.iter().any(|entry| entry.key == *name) {
                entries.push(empty_text(name, place));
            }
        }
    }

    fn map(&mut self, entries: &mut Vec<Entry>, shape: &Shape) {
        for entry in entries.iter_mut() {
            self.entry(entry, shape);
        }
        entries.retain(|entry| !matches!(entry.value.value, Value::Refused));
    }

    fn entry(&mut self, entry: &mut Entry, shape: &Shape) {
        let place = match &entry.value.value {
            Value::Scalar { text, plain } if !(*plain && text.is_empty()) => entry.value.place,
            _ => entry.key_place,
        };
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path += &entry.key;
        self.node(&mut entry.value, place, shape);
        self.path.truncate(length);
    }

    fn list(&mut self, items: &mut [Node], shape: &Shape) {
        let length = self.path.len();
        for (index, item) in items.iter_mut().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(self.path, "[{index}]");
            let place = item.place;
            self.node(item, place, shape);
            self.path.truncate(length);
        }
    }

    /// Whether the scalar can stay. A number where a text is due is made one.
    fn scalar(&mut self, text: &str, plain: &mut bool, place: Place, shape: &Shape) -> bool {
        match (shape, scalar::meaning(text, *plain)) {
            (Shape::Section(_) | Shape::Map(_) | Shape::List(_), Scalar::Null) => {
                let suggestion = if matches!(shape, Shape::List(_)) {
                    "write `[]` for an empty list"
                } else {
                    "give it its keys"
                };
                self.no_value(place, suggestion)
            }
            (_, Scalar::Null) => self.no_value(place, "give it a value"),
            (Shape::Boolean, Scalar::Boolean(_)) => true,
            (Shape::Integer { min, max }, Scalar::Integer(number)) => self.range(place, number, *min, *max),
            (Shape::Choice(choices), Scalar::Text) => self.choice(place, text, choices),
            (Shape::Text { format: Some(Format::Duration), .. }, Scalar::Text | Scalar::Integer(_)) => {
                self.duration(place, text)
            }
            (Shape::Text { min, max, format: None }, Scalar::Text) => self.length(place, text, *min, *max),
            (Shape::Text { .. }, _) => {
                self.wrong_type(
                    place,
                    shape,
                    &found(text, true),
                    Some(format!("write \"{text}\" in quotes")),
                );
                *plain = false;
                true
            }
            _ => {
                self.wrong_type(place, shape, &found(text, *plain), conversion(text, shape));
                false
            }
        }
    }

    fn no_value(&mut self, place: Place, advice: &str) -> bool {
        let message = format!("{} has no value", self.subject());
        let suggestion = Some(format!("{advice}, or remove the key to get its default"));
        self.report.at(&codes::WRONG_TYPE, place, &self.path, message, suggestion);
        false
    }

    fn range(&mut self, place: Place, number: i128, min: i128, max: i128) -> bool {
        let fits = (min..=max).contains(&number);
        if !fits {
            let nearest = number.clamp(min, max);
            let message = format!("{} is {number}; it must be from {min} to {max}", self.subject());
            let suggestion = Some(format!("the nearest that is possible is {nearest}"));
            self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, suggestion);
        }
        fits
    }

    fn choice(&mut self, place: Place, text: &str, choices: &[String]) -> bool {
        let fits = choices.iter().any(|choice| choice == text);
        if !fits {
            let all = || choices.iter().map(String::as_str);
            let message = format!("{} must be {}, not `{text}`", self.subject(), one_of(all()));
            let suggestion = closest(text, all()).map(did_you_mean);
            self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, suggestion);
        }
        fits
    }

    fn duration(&mut self, place: Place, text: &str) -> bool {
        let read = text.parse::<Span>();
        if let Err(problem) = &read {
            let with_unit = format!("{text}s");
            let suggestion =
                with_unit.parse::<Span>().is_ok().then(|| format!("write `{with_unit}` for seconds"));
            let message = format!("{}: {problem}", self.subject());
            self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, suggestion);
        }
        read.is_ok()
    }

    fn length(&mut self, place: Place, text: &str, min: usize, max: usize) -> bool {
        // Characters are counted only where the bytes do not settle it.
        if text.len() > max || text.len() < min {
            let length = text.chars().count();
            if !(min..=max).contains(&length) {
                let message =
                    format!("{} has {length} characters; it must have {}", self.subject(), between(min, max));
                self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, None);
            }
        }
        true
    }

    fn wrong_type(&mut self, place: Place, shape: &Shape, found: &str, suggestion: Option<String>) {
        let message = format!("{} must be {}, not {found}", self.subject(), expected(shape));
        self.report.at(&codes::WRONG_TYPE, place, &self.path, message, suggestion);
    }

    fn missing(&mut self, place: Place, name: &str) {
        let message = format!("{} has no `{name}`", self.subject());
        let path = self.path_of(name);
        self.report.at(&codes::MISSING_KEY, place, &path, message, Some(format!("add `{name}: …`")));
    }

    fn unknown(&mut self, entry: &Entry, keys: &BTreeMap<String, Key>) {
        let name = entry.key.as_str();
        let names = || keys.keys().map(String::as_str);
        let path = self.path_of(name);
        if self.path == "policy" {
            policies::report_unknown(self.report, entry.key_place, &path, name);
            return;
        }
        let (message, suggestion) = if self.path.is_empty() && LATER_SECTIONS.contains(&name) {
            let message = format!("this version of Keeptrusts does not know `{name}` yet");
            (message, "remove it: it would have no effect".into())
        } else {
            let message = format!("{} has no key `{name}`", self.subject());
            let suggestion = elsewhere(name)
                .or_else(|| closest(name, names()).map(did_you_mean))
                .unwrap_or_else(|| format!("its keys are {}", one_of(names())));
            (message, suggestion)
        };
        self.report.at(&codes::UNKNOWN_KEY, entry.key_place, &path, message, Some(suggestion));
    }

    fn subject(&self) -> String {
        if self.path.is_empty() { "the configuration".into() } else { format!("`{}`", self.path) }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }
}

pub(super) fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

fn empty_text(key: &str, place: Place) -> Entry {
    let value = Node { place, value: Value::Scalar { text: String::new(), plain: false } };
    Entry { key: key.into(), key_place: place, value }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Boolean => "`true` or `false`",
        Shape::Integer { .. } => "a whole number",
        Shape::Text { .. } => "a text",
        Shape::Choice(_) => "one of its choices",
        Shape::List(_) => "a list",
        Shape::Map(_) | Shape::Section(_) => "a mapping of keys to values",
    }
}

fn found(text: &str, plain: bool) -> String {
    match scalar::meaning(text, plain) {
        Scalar::Null => "nothing".into(),
        Scalar::Boolean(_) => format!("the boolean `{text}`"),
        Scalar::Integer(_) | Scalar::OtherNumber => format!("the number `{text}`"),
        Scalar::Text => format!("the text `{text}`"),
    }
}

/// What somebody who wrote `text` for `shape` should write.
fn conversion(text: &str, shape: &Shape) -> Option<String> {
    match shape {
        Shape::Boolean => match text.to_ascii_lowercase().as_str() {
            "yes" | "y" | "on" | "true" | "1" => Some("write `true`, without quotes".into()),
            "no" | "n" | "off" | "false" | "0" => Some("write `false`, without quotes".into()),
            _ => None,
        },
        Shape::Integer { .. } => whole_number(text).map(|number| format!("write `{number}`")),
        Shape::List(_) => Some(format!("write a list: `[\"{text}\"]`")),
        _ => None,
    }
}

/// The number that `10_485_760`, `007`, `"5"` or `10 MB` means. Units are taken by 1024, as the guide's tables are.
fn whole_number(text: &str) -> Option<u64> {
    let text = text.replace(['_', ','], "").to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[digits..].trim() {
        "" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

fn between(min: usize, max: usize) -> String {
    if max == usize::MAX { format!("at least {min}") } else { format!("from {min} to {max}") }
}

/// Says where a key belongs that is known in another place.
fn elsewhere(name: &str) -> Option<String> {
    let mut sections = BTreeSet::new();
    sections_with(name, shape::root(), "", &mut sections);
    let root = sections.remove("");
    if root {
        Some(format!("`{name}` belongs at the top level of the file: check the indentation"))
    } else {
        (!sections.is_empty())
            .then(|| format!("`{name}` is a key of {}", one_of(sections.iter().map(String::as_str))))
    }
}

fn sections_with(name: &str, shape: &Shape, path: &str, found: &mut BTreeSet<String>) {
    match shape {
        Shape::Section(keys) => {
            if keys.contains_key(name) {
                found.insert(path.into());
            }
            for (key, Key { shape, .. }) in keys {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                sections_with(name, shape, &inner, found);
            }
        }
        Shape::List(item) => sections_with(name, item, &format!("{path}[]"), found),
        _ => {}
    }
}
