//! Compares a tree with its shape, and sets aside what does not fit, so that the rules still see the rest.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::codes;
use super::finding::Report;
use super::node::{Entry, Node, Place, Value};
use super::policies;
use super::scalar::{self, Scalar};
use super::shape::{Format, Key, Shape};
use super::suggest::{all_of, closest, conversion, did_you_mean, elsewhere, one_of};
use crate::money::Money;
use crate::span::Span;

/// Another file, whose keys somebody may write into the one that is checked.
pub(crate) struct OtherFile {
    /// What it is called, and what it is.
    pub(crate) name: &'static str,
    /// What may stand in it.
    pub(crate) shape: fn() -> &'static Shape,
}

/// Reports everything in `tree` that has not the shape of a configuration. Afterwards the tree can be deserialised:
/// what does not fit is left out, and something stands in for each required key that is left out or missing.
pub(crate) fn check(tree: &mut Node, root: &Shape, other: Option<OtherFile>, report: &mut Report) {
    let place = Place { width: 1, ..tree.place };
    Checker { report, root, other, path: String::new() }.node(tree, place, root);
}

struct Checker<'r, 's> {
    report: &'r mut Report<'s>,
    root: &'r Shape,
    other: Option<OtherFile>,
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
                self.wrong_type(place, shape, found, format!("write {}", expected(shape)));
                false
            }
        };
        if !fits {
            node.value = Value::Refused;
        }
        if node.is_refused() {
            self.report.set_aside(&self.path);
        }
    }

    fn section(&mut self, entries: &mut Box<[Entry]>, place: Place, keys: &BTreeMap<String, Key>) {
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
        let mut fitting = without_refused(entries);
        add_stand_ins(&mut fitting, place, keys);
        *entries = fitting.into();
    }

    fn map(&mut self, entries: &mut Box<[Entry]>, shape: &Shape) {
        for entry in entries.iter_mut() {
            self.entry(entry, shape);
        }
        *entries = without_refused(entries).into();
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
            self.node(item, item.place, shape);
            self.path.truncate(length);
        }
    }

    /// Whether the scalar can stay. A number where a text is due is made one.
    fn scalar(&mut self, text: &str, plain: &mut bool, place: Place, shape: &Shape) -> bool {
        if looks_like_variable(text) {
            self.not_expanded(place, text);
        }
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
            (
                Shape::Text { format: Some(Format::Amount), .. },
                Scalar::Text | Scalar::Integer(_) | Scalar::OtherNumber,
            ) => self.amount(place, text),
            (Shape::Text { min, max, format: None }, Scalar::Text) => self.length(place, text, *min, *max),
            // No number is a semantic version, and its own rule says which one is meant.
            (Shape::Text { .. }, Scalar::Integer(_) | Scalar::OtherNumber) if self.path == "pack.version" => {
                *plain = false;
                true
            }
            (Shape::Text { .. }, _) => {
                self.wrong_type(place, shape, &found(text, true), format!("write \"{text}\" in quotes"));
                *plain = false;
                true
            }
            _ => {
                let suggestion =
                    conversion(text, shape).unwrap_or_else(|| format!("write {}", expected(shape)));
                self.wrong_type(place, shape, &found(text, *plain), suggestion);
                false
            }
        }
    }

    fn no_value(&mut self, place: Place, advice: &str) -> bool {
        let message = format!("{} has no value", self.subject());
        let suggestion = format!("{advice}, or remove the key to get its default");
        self.report.at(&codes::WRONG_TYPE, place, &self.path, message, suggestion);
        false
    }

    fn range(&mut self, place: Place, number: i128, min: i128, max: i128) -> bool {
        let fits = (min..=max).contains(&number);
        if !fits {
            let message = format!("{} is {number}, which is out of its range", self.subject());
            let range = between(&min, &max, max >= i64::MAX.into());
            let suggestion = format!("write a number {range}, or remove the key to get its default");
            self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, suggestion);
        }
        fits
    }

    fn choice(&mut self, place: Place, text: &str, choices: &[String]) -> bool {
        let fits = choices.iter().any(|choice| choice == text);
        if !fits {
            let all = || choices.iter().map(String::as_str);
            let message = format!("{} must be {}, not `{text}`", self.subject(), one_of(all()));
            let suggestion =
                closest(text, all()).map_or_else(|| format!("write {}", one_of(all())), did_you_mean);
            self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, suggestion);
        }
        fits
    }

    fn duration(&mut self, place: Place, text: &str) -> bool {
        let read = text.parse::<Span>();
        if let Err(problem) = &read {
            let with_unit = format!("{text}s");
            let suggestion = if with_unit.parse::<Span>().is_ok() {
                format!("write `{with_unit}` for seconds")
            } else {
                "write it like `500ms`, `30s`, `2m` or `1h`, at most `720h`".into()
            };
            let message = format!("{}: {problem}", self.subject());
            self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, suggestion);
        }
        read.is_ok()
    }

    fn amount(&mut self, place: Place, text: &str) -> bool {
        let read = text.parse::<Money>();
        if let Err(problem) = &read {
            let message = format!("{}: {problem}", self.subject());
            self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, "write it like `20` or `2.50`");
        }
        read.is_ok()
    }

    fn length(&mut self, place: Place, text: &str, min: usize, max: usize) -> bool {
        // Characters are counted only where the bytes do not settle it.
        if text.len() > max || text.len() < min {
            let length = text.chars().count();
            if !(min..=max).contains(&length) {
                let message = format!("{} has {length} characters", self.subject());
                let range = between(&min, &max, max == usize::MAX);
                let suggestion = format!("write a text with a length {range}");
                self.report.at(&codes::OUT_OF_RANGE, place, &self.path, message, suggestion);
            }
        }
        true
    }

    fn wrong_type(&mut self, place: Place, shape: &Shape, found: &str, suggestion: String) {
        let message = format!("{} must be {}, not {found}", self.subject(), expected(shape));
        self.report.at(&codes::WRONG_TYPE, place, &self.path, message, suggestion);
    }

    fn missing(&mut self, place: Place, name: &str) {
        let message = format!("{} has no `{name}`", self.subject());
        let path = self.path_of(name);
        self.report.set_aside(&path);
        self.report.at(&codes::MISSING_KEY, place, &path, message, format!("add `{name}: …`"));
    }

    fn unknown(&mut self, entry: &Entry, keys: &BTreeMap<String, Key>) {
        let name = entry.key.as_str();
        let names = || keys.keys().map(String::as_str);
        let path = self.path_of(name);
        if self.path == "policy" {
            policies::report_unknown(self.report, entry.key_place, &path, name);
            return;
        }
        let message = format!("{} has no key `{name}`", self.subject());
        let suggestion = elsewhere(name, self.root)
            .or_else(|| self.in_other_file(&path))
            .or_else(|| closest(name, names()).map(did_you_mean))
            .unwrap_or_else(|| all_keys(keys));
        self.report.at(&codes::UNKNOWN_KEY, entry.key_place, &path, message, suggestion);
    }

    /// Says where to write a key that another file has in this place.
    fn in_other_file(&self, path: &str) -> Option<String> {
        let OtherFile { name, shape } = self.other.as_ref()?;
        shape().behind(path.split('.'))?;
        Some(format!("`{path}` is a key of {name}: write it there"))
    }

    /// Warns of a text that somebody expects to be filled in. The name of a variable has a rule of its own.
    fn not_expanded(&mut self, place: Place, text: &str) {
        if !self.path.contains("secret_key_ref.") {
            let message = format!("`{text}` is taken literally, not as the value of a variable");
            let suggestion = "write the value itself; keys of providers go into `secret_key_ref`";
            self.report.at(&codes::NOT_EXPANDED, place, &self.path, message, suggestion);
        }
    }

    fn subject(&self) -> String {
        if self.path.is_empty() { "the configuration".into() } else { format!("`{}`", self.path) }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }
}

