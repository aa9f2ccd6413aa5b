//! Filters, as far as providers use them to find what they have made: attributes that equal one text each.

use serde_json::Deserializer;

use super::{ScimType, plain};
use crate::error::Error;

/// `attribute eq "value"` (RFC 7644 section 3.4.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equals {
    /// The attribute, in small letters, without its schema.
    pub attribute: String,
    /// What it is to equal.
    pub value: String,
}

/// The longest filter that is read, in bytes.
const LONGEST: usize = 1024;

/// How many conditions it has at most. Entra ID asks with `and` whether somebody is in a group.
const MOST: usize = 2;

impl Equals {
    /// Reads a filter of one condition, by one of these attributes. Anything else is refused with `invalid_filter`, never
    /// answered with everything.
    pub fn parse(filter: &str, attributes: &[&str]) -> Result<Self, Error> {
        let mut all = Self::all(filter, attributes)?;
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(refusal(attributes)),
        }
    }

    /// Reads a filter of conditions that all hold, with `and` between them.
    pub fn all(filter: &str, attributes: &[&str]) -> Result<Vec<Self>, Error> {
        let all = read(filter)
            .filter(|all| all.iter().all(|condition| attributes.contains(&condition.attribute.as_str())));
        all.ok_or_else(|| refusal(attributes))
    }
}

fn refusal(attributes: &[&str]) -> Error {
    let known: Vec<_> = attributes.iter().map(|name| format!("`{name} eq \"…\"`")).collect();
    ScimType::InvalidFilter.refusal(format!("Filter by {}.", known.join(" or ")))
}

fn read(filter: &str) -> Option<Vec<Equals>> {
    if filter.len() > LONGEST {
        return None;
    }
    let mut all = Vec::new();
    let mut rest = filter;
    loop {
        let (condition, behind) = condition(rest)?;
        all.push(condition);
        match word(behind) {
            None => return Some(all),
            Some((and, behind)) if and.eq_ignore_ascii_case("and") && all.len() < MOST => rest = behind,
            Some(_) => return None,
        }
    }
}

/// One condition, and what stands behind it.
fn condition(text: &str) -> Option<(Equals, &str)> {
    let (attribute, rest) = attribute(text.trim_start())?;
    let (operator, rest) = word(rest)?;
    // A text is written as in JSON (RFC 7644 section 3.4.2.2).
    let mut values = Deserializer::from_str(rest).into_iter::<String>();
    let value = values.next()?.ok()?;
    let behind = rest.get(values.byte_offset()..)?;
    let ends = behind.is_empty() || behind.starts_with(' ');
    (ends && operator.eq_ignore_ascii_case("eq")).then_some((Equals { attribute, value }, behind))
}

/// A name, such as `userName` or `emails[type eq "work"].value`, and what stands behind it.
fn attribute(text: &str) -> Option<(String, &str)> {
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ":._-".contains(c))
    };
    let (name, rest) = text.split_once(' ')?;
    let Some((list, _)) = name.split_once('[') else {
        return is_name(name).then(|| (plain(name), rest));
    };
    let (_, behind) = text.split_once('[')?;
    let (inner, behind) = behind.split_once(']')?;
    let (part, rest) = behind.split_once(' ')?;
    (is_name(list) && is_name(part))
        .then(|| (format!("{}[{}]{}", plain(list), inner.trim(), plain(part)), rest))
}

/// The next word, and what stands behind it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    (!text.is_empty()).then(|| text.split_once(' ').unwrap_or((text, "")))
}
