//! Reading JSON whose shape the other side chose.

use serde_json::{Map, Value};

use crate::reply::Refusal;

pub(super) type Object = Map<String, Value>;

/// Copies `name` under another name, if it is there and not null.
pub(super) fn copy(from: &Value, name: &str, to: &mut Object, as_name: &str) {
    if let Some(value) = from.get(name).filter(|value| !value.is_null()) {
        to.insert(as_name.to_owned(), value.clone());
    }
}

/// An array, or nothing.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text, or an empty one.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What cannot be said in the words of the provider's API.
pub(super) fn untranslatable(param: impl Into<Box<str>>, why: &str) -> Refusal {
    let param = param.into();
    let message = format!(
        "`{param}` cannot be translated for the provider that serves this model: {why}. Leave it out, or ask for a model \
         whose provider speaks this API."
    );
    Refusal::invalid(422, "untranslatable", message).with_param(param)
}

/// What is not as its API says.
pub(super) fn unreadable(param: &str) -> Refusal {
    Refusal::invalid(422, "validation_error", format!("`{param}` is not as the API says it should be."))
        .with_param(param)
}
