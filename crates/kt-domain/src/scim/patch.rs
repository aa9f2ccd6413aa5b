//! Changes of a part (RFC 7644 section 3.5.2).

use serde_json::Value;

use super::{Equals, ScimType, get, plain};
use crate::error::Error;

/// What is done to an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It gets a value, beside those it has where it takes several.
    Add,
    /// It gets a value in place of what it has.
    Replace,
    /// It gets none.
    Remove,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// What is done.
    pub verb: Verb,
    /// To which attribute, in small letters, without its schema.
    pub path: String,
    /// Which of its members is meant, as in `members[value eq "…"]`.
    pub among: Option<String>,
    /// With what.
    pub value: Value,
}

/// How many changes one request makes at most.
pub const MOST_OPERATIONS: usize = 1000;

/// Reads the changes of a request, in order. One without a path is read as one for each attribute of its value, as Okta
/// and Entra ID send them.
pub fn operations(body: &Value) -> Result<Vec<Operation>, Error> {
    let list = list(body).ok_or_else(unreadable)?;
    if list.len() > MOST_OPERATIONS {
        return Err(
            ScimType::TooMany.refusal(format!("Send at most {MOST_OPERATIONS} operations at a time."))
        );
    }
    let mut operations = Vec::new();
    for operation in list {
        read(operation, &mut operations)?;
    }
    Ok(operations)
}

/// Those changes of a request that can be read, in order, however many there are.
pub(super) fn readable(body: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for operation in list(body).into_iter().flatten() {
        // What cannot be read is told by whoever needs all of them.
        let _ = read(operation, &mut operations);
    }
    operations
}

fn list(body: &Value) -> Option<&Vec<Value>> {
    get(body.as_object()?, "operations")?.as_array()
}

fn unreadable() -> Error {
    ScimType::InvalidSyntax.refusal("Send `Operations`, a list of objects with `op`, `path` and `value`.")
}

fn read(operation: &Value, operations: &mut Vec<Operation>) -> Result<(), Error> {
    let operation = operation.as_object().ok_or_else(unreadable)?;
    let op = get(operation, "op").and_then(Value::as_str).ok_or_else(unreadable)?;
    let verb = match op.to_ascii_lowercase().as_str() {
        "add" => Verb::Add,
        "replace" => Verb::Replace,
        "remove" => Verb::Remove,
        _ => return Err(ScimType::InvalidSyntax.refusal("`op` is `add`, `replace` or `remove`.")),
    };
    let value = get(operation, "value").cloned().unwrap_or_default();
    let path = get(operation, "path").and_then(Value::as_str).filter(|path| !path.trim().is_empty());
    let Some(path) = path else {
        let Value::Object(attributes) = value else {
            let message = "Without a `path`, `value` must be an object of attributes.";
            return Err(ScimType::NoTarget.refusal(message));
        };
        if verb == Verb::Remove {
            return Err(ScimType::NoTarget.refusal("`remove` needs a `path`."));
        }
        operations.extend(attributes.into_iter().map(|(name, value)| Operation {
            verb,
            path: plain(&name),
            among: None,
            value,
        }));
        return Ok(());
    };
    let (path, among) = target(path)?;
    operations.push(Operation { verb, path, among, value });
    Ok(())
}

/// An attribute, and which of the members of a group is meant. A condition on something else, as in
/// `emails[type eq "work"].value`, stays a part of the path: nothing of that kind is kept here.
fn target(path: &str) -> Result<(String, Option<String>), Error> {
    let (attribute, condition) = path.split_once('[').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let attribute = plain(attribute);
    let Some(condition) = condition else { return Ok((attribute, None)) };
    if attribute != "members" {
        return Ok((format!("{attribute}[{condition}"), None));
    }
    let read = condition.strip_suffix(']').and_then(|condition| Equals::parse(condition, &["value"]).ok());
    let bad = || ScimType::InvalidPath.refusal("Write a path such as `active` or `members[value eq \"…\"]`.");
    Ok((attribute, Some(read.ok_or_else(bad)?.value)))
}
