//! `data-routing-policy`: where which data may go.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Entity, INJECTION_RULES, Phase, PolicySettings};
use crate::policy_config::auth::AuthMode;
use crate::policy_config::rules::Review;
use crate::policy_config::suggest::{closest, did_you_mean};
use crate::policy_config::{PolicyConfig, codes};

/// Its name in a chain.
const KIND: &str = "data-routing-policy";

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
        let data = FoundData::of(config);
        for (index, rule) in self.rules.iter().enumerate() {
            rule.review(&path(index), config, &data, review);
        }
    }
}

impl RoutingRule {
    fn review(&self, path: &str, config: &PolicyConfig, data: &FoundData<'_>, review: &mut Review) {
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
        self.review_data(&format!("{path}.data"), data, review);
    }

    /// Reports data that nothing finds: at all, or before this policy in some chain.
    fn review_data(&self, path: &str, data: &FoundData<'_>, review: &mut Review) {
        let mut is_known = true;
        for (index, name) in self.data.iter().enumerate().filter(|(_, name)| !data.is_known(name)) {
            is_known = false;
            if !review.has_room_for(&codes::UNKNOWN_NAME) {
                return;
            }
            let message = format!("no policy finds `{name}`");
            let suggestion = data_meant(name, &data.known);
            review.say(&codes::UNKNOWN_NAME, &format!("{path}[{index}]"), message, suggestion);
        }
        if self.data.is_empty() || !is_known {
            return;
        }
        let finds = data.that_find(&self.data);
        let is_idle = |way: &&Way<'_>| !way.finders.iter().any(|finder| finds[*finder]);
        if let Some(way) = data.ways(&self.groups).find(is_idle) {
            let message = format!("in {} no earlier policy finds any of this in requests", way.name());
            let suggestion = "put the policy that finds it before `data-routing-policy`";
            review.say(&codes::IDLE_RULE, path, message, suggestion);
        }
    }
}

/// What is found in requests before this policy has its turn. Of the chains by which requests are judged there are as many as
/// routes times groups, and few that differ in this.
struct FoundData<'c> {
    /// Every name that could stand for something found.
    known: Vec<&'c str>,
    /// What each of [`FINDERS`] finds.
    of_finders: [HashSet<&'c str>; FINDERS.len()],
    /// Those that differ of all ways to this policy.
    everywhere: Vec<Way<'c>>,
    /// Those of the requests of each consumer group.
    of_groups: HashMap<&'c str, Vec<Way<'c>>>,
}

/// A chain up to this policy.
#[derive(Clone)]
struct Way<'c> {
    /// The route whose chain it begins with; `None` for the usual one.
    route: Option<&'c str>,
    /// The consumer group whose chain it goes on with.
    group: Option<&'c str>,
    /// The places in [`FINDERS`] of what comes before, in order.
    finders: Vec<usize>,
}

impl Way<'_> {
    /// What its chain is called in a finding.
    fn name(&self) -> String {
        let base = self
            .route
            .map_or_else(|| "`policies.chain`".to_owned(), |route| format!("the chain of route `{route}`"));
        self.group.map_or_else(|| base.clone(), |group| format!("{base} with that of group `{group}`"))
    }
}

impl<'c> FoundData<'c> {
    fn of(config: &'c PolicyConfig) -> Self {
        let of_finders = FINDERS.map(|kind| data_of(kind, &config.policy).into_iter().collect());
        let bases = bases(config);
        let mut data = Self {
            known: all_data(&config.policy),
            of_finders,
            everywhere: Vec::new(),
            of_groups: HashMap::new(),
        };
        add_new(&mut data.everywhere, &ways(&bases, None, &[]));
        for group in &config.consumer_groups {
            let own: Vec<&str> = group.policies.iter().flat_map(|own| steps(&own.chain)).collect();
            let ways = ways(&bases, Some(group.id.as_str()), &own);
            add_new(&mut data.everywhere, &ways);
            add_new(data.of_groups.entry(group.id.as_str()).or_default(), &ways);
        }
        data
    }

    fn is_known(&self, name: &str) -> bool {
        self.of_finders.iter().any(|names| names.contains(name)) || self.known.contains(&name)
    }

    /// The ways of the requests of these consumer groups; of all requests, where there are none.
    fn ways<'s>(&'s self, groups: &'s [String]) -> impl Iterator<Item = &'s Way<'c>> {
        let everywhere = self.everywhere.iter().filter(move |_| groups.is_empty());
        let of_groups = groups.iter().filter_map(move |group| self.of_groups.get(group.as_str())).flatten();
        everywhere.chain(of_groups)
    }

    /// Which of [`FINDERS`] find any of these.
    fn that_find(&self, names: &[String]) -> [bool; FINDERS.len()] {
        self.of_finders.each_ref().map(|found| names.iter().any(|name| found.contains(name.as_str())))
    }
}

/// The chains that others begin with, the usual one and those of routes: of those that are alike here, the first.
fn bases(config: &PolicyConfig) -> Vec<(Option<&str>, Vec<&str>)> {
    let of_routes =
        config.routes.iter().filter_map(|route| Some((Some(route.id.as_str()), route.policies.as_ref()?)));
    let mut bases: Vec<(Option<&str>, Vec<&str>)> = Vec::new();
    for (route, policies) in std::iter::once((None, &config.policies)).chain(of_routes) {
        let steps = steps(&policies.chain);
        if !bases.iter().any(|(_, known)| *known == steps) {
            bases.push((route, steps));
        }
    }
    bases
}

/// What of a chain decides what this policy knows: itself and what finds something, each once.
fn steps(chain: &[String]) -> Vec<&str> {
    let mut steps = Vec::new();
    for kind in chain.iter().map(String::as_str) {
        if (kind == KIND || FINDERS.contains(&kind)) && !steps.contains(&kind) {
            steps.push(kind);
        }
    }
    steps
}

/// The ways to this policy by each of the chains, with that of a consumer group behind it.
fn ways<'c>(
    bases: &[(Option<&'c str>, Vec<&'c str>)],
    group: Option<&'c str>,
    own: &[&'c str],
) -> Vec<Way<'c>> {
    let way = |(route, base): &(Option<&'c str>, Vec<&'c str>)| {
        let all: Vec<&str> =
            base.iter().chain(own.iter().filter(|kind| !base.contains(kind))).copied().collect();
        let place = all.iter().position(|kind| *kind == KIND)?;
        let finders = all[..place].iter().filter_map(|kind| FINDERS.iter().position(|own| own == kind));
        Some(Way { route: *route, group, finders: finders.collect() })
    };
    bases.iter().filter_map(way).collect()
}

/// Adds those that are unlike all before them.
fn add_new<'c>(all: &mut Vec<Way<'c>>, more: &[Way<'c>]) {
    for way in more {
        if !all.iter().any(|known| known.finders == way.finders) {
            all.push(way.clone());
        }
    }
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
    if !known.clone().any(|own| own == name) && review.has_room_for(&codes::UNKNOWN_NAME) {
        let suggestion =
            closest(name, known).map_or_else(|| format!("name a {kind} by its `id`"), did_you_mean);
        review.say(&codes::UNKNOWN_NAME, path, format!("there is no {kind} `{name}`"), suggestion);
    }
}
