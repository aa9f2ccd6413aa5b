//! Changes of a part (RFC 7644 section 3.5.2).

use serde_json::{Map, Value};

use super::{get, plain, refused};
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
    /// What the condition in brackets asks `value` to equal, as in `members[value eq "…"]`.
    pub among: Option<String>,
    /// With what.
    pub value: Value,
}

/// How many changes one request makes at most.
pub const MOST_OPERATIONS: usize = 1000;

/// Reads the changes of a request, in order. One without a path is read as one for each attribute of its value, as Okta
/// and Entra ID send them.
pub fn operations(body: &Value) -> Result<Vec<Operation>, Error> {
    let unreadable =
        || refused("invalid_syntax", "Send `Operations`, a list of objects with `op`, `path` and `value`.");
    let body = body.as_object().ok_or_else(unreadable)?;
    let list = get(body, "operations").and_then(Value::as_array).ok_or_else(unreadable)?;
    if list.len() > MOST_OPERATIONS {
        return Err(refused("too_many", format!("Send at most {MOST_OPERATIONS} operations at a time.")));
    }
    let mut operations = Vec::new();
    for operation in list {
        let operation = operation.as_object().ok_or_else(unreadable)?;
        read(operation, unreadable, &mut operations)?;
    }
    Ok(operations)
}

fn read(
    operation: &Map<String, Value>,
    unreadable: impl Fn() -> Error,
    operations: &mut Vec<Operation>,
) -> Result<(), Error> {
    let op = get(operation, "op").and_then(Value::as_str).ok_or_else(&unreadable)?;
    let verb = match op.to_ascii_lowercase().as_str() {
        "add" => Verb::Add,
        "replace" => Verb::Replace,
        "remove" => Verb::Remove,
        _ => return Err(refused("invalid_syntax", "`op` is `add`, `replace` or `remove`.")),
    };
    let value = get(operation, "value").cloned().unwrap_or_default();
    let path = get(operation, "path").and_then(Value::as_str).filter(|path| !path.trim().is_empty());
    let Some(path) = path else {
        let Value::Object(attributes) = value else {
            let message = "Without a `path`, `value` must be an object of attributes.";
            return Err(refused("no_target", message));
        };
        if verb == Verb::Remove {
            return Err(refused("no_target", "`remove` needs a `path`."));
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

/// An attribute, and the condition on its `value`. A condition on something else, as in `emails[type eq "work"]`, stays a
/// part of the path.
fn target(path: &str) -> Result<(String, Option<String>), Error> {
    let Some((attribute, rest)) = path.split_once('[') else { return Ok((plain(path), None)) };
    let bad = || refused("invalid_path", "Write a path such as `active` or `members[value eq \"…\"]`.");
    let (condition, behind) = rest.split_once(']').ok_or_else(bad)?;
    let mut words = condition.trim().splitn(3, ' ');
    let (name, operator, value) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let value = serde_json::from_str::<String>(value.trim()).map_err(|_| bad())?;
    if !operator.eq_ignore_ascii_case("eq") {
        return Err(bad());
    }
    if name.eq_ignore_ascii_case("value") && behind.is_empty() {
        return Ok((plain(attribute), Some(value)));
    }
    Ok((format!("{}[]{}", plain(attribute), behind.to_ascii_lowercase()), None))
}
