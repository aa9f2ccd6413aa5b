//! What of a resource an answer holds (RFC 7644 section 3.9).

use serde_json::{Map, Value};

use super::{ScimType, plain};
use crate::error::Error;

/// The attributes that are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All.
    #[default]
    All,
    /// These alone, in small letters, without their schema; `name.familyname` is a part of `name`.
    Only(Vec<String>),
    /// All but these.
    Without(Vec<String>),
}

/// Attributes that every answer holds (RFC 7643 section 3.1: `returned` is `always`).
const ALWAYS: [&str; 2] = ["schemas", "id"];

impl Selection {
    /// Reads the lists of a request, with commas between the names. At most one of them may be given.
    pub fn read(attributes: Option<&str>, excluded: Option<&str>) -> Result<Self, Error> {
        let names = |list: &str| list.split(',').map(plain).filter(|name| !name.is_empty()).collect();
        match (attributes, excluded) {
            (None, None) => Ok(Self::All),
            (Some(list), None) => Ok(Self::Only(names(list))),
            (None, Some(list)) => Ok(Self::Without(names(list))),
            (Some(_), Some(_)) => {
                Err(ScimType::InvalidValue
                    .refusal("Give `attributes` or `excludedAttributes`, and not both."))
            }
        }
    }

    /// Whether anything was said of what is asked for.
    #[must_use]
    pub fn is_said(&self) -> bool {
        *self != Self::All
    }

    /// Whether an attribute, or a part of it, is asked for.
    #[must_use]
    pub fn asks_for(&self, attribute: &str) -> bool {
        let is_part = |name: &String| name.strip_prefix(attribute).is_some_and(|rest| rest.starts_with('.'));
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name == attribute || is_part(name)),
            Self::Without(names) => names.iter().all(|name| name != attribute),
        }
    }

    /// Takes out of a resource what is not asked for.
    pub fn apply(&self, resource: &mut Value) {
        if let Value::Object(attributes) = resource {
            attributes.retain(|name, value| ALWAYS.contains(&name.as_str()) || self.keeps(name, value));
        }
    }

    fn keeps(&self, name: &str, value: &mut Value) -> bool {
        let name = name.to_ascii_lowercase();
        let part = |part: &str| format!("{name}.{}", part.to_ascii_lowercase());
        match self {
            Self::All => true,
            Self::Only(names) => {
                names.contains(&name) || retain_parts(value, &|key| names.contains(&part(key)))
            }
            Self::Without(names) => {
                let is_kept = !names.contains(&name);
                if is_kept {
                    retain_parts(value, &|key| !names.contains(&part(key)));
                }
                is_kept
            }
        }
    }
}

/// Takes parts out of a complex attribute, or of each of its values; tells whether any is left.
fn retain_parts(value: &mut Value, is_kept: &dyn Fn(&str) -> bool) -> bool {
    let narrow = |parts: &mut Map<String, Value>| {
        parts.retain(|key, _| is_kept(key));
        !parts.is_empty()
    };
    match value {
        Value::Object(parts) => narrow(parts),
        Value::Array(values) => {
            values
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .filter_map(|parts| narrow(parts).then_some(()))
                .count()
                > 0
        }
        _ => false,
    }
}
