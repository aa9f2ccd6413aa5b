//! `data-routing-policy`: where which data may go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy_config::rules::Review;
use crate::policy_config::suggest::{closest, did_you_mean};
use crate::policy_config::{PolicyConfig, codes};

/// `data-routing-policy`: which models and targets a request may use, by its key and group and by what earlier policies
/// of the chain found in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataRouting {
    /// The rules. A request must keep each one that applies to it; where none applies it may go anywhere.
    pub rules: Vec<RoutingRule>,
    /// Whether it only records what it would have done.
    pub dry_run: bool,
}

/// One rule: to what it applies, and what it then allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutingRule {
    /// Its name in events.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// It applies to requests with one of these keys; empty means with any and with none.
    #[serde(default)]
    pub keys: Vec<String>,
    /// It applies to requests of these consumer groups; empty means of any and of none.
    #[serde(default)]
    pub groups: Vec<String>,
    /// It applies to requests in which an earlier policy of the chain found one of these: names of rules, such as `card`,
    /// or kinds of policies, such as `pii-detector`. Empty means to all.
    #[serde(default)]
    pub data: Vec<String>,
    /// The models that may be asked for, with `*` at the end for every name that begins so. Empty means any.
    #[serde(default)]
    pub models: Vec<String>,
    /// The targets that may be used, by their `id`. Empty means any.
    #[serde(default)]
    pub targets: Vec<String>,
}

impl DataRouting {
    pub(super) fn review(&self, config: &PolicyConfig, review: &mut Review) {
        if self.rules.is_empty() {
            review.say(
                &codes::IDLE_POLICY,
                "policy.data-routing-policy.rules",
                "there are no rules, so every request may go anywhere",
                "add a rule",
            );
        }
        let names = self.rules.iter().map(|rule| rule.name.as_str());
        let path = |index: usize| format!("policy.data-routing-policy.rules[{index}]");
        review.unique(names, |index| format!("{}.name", path(index)), "give each rule a name of its own");
        for (index, rule) in self.rules.iter().enumerate() {
            rule.review(&path(index), config, review);
        }
    }
}

impl RoutingRule {
    fn review(&self, path: &str, config: &PolicyConfig, review: &mut Review) {
        if self.models.is_empty() && self.targets.is_empty() {
            let message = "the rule allows every model and every target";
            review.say(&codes::IDLE_POLICY, path, message, "name the `models` or `targets` that it allows");
        }
        let ids = || config.providers.targets.iter().map(|target| target.id.as_str());
        for (index, target) in self.targets.iter().enumerate() {
            review_name(&format!("{path}.targets[{index}]"), "target", target, ids(), review);
        }
        let groups = || config.consumer_groups.iter().map(|group| group.id.as_str());
        for (index, group) in self.groups.iter().enumerate() {
            review_name(&format!("{path}.groups[{index}]"), "consumer group", group, groups(), review);
        }
    }
}

/// Reports a name that is none of those that there are.
fn review_name<'n>(
    path: &str,
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'n str> + Clone,
    review: &mut Review,
) {
    if !known.clone().any(|own| own == name) {
        let suggestion =
            closest(name, known).map_or_else(|| format!("name a {kind} by its `id`"), did_you_mean);
        review.say(&codes::UNKNOWN_NAME, path, format!("there is no {kind} `{name}`"), suggestion);
    }
}
