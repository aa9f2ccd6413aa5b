//! Users, as providers write them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::patch::readable;
use super::{Operation, Said, ScimType, Verb, get, operations, plain, text};
use crate::error::Error;

/// The parts of a name, as far as the provider has sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// What somebody is called as a whole.
    pub display: Option<String>,
    /// The same, put together by the provider.
    pub formatted: Option<String>,
    /// The given name.
    pub given: Option<String>,
    /// The family name.
    pub family: Option<String>,
}

/// What a provider says of a user. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The name to sign in with: an address of mail.
    pub user_name: Option<String>,
    /// What the provider itself calls them.
    pub external_id: Said,
    /// Whether they may come in.
    pub active: Option<bool>,
    display: Said,
    formatted: Said,
    given: Said,
    family: Said,
}

impl UserChange {
    /// Reads a whole user, of `POST` and `PUT`. What it lacks stays as it is, `active` among it: who says nothing about
    /// somebody's access neither gives nor takes it.
    pub fn of_resource(body: &Value) -> Result<Self, Error> {
        let unreadable = || ScimType::InvalidSyntax.refusal("Send a user as a JSON object.");
        let body = body.as_object().ok_or_else(unreadable)?;
        let mut change = Self::default();
        for (name, value) in body {
            change.set(&plain(name), value)?;
        }
        if change.user_name.is_none() {
            return Err(
                ScimType::InvalidValue.refusal("`userName` is missing: send the address to sign in with.")
            );
        }
        Ok(change)
    }

    /// Reads the changes of `PATCH`, the later ones in place of the earlier.
    pub fn of_operations(operations: &[Operation]) -> Result<Self, Error> {
        let mut change = Self::default();
        for operation in operations {
            match operation.verb {
                Verb::Add | Verb::Replace => change.set(&operation.path, &operation.value)?,
                Verb::Remove if matches!(operation.path.as_str(), "username" | "active") => {
                    let message = format!("`{}` always has a value; replace it.", operation.path);
                    return Err(ScimType::Mutability.refusal(message));
                }
                Verb::Remove => change.set(&operation.path, &Value::Null)?,
            }
        }
        Ok(change)
    }

    fn set(&mut self, path: &str, value: &Value) -> Result<(), Error> {
        match path {
            "username" => match text("userName", value)? {
                Some(name) => self.user_name = Some(name),
                None => return Err(ScimType::InvalidValue.refusal("`userName` must not be empty.")),
            },
            "externalid" => self.external_id = Said::Value(text("externalId", value)?),
            "active" => self.active = Some(truth(value)?),
            "displayname" => self.display = Said::Value(text("displayName", value)?),
            "name.formatted" => self.formatted = Said::Value(text("name.formatted", value)?),
            "name.givenname" => self.given = Said::Value(text("name.givenName", value)?),
            "name.familyname" => self.family = Said::Value(text("name.familyName", value)?),
            "name" => {
                let none = serde_json::Map::new();
                let parts = value.as_object().unwrap_or(&none);
                for part in ["formatted", "givenname", "familyname"] {
                    if value.is_null() || get(parts, part).is_some() {
                        self.set(&format!("name.{part}"), get(parts, part).unwrap_or(&Value::Null))?;
                    }
                }
            }
            // Not kept here.
            _ => {}
        }
        Ok(())
    }

    /// The names that somebody has afterwards who had `names`.
    #[must_use]
    pub fn names_after(&self, names: &Names) -> Names {
        Names {
            display: self.display.over(names.display.as_deref()),
            formatted: self.formatted.over(names.formatted.as_deref()),
            given: self.given.over(names.given.as_deref()),
            family: self.family.over(names.family.as_deref()),
        }
    }
}

impl Names {
    /// What somebody is called; nothing where the provider has sent no name.
    #[must_use]
    pub fn whole(&self) -> Option<String> {
        let parts = [&self.given, &self.family].map(Option::as_deref);
        let joined = || parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let whole = self.display.clone().or_else(|| self.formatted.clone()).unwrap_or_else(joined);
        Some(whole).filter(|whole| !whole.is_empty())
    }
}

/// A request to change a user. The end of somebody's access is read by itself, so that nothing stands in its way that is
/// sent besides and cannot be read.
#[derive(Debug)]
pub struct UserRequest {
    /// Whether it ends somebody's access.
    pub ends_access: bool,
    /// All that it says, or why that cannot be read.
    pub change: Result<UserChange, Error>,
}

impl UserRequest {
    /// Reads a `PUT`: a whole user.
    #[must_use]
    pub fn of_resource(body: &Value) -> Self {
        let attributes = body.as_object().into_iter().flatten();
        let active = attributes.filter(|(name, _)| plain(name) == "active").map(|(_, value)| value);
        Self { ends_access: ends_access(active), change: UserChange::of_resource(body) }
    }

    /// Reads a `PATCH`: a list of changes.
    #[must_use]
    pub fn of_operations(body: &Value) -> Self {
        let readable = readable(body);
        let active = readable.iter().filter(|operation| {
            operation.path == "active" && matches!(operation.verb, Verb::Add | Verb::Replace)
        });
        let ends_access = ends_access(active.map(|operation| &operation.value));
        let change = operations(body).and_then(|operations| UserChange::of_operations(&operations));
        Self { ends_access, change }
    }
}

/// Whether the last of these values of `active` that can be read is `false`.
fn ends_access<'v>(active: impl Iterator<Item = &'v Value>) -> bool {
    active.filter_map(|value| truth(value).ok()).last() == Some(false)
}

/// `true` and `false` as providers write them: Entra ID sends `"False"`, some wrap it as the value of a list.
fn truth(value: &Value) -> Result<bool, Error> {
    let inner = match value {
        Value::Array(list) if list.len() == 1 => list[0].get("value").unwrap_or(&list[0]),
        Value::Object(object) => get(object, "value").unwrap_or(value),
        value => value,
    };
    match inner {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ScimType::InvalidValue.refusal("`active` must be true or false.")),
    }
}