/// Takes the entries of a mapping, but for those that were set aside.
fn without_refused(entries: &mut Box<[Entry]>) -> Vec<Entry> {
    let mut fitting = std::mem::take(entries).into_vec();
    fitting.retain(|entry| !entry.value.is_refused());
    fitting
}

/// Adds something for each required key that is not there, so that the rules see the rest.
fn add_stand_ins(entries: &mut Vec<Entry>, place: Place, keys: &BTreeMap<String, Key>) {
    for (name, key) in keys.iter().filter(|(_, key)| key.required) {
        if !entries.iter().any(|entry| entry.key == *name) {
            let value = stand_in(&key.shape, place);
            entries.push(Entry { key: name.clone(), key_place: place, value });
        }
    }
}

/// The least that has a shape.
fn stand_in(shape: &Shape, place: Place) -> Node {
    let scalar = |text: &str, plain| Value::Scalar { text: text.into(), plain };
    let value = match shape {
        Shape::Boolean => scalar("false", true),
        Shape::Integer { min, .. } => scalar(&min.to_string(), true),
        Shape::Text { format: None, .. } => scalar("", false),
        Shape::Text { format: Some(Format::Duration), .. } => scalar("1s", true),
        Shape::Text { format: Some(Format::Amount), .. } => scalar("0", true),
        Shape::Choice(choices) => scalar(choices.first().map_or("", String::as_str), false),
        Shape::List(_) => Value::Sequence(Box::default()),
        Shape::Map(_) => Value::Mapping(Box::default()),
        Shape::Section(keys) => {
            let mut entries = Vec::new();
            add_stand_ins(&mut entries, place, keys);
            Value::Mapping(entries.into())
        }
    };
    Node { place, value }
}

fn all_keys(keys: &BTreeMap<String, Key>) -> String {
    let names = all_of(keys.keys().map(String::as_str));
    if keys.len() == 1 { format!("its only key is {names}") } else { format!("its keys are {names}") }
}

fn looks_like_variable(text: &str) -> bool {
    text.split_once("${").is_some_and(|(_, rest)| rest.contains('}'))
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

fn between(min: &dyn Display, max: &dyn Display, unbounded: bool) -> String {
    if unbounded { format!("of at least {min}") } else { format!("from {min} to {max}") }
}
