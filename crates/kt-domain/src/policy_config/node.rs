//! The tree of a configuration, each node with the place where it stands.
//!
//! A list may have a hundred thousand items, so a node takes no more room than it needs.

use std::collections::HashMap;

/// Where something stands: lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which of the sources.
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// How many characters of the line it takes.
    pub(crate) width: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar {
        text: Box<str>,
        /// Whether it stands without quotes, so that `true` is no text.
        plain: bool,
    },
    /// As written, with the items that were set aside.
    Sequence(Box<[Node]>),
    Mapping(Box<[Entry]>),
    /// It was reported and is set aside.
    Refused,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) place: Place,
    /// The path as written, so that its indices count items that were set aside.
    pub(crate) path: String,
}

impl Node {
    /// The mapping of a file without content.
    pub(crate) fn empty() -> Self {
        Self { place: Place { file: 0, line: 1, column: 1, width: 1 }, value: Value::Mapping(Box::default()) }
    }

    /// The tree in which `above` overrides `self`: mappings key by key, anything else as a whole.
    pub(crate) fn overlaid_with(self, above: Self) -> Self {
        match (self.value, above.value) {
            (Value::Mapping(below), Value::Mapping(overriding)) => {
                Self { place: above.place, value: Value::Mapping(overlay(below, overriding)) }
            }
            (_, value) => Self { place: above.place, value },
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.value, Value::Refused)
    }

    /// The value of a mapping's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The keys of a mapping.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let entries: &[Entry] = match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    /// Follows a path such as `providers.targets[0].id`, whose indices do not count items that were set aside. Where a
    /// part of it is missing, the place is that of the last part that is there.
    pub(crate) fn locate(&self, path: &str) -> Located {
        let mut here = self;
        let mut located = Located { place: self.place, path: String::new() };
        let mut rest = path;
        while !rest.is_empty() {
            let Some((step, after)) = here.step(rest) else {
                located.path += rest;
                break;
            };
            located.path += &step.written;
            located.place = step.place;
            here = step.node;
            rest = after;
        }
        located
    }

    fn step<'t, 'p>(&'t self, path: &'p str) -> Option<(Step<'t>, &'p str)> {
        match &self.value {
            Value::Sequence(items) => {
                let (index, after) = path.strip_prefix('[')?.split_once(']')?;
                let mut fitting = items.iter().enumerate().filter(|(_, item)| !item.is_refused());
                let (index, node) = fitting.nth(index.parse().ok()?)?;
                Some((Step { node, place: node.place, written: format!("[{index}]") }, after))
            }
            Value::Mapping(entries) => {
                let (dot, keys) = path.strip_prefix('.').map_or(("", path), |keys| (".", keys));
                let (entry, after) = entries.iter().find_map(|entry| {
                    // A key may itself hold a dot, as a header's name may.
                    let after = keys.strip_prefix(&*entry.key)?;
                    (after.is_empty() || after.starts_with(['.', '['])).then_some((entry, after))
                })?;
                let place = if entry.value.is_leaf() { entry.value.place } else { entry.key_place };
                Some((Step { node: &entry.value, place, written: format!("{dot}{}", entry.key) }, after))
            }
            Value::Scalar { .. } | Value::Refused => None,
        }
    }

    fn is_leaf(&self) -> bool {
        matches!(self.value, Value::Scalar { .. })
    }
}

/// One part of a path, followed.
struct Step<'t> {
    node: &'t Node,
    place: Place,
    written: String,
}

/// The entries of two mappings: keys of both keep the place of `below` in the order, and what `above` gives them.
fn overlay(below: Box<[Entry]>, above: Box<[Entry]>) -> Box<[Entry]> {
    let mut below = below.into_vec();
    let positions: HashMap<String, usize> =
        below.iter().enumerate().map(|(position, entry)| (entry.key.clone(), position)).collect();
    for entry in above {
        if let Some(&position) = positions.get(&entry.key) {
            let value = std::mem::replace(&mut below[position].value, Node::empty());
            below[position] = Entry { value: value.overlaid_with(entry.value), ..entry };
        } else {
            below.push(entry);
        }
    }
    below.into()
}
