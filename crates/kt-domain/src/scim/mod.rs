//! SCIM 2.0 (RFC 7643, RFC 7644): what an identity provider sends to have accounts made, changed and ended, read as
//! providers write it.
//!
//! Names of attributes are the same in any capitals (RFC 7643 section 2.1), and what is not kept here is passed over:
//! providers send departments and telephone numbers to everybody.

mod filter;
mod group;
mod patch;
#[cfg(test)]
mod tests;
mod user;

use serde_json::{Map, Value};

pub use filter::Equals;
pub use group::{GroupChange, MemberEdit};
pub use patch::{MOST_OPERATIONS, Operation, Verb, operations};
pub use user::{Names, UserChange};

use crate::error::{Error, ErrorKind};

/// Names attributes of users in full.
pub const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// Names attributes of groups in full.
pub const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// Something that cannot be done as it was sent, in the words of RFC 7644 section 3.12.
fn refused(code: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, code, message.into())
}

fn invalid_value(message: impl Into<String>) -> Error {
    refused("invalid_value", message)
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

/// The most characters of a text that is kept.
const LONGEST: usize = 256;

/// A text that is kept; none for `null` and the empty one.
fn text(name: &str, value: &Value) -> Result<Option<String>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) if text.chars().count() <= LONGEST && !text.chars().any(char::is_control) => {
            Ok(Some(text.trim().to_owned()))
        }
        _ => Err(invalid_value(format!("`{name}` must be a text of at most {LONGEST} characters."))),
    }
}
