//! `policies` and `policy`: which policies judge a request, and their settings.

mod content;
mod data_routing;
mod dlp_filter;
mod pii_detector;
mod prompt_injection;
mod safety_filter;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use content::{Action, Phase, Unreadable};
pub use data_routing::{DataRouting, RoutingRule};
pub use dlp_filter::{Dictionary, DlpFilter, Pattern};
pub use pii_detector::{Entity, PiiDetector};
pub use prompt_injection::{INJECTION_RULES, PromptInjection};
pub use safety_filter::SafetyFilter;

use super::PolicyConfig;
use super::codes;
use super::finding::Report;
use super::node::Place;
use super::rules::Review;
use super::suggest::{all_of, closest, did_you_mean};

/// The policy chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// The kinds of policy that judge each request, in this order.
    pub chain: Vec<String>,
}

/// The settings of each policy kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySettings {
    /// Settings of `audit-logger`.
    #[serde(rename = "audit-logger", skip_serializing_if = "Option::is_none")]
    pub audit_logger: Option<AuditLogger>,
    /// Settings of `pii-detector`.
    #[serde(rename = "pii-detector", skip_serializing_if = "Option::is_none")]
    pub pii_detector: Option<PiiDetector>,
    /// Settings of `dlp-filter`.
    #[serde(rename = "dlp-filter", skip_serializing_if = "Option::is_none")]
    pub dlp_filter: Option<DlpFilter>,
    /// Settings of `prompt-injection`.
    #[serde(rename = "prompt-injection", skip_serializing_if = "Option::is_none")]
    pub prompt_injection: Option<PromptInjection>,
    /// Settings of `data-routing-policy`.
    #[serde(rename = "data-routing-policy", skip_serializing_if = "Option::is_none")]
    pub data_routing: Option<DataRouting>,
    /// Settings of `safety-filter`.
    #[serde(rename = "safety-filter", skip_serializing_if = "Option::is_none")]
    pub safety_filter: Option<SafetyFilter>,
}

/// `audit-logger`: keeps a record of what passed, for a stated time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditLogger {
    /// Whether no interface may edit or delete an event before its retention ends.
    pub immutable: bool,
    /// For how many days events are kept.
    #[schemars(range(min = 1, max = 36500))]
    pub retention_days: u32,
    /// Whether every request is recorded; `false` leaves out those that went through and of which no policy had anything to
    /// say.
    pub log_all_access: bool,
}

impl Default for AuditLogger {
    fn default() -> Self {
        Self { immutable: true, retention_days: 365, log_all_access: true }
    }
}

/// A kind of policy that this version has.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    /// Whether a chain entry is of no use without its block in `policy`.
    needs_block: bool,
}

/// Every kind that this version has.
const KINDS: [Kind; 6] = [
    Kind { name: "audit-logger", needs_block: false },
    Kind { name: "pii-detector", needs_block: false },
    Kind { name: "dlp-filter", needs_block: true },
    Kind { name: "prompt-injection", needs_block: false },
    Kind { name: "data-routing-policy", needs_block: true },
    Kind { name: "safety-filter", needs_block: true },
];

/// The names of the kinds of policy, for `policies.chain`.
pub const POLICY_KINDS: [&str; KINDS.len()] = {
    let mut names = [""; KINDS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = KINDS[at].name;
        at += 1;
    }
    names
};

impl Policies {
    pub(super) fn review(&self, review: &mut Review) {
        review_chain(&self.chain, "policies.chain", review);
    }
}

/// Reviews the chain at `path`.
pub(super) fn review_chain(chain: &[String], path: &str, review: &mut Review) {
    review_against(chain, &KINDS, path, review);
}

fn review_against(chain: &[String], kinds: &[Kind], list: &str, review: &mut Review) {
    for (index, name) in chain.iter().enumerate() {
        let path = format!("{list}[{index}]");
        match kinds.iter().find(|kind| kind.name == name) {
            None => review.say(&codes::UNKNOWN_POLICY, &path, unknown(name), known(name)),
            Some(kind) if kind.needs_block && !review.gives("policy", name) => {
                let message = format!("`{name}` needs settings, and there is no `policy.{name}`");
                review.say(&codes::MISSING_POLICY_BLOCK, &path, message, format!("add `policy.{name}`"));
            }
            Some(_) => {}
        }
    }
    let names = chain.iter().map(String::as_str);
    review.unique(names, |index| format!("{list}[{index}]"), "keep one of them");
}

/// Reports settings of a kind that stands in no chain.
pub(super) fn review_unused(config: &PolicyConfig, review: &mut Review) {
    let of_routes = config.routes.iter().filter_map(|route| route.policies.as_ref());
    let of_groups = config.consumer_groups.iter().filter_map(|group| group.policies.as_ref());
    let chains = || std::iter::once(&config.policies).chain(of_routes.clone()).chain(of_groups.clone());
    let is_used = |kind: &&Kind| chains().any(|policies| policies.chain.iter().any(|name| name == kind.name));
    for Kind { name, .. } in KINDS.iter().filter(|kind| !is_used(kind)) {
        if review.gives("policy", name) {
            let message = format!("`policy.{name}` has no effect: `{name}` is not in `policies.chain`");
            let suggestion = format!("add `{name}` to `policies.chain`, or remove its settings");
            review.say(&codes::UNUSED_POLICY_BLOCK, &format!("policy.{name}"), message, suggestion);
        }
    }
}

