//! SCIM 2.0 (RFC 7643, RFC 7644): what an identity provider sends to have accounts made, changed and ended, read as
//! providers write it.
//!
//! Names of attributes are the same in any capitals (RFC 7643 section 2.1), and what is not kept here is passed over:
//! providers send departments and telephone numbers of everybody.

mod filter;
mod group;
mod patch;
mod selection;
#[cfg(test)]
mod tests;
mod user;

use std::borrow::Cow;

use serde_json::{Map, Value};

pub use filter::Equals;
pub use group::{GroupChange, MemberEdit};
pub use patch::{MOST_OPERATIONS, Operation, Verb, operations};
pub use selection::Selection;
pub use user::{Names, UserChange, UserRequest};

use crate::error::{Error, ErrorKind};
use crate::words;

/// Names attributes of users in full.
pub const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// Names attributes of groups in full.
pub const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// What is wrong with a request, in the protocol's words (RFC 7644 section 3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScimType {
    /// The filter cannot be read, or is by an attribute that nobody is found by.
    InvalidFilter,
    /// More is asked for than is done at a time.
    TooMany,
    /// There is one that is called the same.
    Uniqueness,
    /// The attribute cannot be changed so.
    Mutability,
    /// The body is no JSON, or not of the form that is asked for.
    InvalidSyntax,
    /// The path of a change cannot be read.
    InvalidPath,
    /// The change does not say what it changes.
    NoTarget,
    /// A value is missing, or is none of the attribute's.
    InvalidValue,
}

words!(ScimType {
    InvalidFilter = "invalidFilter",
    TooMany = "tooMany",
    Uniqueness = "uniqueness",
    Mutability = "mutability",
    InvalidSyntax = "invalidSyntax",
    InvalidPath = "invalidPath",
    NoTarget = "noTarget",
    InvalidValue = "invalidValue",
});

impl ScimType {
    /// The refusal of a request for this reason. Its code is the protocol's word.
    #[must_use]
    pub fn refusal(self, message: impl Into<Cow<'static, str>>) -> Error {
        let kind = if self == Self::Uniqueness { ErrorKind::Conflict } else { ErrorKind::Malformed };
        Error::new(kind, self.as_str(), message)
    }
}

/// The value of an attribute, in whatever capitals it is named.
fn get<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A name of an attribute without the schema in front of it, in small letters.
fn plain(path: &str) -> String {
    let lower = path.trim().to_ascii_lowercase();
    let schemas = [USER_SCHEMA, GROUP_SCHEMA].map(str::to_ascii_lowercase);
    let behind = schemas.iter().find_map(|schema| lower.strip_prefix(schema)?.strip_prefix(':'));
    behind.map_or_else(|| lower.clone(), str::to_owned)
}

/// What a request says of an attribute that may have no value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// Nothing: it stays as it is.
    #[default]
    Nothing,
    /// This is its value from now on, or it has none.
    Value(Option<String>),
}

impl Said {
    /// The value afterwards of an attribute that had `before`.
    #[must_use]
    pub fn over(&self, before: Option<&str>) -> Option<String> {
        match self {
            Self::Nothing => before.map(str::to_owned),
            Self::Value(value) => value.clone(),
        }
    }
}

/// The most characters of a text that is kept.
const LONGEST: usize = 256;

fn is_kept(text: &str) -> bool {
    text.chars().count() <= LONGEST && !text.chars().any(char::is_control)
}

/// A text that is kept; none for `null` and the empty one.
fn text(name: &str, value: &Value) -> Result<Option<String>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) if is_kept(text.trim()) => Ok(Some(text.trim().to_owned())),
        _ => Err(ScimType::InvalidValue
            .refusal(format!("`{name}` must be a text of at most {LONGEST} characters."))),
    }
}
