//! `auth`: how a caller proves who it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::providers::SecretRef;
use super::rules::Review;

/// How a caller proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// `none`, `static` or `access_keys`; by default `none` for a gateway that stands alone, else `access_keys`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<AuthMode>,
    /// The keys of mode `static`.
    pub keys: Vec<StaticKey>,
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Nobody is asked.
    None,
    /// The keys of this configuration.
    Static,
    /// The access keys of the control plane.
    AccessKeys,
}

/// One key of mode `static`. Exactly one of `sha256` and `secret_key_ref` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticKey {
    /// The key's name in events; unique.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// The SHA-256 of the key, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Where the key is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretRef>,
    /// The ranges (CIDR) from which the key may be used; empty means from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_ranges: Vec<String>,
    /// How many requests a minute the key may make; without it, any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<u32>,
}

impl Auth {
    /// The mode in force: the one given, or the default for a gateway that is connected to a control plane or not.
    #[must_use]
    pub fn mode_in_force(&self, connected: bool) -> AuthMode {
        self.mode.unwrap_or(if connected { AuthMode::AccessKeys } else { AuthMode::None })
    }

    pub(super) fn review(&self, review: &mut Review) {
        self.review_mode(review);
        let ids = self.keys.iter().map(|key| key.id.as_str());
        review.unique(ids, |index| format!("auth.keys[{index}].id"), "give each key a name of its own");
        for (index, key) in self.keys.iter().enumerate() {
            key.review(&format!("auth.keys[{index}]"), review);
        }
    }

    fn review_mode(&self, review: &mut Review) {
        let connected = review.options.connected;
        match self.mode_in_force(connected) {
            AuthMode::Static if self.keys.is_empty() => review.say(
                &codes::BAD_AUTH,
                "auth.mode",
                "`auth.mode` is `static` and `auth.keys` is empty: nobody could call",
                "add a key to `auth.keys`",
            ),
            AuthMode::AccessKeys if !connected => review.say(
                &codes::ACCESS_KEYS_ALONE,
                "auth.mode",
                "`auth.mode` is `access_keys`, and a gateway that stands alone knows none",
                "connect the gateway (`--api-url`, `--gateway-token`) or use `mode: static`",
            ),
            AuthMode::None | AuthMode::AccessKeys if !self.keys.is_empty() => review.say(
                &codes::BAD_AUTH,
                "auth.keys",
                "`auth.keys` has no effect unless `auth.mode` is `static`",
                "write `mode: static`, or remove the keys",
            ),
            _ => {}
        }
    }
}

impl StaticKey {
    fn review(&self, path: &str, review: &mut Review) {
        match (&self.sha256, &self.secret_key_ref) {
            (Some(_), Some(_)) => review.say(
                &codes::BAD_KEY_SOURCE,
                path,
                format!("`{path}` has both `sha256` and `secret_key_ref`"),
                "keep one of them",
            ),
            (None, None) => review.say(
                &codes::BAD_KEY_SOURCE,
                path,
                format!("`{path}` has neither `sha256` nor `secret_key_ref`"),
                "add `secret_key_ref: {env: NAME}`, or the key's hash: `printf %s KEY | sha256sum`"
                    .to_owned(),
            ),
            _ => {}
        }
        if let Some(hash) = self.sha256.as_deref().filter(|hash| !is_sha256(hash)) {
            // What stands here may be a key by mistake, so it is not repeated.
            let suggestion = match hash.to_ascii_lowercase() {
                lower if is_sha256(&lower) => "write it in lower case",
                _ => "write what `printf %s KEY | sha256sum` prints",
            };
            let message = format!("`{path}.sha256` must be 64 hexadecimal digits in lower case");
            review.say(&codes::OUT_OF_RANGE, &format!("{path}.sha256"), message, suggestion);
        }
        if let Some(secret) = &self.secret_key_ref {
            secret.review(&format!("{path}.secret_key_ref"), review);
        }
        review.ranges(&format!("{path}.allowed_ranges"), &self.allowed_ranges);
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
