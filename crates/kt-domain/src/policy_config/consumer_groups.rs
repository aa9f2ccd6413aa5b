//! `consumer_groups`: other rules for the holders of some keys.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::AuthMode;
use super::policies::Policies;
use super::rules::Review;
use super::{PolicyConfig, Rates, codes, policies, routes};

/// Other rules for the holders of some keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerGroup {
    /// The group's name in events; unique.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// The ids of the keys whose holders belong to it: of `auth.keys`, or of the control plane's access keys. A key
    /// belongs to one group at most.
    pub keys: Vec<String>,
    /// Which policies judge a request beside those of its path. They come after those, none twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Policies>,
    /// How much all of the group together may ask for.
    #[serde(default, skip_serializing_if = "Rates::is_empty")]
    pub limits: Rates,
    /// How much each key of the group may ask for, in the place of `rate_limits.per_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_key: Option<Rates>,
    /// The targets that its requests may go to, by their ids; without it, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
}

pub(super) fn review(config: &PolicyConfig, review: &mut Review) {
    let groups = &config.consumer_groups;
    let ids = groups.iter().map(|group| group.id.as_str());
    review.unique(ids, |index| format!("consumer_groups[{index}].id"), "give each group a name of its own");
    let mode = config.auth.mode_in_force(review.options.connected);
    if mode == AuthMode::None && !groups.is_empty() {
        let message = "`consumer_groups` has no effect while `auth.mode` is `none`: nobody shows a key";
        review.say(
            &codes::UNKNOWN_NAME,
            "consumer_groups",
            message,
            "write `auth: {mode: static, keys: [...]}`",
        );
    }
    let mut taken = HashSet::new();
    for (index, group) in groups.iter().enumerate() {
        let path = format!("consumer_groups[{index}]");
        for (at, key) in group.keys.iter().enumerate() {
            let path = format!("{path}.keys[{at}]");
            if !taken.insert(key) {
                let message = format!("the key `{key}` belongs to a group already");
                review.say(&codes::REPEATED_ID, &path, message, "keep it in one of them");
            } else if mode == AuthMode::Static && !config.auth.keys.iter().any(|known| known.id == *key) {
                let message = format!("there is no key `{key}`");
                review.say(&codes::UNKNOWN_NAME, &path, message, "name a key by its `id` in `auth.keys`");
            }
        }
        if let Some(policies) = &group.policies {
            policies::review_chain(&policies.chain, &format!("{path}.policies.chain"), review);
        }
        routes::review_targets(&group.targets, &format!("{path}.targets"), config, review);
    }
}
