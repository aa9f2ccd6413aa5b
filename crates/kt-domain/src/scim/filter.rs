//! Filters, as far as providers use them to find what they have made: one attribute that equals one text.

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

impl Equals {
    /// Reads a filter by one of these attributes. Anything else is refused with `invalid_filter`, never answered with
    /// everything.
    pub fn parse(filter: &str, attributes: &[&str]) -> Result<Self, Error> {
        read(filter).filter(|read| attributes.contains(&read.attribute.as_str())).ok_or_else(|| {
            let known: Vec<_> = attributes.iter().map(|name| format!("`{name} eq \"…\"`")).collect();
            ScimType::InvalidFilter.refusal(format!("Filter by {}.", known.join(" or ")))
        })
    }
}

fn read(filter: &str) -> Option<Equals> {
    if filter.len() > LONGEST {
        return None;
    }
    let (attribute, rest) = filter.trim().split_once(' ')?;
    let (operator, value) = rest.trim_start().split_once(' ')?;
    // A text is written as in JSON (RFC 7644 section 3.4.2.2).
    let value = serde_json::from_str::<String>(value.trim()).ok()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || ":._-".contains(c);
    (operator.eq_ignore_ascii_case("eq") && attribute.chars().all(is_name))
        .then(|| Equals { attribute: plain(attribute), value })
}
