//! Groups, as providers write them.

use serde_json::Value;

use super::{Operation, Said, ScimType, Verb, get, text};
use crate::error::Error;
use crate::id::UserId;

/// What a provider says of a group. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// What it is called: what roles are given by.
    pub display_name: Option<String>,
    /// What the provider itself calls it.
    pub external_id: Said,
    /// Who belongs to it, in order.
    pub members: Vec<MemberEdit>,
}

/// A change of who belongs to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEdit {
    /// These too.
    Add(Vec<UserId>),
    /// These no more.
    Remove(Vec<UserId>),
    /// These alone.
    Set(Vec<UserId>),
}

impl GroupChange {
    /// Reads a whole group, of `POST` and `PUT`: without `members` it has none.
    pub fn of_resource(body: &Value) -> Result<Self, Error> {
        let unreadable = || ScimType::InvalidSyntax.refusal("Send a group as a JSON object.");
        let body = body.as_object().ok_or_else(unreadable)?;
        let mut change = Self::default();
        for (name, value) in body {
            change.set(&super::plain(name), value)?;
        }
        if change.display_name.is_none() {
            return Err(
                ScimType::InvalidValue.refusal("`displayName` is missing: send what the group is called.")
            );
        }
        if get(body, "members").is_none() {
            change.members.push(MemberEdit::Set(Vec::new()));
        }
        Ok(change)
    }

    /// Reads the changes of `PATCH`.
    pub fn of_operations(operations: &[Operation]) -> Result<Self, Error> {
        let mut change = Self::default();
        for Operation { verb, path, among, value } in operations {
            match (path.as_str(), verb, among) {
                ("members", Verb::Add | Verb::Replace, Some(_)) => return Err(not_in_one_member()),
                ("members", Verb::Add, None) => change.members.push(MemberEdit::Add(members(value)?)),
                ("members", Verb::Remove, Some(one)) => {
                    change.members.push(MemberEdit::Remove(vec![member(one)?]));
                }
                ("members", Verb::Remove, None) if value.is_null() => {
                    change.members.push(MemberEdit::Set(Vec::new()));
                }
                ("members", Verb::Remove, None) => change.members.push(MemberEdit::Remove(members(value)?)),
                ("displayname", Verb::Remove, _) => {
                    return Err(ScimType::Mutability.refusal("`displayName` always has a value; replace it."));
                }
                (path, Verb::Remove, _) => change.set(path, &Value::Null)?,
                (path, _, _) => change.set(path, value)?,
            }
        }
        Ok(change)
    }

    fn set(&mut self, path: &str, value: &Value) -> Result<(), Error> {
        match path {
            "displayname" => match text("displayName", value)? {
                Some(name) => self.display_name = Some(name),
                None => return Err(ScimType::InvalidValue.refusal("`displayName` must not be empty.")),
            },
            "externalid" => self.external_id = Said::Value(text("externalId", value)?),
            "members" => self.members.push(MemberEdit::Set(members(value)?)),
            // Not kept here.
            _ => {}
        }
        Ok(())
    }
}

fn members(value: &Value) -> Result<Vec<UserId>, Error> {
    let one = |value: &Value| {
        let named = value.as_object().and_then(|object| get(object, "value")).unwrap_or(value);
        named.as_str().map_or_else(|| Err(no_member()), member)
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn member(id: &str) -> Result<UserId, Error> {
    id.parse().map_err(|_| no_member())
}

/// A value in the place of one member would be read as all of them (RFC 7644 section 3.5.2.3), and a member is nothing
/// but its `value`, which never changes.
fn not_in_one_member() -> Error {
    let message = "A member has nothing that could be changed. Send `remove` with `members[value eq \"…\"]` and `add` with \
                   `members`.";
    ScimType::InvalidPath.refusal(message)
}

fn no_member() -> Error {
    ScimType::InvalidValue.refusal("Each of `members` must have the `id` of a user as its `value`.")
}
