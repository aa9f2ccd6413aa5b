//! `pack`: who made a configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::rules::Review;

/// The name, version and state of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pack {
    /// A name for people, 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// The configuration's version, by Semantic Versioning 2.0.0.
    pub version: String,
    /// Whether the gateway answers at all; `false` answers every request 503 `pack_disabled`.
    pub enabled: bool,
}

impl Default for Pack {
    fn default() -> Self {
        Self { name: "unnamed".into(), version: "0.0.0".into(), enabled: true }
    }
}

impl Pack {
    pub(super) fn review(&self, review: &mut Review) {
        if let Err(error) = semver::Version::parse(&self.version) {
            let message =
                format!("`pack.version` is `{}`, which is no semantic version: {error}", self.version);
            let suggestion = version_meant(&self.version)
                .map_or_else(|| "write it like `1.0.0`".into(), |version| format!("write `{version}`"));
            review.say(&codes::BAD_PACK_VERSION, "pack.version", message, suggestion);
        }
    }
}

/// The version that `v1.2`, `1` and the like stand for.
fn version_meant(text: &str) -> Option<semver::Version> {
    let numbers = text.trim().trim_start_matches(['v', 'V']);
    ["", ".0", ".0.0"].iter().find_map(|rest| semver::Version::parse(&format!("{numbers}{rest}")).ok())
}
