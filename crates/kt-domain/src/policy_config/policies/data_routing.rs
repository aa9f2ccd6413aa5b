//! `data-routing-policy`: where which data may go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Entity, INJECTION_RULES, Phase, Policies, PolicySettings};
use crate::policy_config::auth::AuthMode;
use crate::policy_config::rules::Review;
use crate::policy_config::suggest::{closest, did_you_mean};
use crate::policy_config::{PolicyConfig, codes};

/// The kinds of policy that find something in requests.
const FINDERS: [&str; 3] = ["pii-detector", "dlp-filter", "prompt-injection"];

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
        if config.auth.mode_in_force(review.options.connected) == AuthMode::Static {
            let keys = || config.auth.keys.iter().map(|key| key.id.as_str());
            for (index, key) in self.keys.iter().enumerate() {
                review_name(&format!("{path}.keys[{index}]"), "key", key, keys(), review);
            }
        }
        self.review_data(&format!("{path}.data"), config, review);
    }

    /// Reports data that nothing finds: at all, or before this policy in some chain.
    fn review_data(&self, path: &str, config: &PolicyConfig, review: &mut Review) {
        let known = all_data(&config.policy);
        let mut is_known = true;
        for (index, name) in self.data.iter().enumerate().filter(|(_, name)| !known.contains(&name.as_str()))
        {
            is_known = false;
            let message = format!("no policy finds `{name}`");
            review.say(&codes::UNKNOWN_NAME, &format!("{path}[{index}]"), message, data_meant(name, &known));
        }
        if self.data.is_empty() || !is_known {
            return;
        }
        if let Some(chain) = chains(config).into_iter().find(|chain| self.is_idle_in(chain, &config.policy)) {
            let message = format!("in {} no earlier policy finds any of this in requests", chain.name);
            let suggestion = "put the policy that finds it before `data-routing-policy`";
            review.say(&codes::IDLE_RULE, path, message, suggestion);
        }
    }

    /// Whether the rule is for requests of a chain and never applies to any.
    fn is_idle_in(&self, chain: &Chain<'_>, policy: &PolicySettings) -> bool {
        let is_for = self.groups.is_empty()
            || chain.group.is_some_and(|group| self.groups.iter().any(|own| own == group));
        let place = chain.kinds.iter().position(|kind| *kind == "data-routing-policy");
        let Some(place) = place.filter(|_| is_for) else { return false };
        let found: Vec<&str> = chain.kinds[..place].iter().flat_map(|kind| data_of(kind, policy)).collect();
        !self.data.iter().any(|name| found.contains(&name.as_str()))
    }
}

/// A chain by which some requests are judged.
struct Chain<'c> {
    /// What it is called in a finding.
    name: String,
    /// The consumer group of those requests.
    group: Option<&'c str>,
    kinds: Vec<&'c str>,
}

/// Every chain: a route's takes the place of the usual one, a group's comes after either.
fn chains(config: &PolicyConfig) -> Vec<Chain<'_>> {
    let of_routes = config
        .routes
        .iter()
        .filter_map(|route| Some((format!("the chain of route `{}`", route.id), route.policies.as_ref()?)));
    let mut chains = Vec::new();
    for (name, policies) in
        std::iter::once(("`policies.chain`".to_owned(), &config.policies)).chain(of_routes)
    {
        let kinds: Vec<&str> = policies.chain.iter().map(String::as_str).collect();
        for group in &config.consumer_groups {
            let own = group.policies.iter().flat_map(|Policies { chain }| chain).map(String::as_str);
            let own = own.filter(|kind| !kinds.contains(kind));
            chains.push(Chain {
                name: format!("{name} with that of group `{}`", group.id),
                group: Some(&group.id),
                kinds: kinds.iter().copied().chain(own).collect(),
            });
        }
        chains.push(Chain { name, group: None, kinds });
    }
    chains
}

/// The names that stand for what a kind of policy finds in requests with these settings.
fn data_of<'c>(kind: &'c str, policy: &'c PolicySettings) -> Vec<&'c str> {
    let (phases, mut names) = match kind {
        "pii-detector" => {
            let settings = policy.pii_detector.clone().unwrap_or_default();
            let rules = settings.entities.into_iter().flat_map(Entity::rules).copied().collect();
            (settings.phases, rules)
        }
        "dlp-filter" => {
            let phases = policy.dlp_filter.as_ref().map(|settings| settings.phases.clone());
            (phases.unwrap_or_default(), own_names(policy))
        }
        "prompt-injection" => (vec![Phase::Request], INJECTION_RULES.to_vec()),
        _ => return Vec::new(),
    };
    if !phases.contains(&Phase::Request) {
        return Vec::new();
    }
    names.push(kind);
    names
}

/// The names of an organization's own patterns and words.
fn own_names(policy: &PolicySettings) -> Vec<&str> {
    let settings = policy.dlp_filter.as_ref();
    let patterns = settings.into_iter().flat_map(|own| &own.patterns).map(|own| own.name.as_str());
    let words = settings.into_iter().flat_map(|own| &own.dictionaries).map(|own| own.name.as_str());
    patterns.chain(words).collect()
}

/// Every name that could stand for something found.
fn all_data(policy: &PolicySettings) -> Vec<&str> {
    let mut names = own_names(policy);
    names.extend(FINDERS);
    for entity in Entity::ALL {
        names.extend_from_slice(entity.rules());
    }
    names.extend(INJECTION_RULES);
    names
}

/// What somebody should write who wrote a name that stands for nothing.
fn data_meant(name: &str, known: &[&str]) -> String {
    let rules = match name {
        "national-id" => Entity::NationalId.rules(),
        "secret" => Entity::Secret.rules(),
        _ => {
            return closest(name, known.iter().copied())
                .map_or_else(|| "name a rule, such as `card`, or a kind of policy".into(), did_you_mean);
        }
    };
    format!("name its rules: `{}`", rules.join("`, `"))
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
