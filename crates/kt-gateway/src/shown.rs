//! What is told of a configuration to people who may look at it.

use kt_domain::policy_config::PolicyConfig;
use serde_json::{Value, json};

/// What stands in the place of what could help a thief.
const COVER: &str = "***";

/// A configuration with the digests of keys and the values of added headers covered.
pub(crate) fn configuration(config: &PolicyConfig) -> Value {
    let mut shown = json!(config);
    for key in members(&mut shown, "/auth/keys") {
        if let Some(digest) = key.get_mut("sha256") {
            *digest = COVER.into();
        }
    }
    for target in members(&mut shown, "/providers/targets") {
        let headers = target.get_mut("headers").and_then(Value::as_object_mut);
        for value in headers.into_iter().flat_map(|headers| headers.values_mut()) {
            *value = COVER.into();
        }
    }
    shown
}

fn members<'v>(shown: &'v mut Value, list: &str) -> impl Iterator<Item = &'v mut Value> {
    shown.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}