impl PolicySettings {
    pub(super) fn review(&self, config: &PolicyConfig, review: &mut Review) {
        if let Some(settings) = &self.pii_detector {
            settings.review(review);
        }
        if let Some(settings) = &self.dlp_filter {
            settings.review(review);
        }
        if let Some(settings) = &self.data_routing {
            settings.review(config, review);
        }
        if let Some(settings) = &self.safety_filter {
            settings.review(config, review);
        }
    }
}

/// Reports a policy that reads nothing.
fn review_phases(path: &str, phases: &[Phase], review: &mut Review) {
    if phases.is_empty() {
        review.say(
            &codes::IDLE_POLICY,
            &format!("{path}.phases"),
            "the list is empty, so nothing is read",
            "write `[request, response]`, or remove the key to read both",
        );
    }
}

/// Reports settings of a kind that this version does not have.
pub(super) fn report_unknown(report: &mut Report, place: Place, path: &str, name: &str) {
    report.at(&codes::UNKNOWN_POLICY, place, path, unknown(name), known(name));
}

fn unknown(name: &str) -> String {
    format!("there is no policy kind `{name}`")
}

fn known(name: &str) -> String {
    let names = || KINDS.iter().map(|kind| kind.name);
    closest(name, names()).map_or_else(|| format!("this version has {}", all_of(names())), did_you_mean)
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;
    use crate::policy_config::{LoadOptions, Source};

    #[test]
    fn a_kind_that_needs_settings_is_refused_without_them() {
        let kinds = [Kind { name: "guard", needs_block: true }, Kind { name: "log", needs_block: false }];
        let found = |text: &str| {
            let sources = [Source { name: "policy-config.yaml".into(), text: text.into() }];
            let mut report = Report::new(&sources);
            let tree = document::parse(0, text, &mut report).unwrap();
            let policies = Policies { chain: vec!["log".into(), "guard".into()] };
            let mut review = Review { tree: &tree, options: LoadOptions::default(), report: &mut report };
            review_against(&policies.chain, &kinds, "policies.chain", &mut review);
            report
                .into_findings()
                .iter()
                .map(|finding| (finding.code, finding.path.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(found("policies: {chain: [log, guard]}"), [("E003", "policies.chain[1]".into())]);
        assert_eq!(found("policies: {chain: [log, guard]}\npolicy: {guard: {}}"), []);
    }

    #[test]
    fn settings_by_which_a_policy_could_not_do_its_work_are_named() {
        let chain = "providers: {targets: [{id: a, provider: echo}]}\npolicies: {chain: [KIND]}\npolicy: {KIND: SETTINGS}";
        for (kind, settings, code, path) in [
            (
                "dlp-filter",
                "{patterns: [{name: x, regex: '('}]}",
                "E040",
                "policy.dlp-filter.patterns[0].regex",
            ),
            (
                "dlp-filter",
                "{patterns: [{name: x, regex: 'a*'}]}",
                "E040",
                "policy.dlp-filter.patterns[0].regex",
            ),
            (
                "dlp-filter",
                "{patterns: [{name: x, regex: '(a+b+)+'}]}",
                "E040",
                "policy.dlp-filter.patterns[0].regex",
            ),
            (
                "dlp-filter",
                "{dictionaries: [{name: x, terms: [' ']}]}",
                "E040",
                "policy.dlp-filter.dictionaries[0].terms[0]",
            ),
            ("dlp-filter", "{}", "W040", "policy.dlp-filter"),
            (
                "dlp-filter",
                "{patterns: [{name: x, regex: a}], dictionaries: [{name: x, terms: [b]}]}",
                "E019",
                "policy.dlp-filter.dictionaries[0].name",
            ),
            (
                "dlp-filter",
                "{action: refuse, patterns: [{name: x, regex: a}]}",
                "E007",
                "policy.dlp-filter.action",
            ),
            ("pii-detector", "{phases: []}", "W040", "policy.pii-detector.phases"),
            ("pii-detector", "{entities: [names]}", "E007", "policy.pii-detector.entities[0]"),
            ("pii-detector", "{entities: []}", "W040", "policy.pii-detector.entities"),
            ("prompt-injection", "{threshold: 0}", "E007", "policy.prompt-injection.threshold"),
            (
                "data-routing-policy",
                "{rules: [{name: r, targets: [b]}]}",
                "E031",
                "policy.data-routing-policy.rules[0].targets[0]",
            ),
            (
                "data-routing-policy",
                "{rules: [{name: r, groups: [g], targets: [a]}]}",
                "E031",
                "policy.data-routing-policy.rules[0].groups[0]",
            ),
            ("data-routing-policy", "{rules: [{name: r}]}", "W040", "policy.data-routing-policy.rules[0]"),
            (
                "data-routing-policy",
                "{rules: [{name: r, data: [card, crd], targets: [a]}]}",
                "E031",
                "policy.data-routing-policy.rules[0].data[1]",
            ),
            ("safety-filter", "{target: b}", "E031", "policy.safety-filter.target"),
            ("safety-filter", "{timeout: 1s}", "E008", "policy.safety-filter"),
        ] {
            let text = chain.replace("KIND", kind).replace("SETTINGS", settings);
            let source = Source { name: "policy-config.yaml".into(), text };
            let findings = crate::policy_config::load(&[source], LoadOptions::default()).findings;
            let found: Vec<_> = findings.iter().map(|finding| (finding.code, &*finding.path)).collect();
            assert!(
                found.iter().any(|(own, at)| *own == code && at.starts_with(path)),
                "{kind} {settings}: {found:?}"
            );
        }
    }
}
