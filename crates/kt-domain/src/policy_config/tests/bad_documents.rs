//! Documents that are refused, each with what is said about it and where.

mod cases;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Finding, load_text, short};
use crate::deployment_config;
use crate::policy_config::json_schema;
use cases::{EDGE, PROVIDERS, ROUTES, SHAPE, SYNTAX};

#[test]
fn each_bad_document_has_its_one_error_in_its_place() {
    let mut wrong = String::new();
    for (text, expected, suggestion) in [SYNTAX, SHAPE, PROVIDERS, ROUTES, EDGE].into_iter().flatten() {
        let loaded = load_text(text);
        let errors: Vec<_> = loaded.errors().collect();
        let as_expected = loaded.config.is_none()
            && matches!(&*errors, [error] if short(error) == *expected
                && error.suggestion.contains(suggestion));
        if !as_expected {
            let rendered: String = errors.iter().map(|error| error.render()).collect();
            write!(wrong, "{text}expected {expected:?} {suggestion}\n{rendered}\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn everything_wrong_in_one_file_is_said_at_once_in_order() {
    let text = "\
pack: {name: demo, version: 1}
providers:
  targets:
    - provider: openai:gpt-4o
      weight: many
cors:
  enabled: yes
  allow_origins: [\"https://app.example.com/\", 5, \"*\"]
  allow_credentials: true
  alow_methods: [GET]
ip_allowlist:
  enabled: true
  allow: [10.0.0.1/8, [], fd00::/8, 300.0.0.0/8]
policies:
  chain: [audit-logger, firewall]
";
    let loaded = load_text(text);
    let found: Vec<_> = loaded.errors().map(short).collect();
    assert_eq!(
        found,
        [
            ("E015", 1, 29, "pack.version"),
            ("E008", 4, 7, "providers.targets[0].id"),
            ("E016", 4, 17, "providers.targets[0].provider"),
            ("E006", 5, 15, "providers.targets[0].weight"),
            ("E006", 7, 12, "cors.enabled"),
            ("E010", 8, 19, "cors.allow_origins[0]"),
            ("E006", 8, 47, "cors.allow_origins[1]"),
            ("E010", 8, 47, "cors.allow_origins[1]"),
            ("E012", 8, 50, "cors.allow_origins[2]"),
            ("E011", 9, 22, "cors.allow_credentials"),
            ("E002", 10, 3, "cors.alow_methods"),
            ("E009", 13, 11, "ip_allowlist.allow[0]"),
            ("E006", 13, 23, "ip_allowlist.allow[1]"),
            ("E009", 13, 37, "ip_allowlist.allow[3]"),
            ("E001", 15, 25, "policies.chain[1]"),
        ]
    );
}

/// What is wrong with one key, also one that is no text, hides nothing else and is not told twice.
#[test]
fn a_required_key_that_is_wrong_or_missing_hides_no_other_finding() {
    const OTHERS: &str = "cors: {enabled: true, allow_origins: [\"*\"], allow_credentials: true}
ip_allowlist: {enabled: true, allow: [10.0.0.1/8]}
";
    let all = [("E011", 1, 64, "cors.allow_credentials"), ("E009", 2, 39, "ip_allowlist.allow[0]")];
    for (text, expected) in [
        ("pack: {name: mine}", None),
        (
            "prices: {models: [{model: x, input: \"2,50\", output: 1}]}",
            Some(("E007", 3, 37, "prices.models[0].input")),
        ),
        ("prices: {models: [{model: x, output: 1}]}", Some(("E008", 3, 19, "prices.models[0].input"))),
        ("budgets: [{id: b, per: kee, period: day, tokens: 5}]", Some(("E007", 3, 24, "budgets[0].per"))),
        ("budgets: [{id: b, per: total, tokens: 5}]", Some(("E008", 3, 11, "budgets[0].period"))),
        (
            "budgets: [{id: b, per: total, period: day, cost: \"2,50\"}]",
            Some(("E007", 3, 50, "budgets[0].cost")),
        ),
        (
            "auth: {mode: static, keys: [{id: k, secret_key_ref: {env: K}}]}\nconsumer_groups: [{id: g, keys: k}]",
            Some(("E006", 4, 33, "consumer_groups[0].keys")),
        ),
    ] {
        let loaded = load_text(&format!("{OTHERS}{text}\n"));
        let found: Vec<_> = loaded.errors().map(short).collect();
        assert_eq!(found, all.into_iter().chain(expected).collect::<Vec<_>>(), "{text}");
        assert!(loaded.outline.is_some(), "{text}");
    }
}

#[test]
fn a_suggestion_can_be_followed() {
    for (text, suggestion) in [
        ("pack: {version: 1.0}\n", "write `1.0.0`"),
        ("pack: {name: \"a\u{0}b\"}\n", "remove the character"),
        ("pack: {name: ab}\n\u{0}\nnonsense: 1\n", "remove the character"),
        ("cors: {enabled: true, max_age_seconds: 5000000000}\n", "from 0 to 4294967295"),
        (
            "providers: {targets: [{id: a, provider: azure}]}\n",
            "base_url: https://NAME.openai.azure.com/openai/v1`",
        ),
        (
            "providers: {targets: [{id: a, provider: azure, api_version: 2024-10-21}]}\n",
            "base_url: https://NAME.openai.azure.com`",
        ),
        (
            "cors: {enabled: true, allow_origins: [\"Null\"]}\n",
            "write scheme, host and, unless it is the scheme's own, port",
        ),
        (
            "ip_allowlist: {enabled: true, allow: [\"::ffff:10.0.0.0/95\"]}\n",
            "as IPv4, of which `10.0.0.0/32` is this one address",
        ),
    ] {
        let loaded = load_text(text);
        let errors: Vec<_> = loaded.errors().collect();
        assert!(
            matches!(&*errors, [error] if error.suggestion.contains(suggestion)),
            "{text}{suggestion}: {errors:#?}"
        );
    }
}

/// The names of a file's sections.
fn sections(schema: &Value) -> BTreeSet<&str> {
    schema["properties"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn every_key_is_named_where_an_unknown_one_resembles_none() {
    let schema = json_schema();
    let loaded = load_text("zzzzzzzz: 1\n");
    let suggestion = &loaded.errors().next().unwrap().suggestion;
    for key in sections(&schema) {
        assert!(suggestion.contains(&format!("`{key}`")), "{key}: {suggestion}");
    }
    assert!(suggestion.ends_with(" and `timeouts`"), "{suggestion}");
}

#[test]
fn what_belongs_into_the_deployments_file_is_told_so() {
    let (ours, others) = (json_schema(), deployment_config::json_schema());
    for key in sections(&others).difference(&sections(&ours)) {
        let loaded = load_text(&format!("{key}: {{}}\n"));
        let suggestion = &loaded.errors().next().unwrap().suggestion;
        assert!(suggestion.contains("`keeptrusts.yaml`"), "{key}: {suggestion}");
    }
}

/// What a finding's carets stand under.
fn marked(finding: &Finding) -> String {
    let shown = finding.render();
    let lines: Vec<Vec<char>> = shown.lines().map(|line| line.chars().collect()).collect();
    let mark = lines.iter().position(|line| line.contains(&'^')).unwrap();
    let above = lines[mark - 1].iter().zip(&lines[mark]);
    above.filter(|(_, mark)| **mark == '^').map(|(character, _)| character).collect()
}

#[test]
fn of_a_long_line_is_shown_what_stands_around_the_place() {
    let line = |before: usize, after: usize| {
        let ranges = |count: usize| "10.0.0.0/8, ".repeat(count);
        let text = format!("ip_allowlist: {{allow: [{}é/8, {}]}}", ranges(before), ranges(after));
        let loaded = load_text(&text);
        let error = loaded.errors().next().unwrap().clone();
        assert_eq!(marked(&error), "é/8", "{}", error.render());
        (error.excerpt, text)
    };
    let (shown, text) = line(5, 5);
    assert_eq!(shown, text, "a line that is short enough is whole");
    let is_cut = |shown: &str| (shown.starts_with('…'), shown.ends_with('…'));
    assert_eq!(is_cut(&line(2, 1000).0), (false, true));
    assert_eq!(is_cut(&line(1000, 1000).0), (true, true));
    assert_eq!(is_cut(&line(1000, 2).0), (true, false));
    assert!(line(1000, 1000).0.chars().count() <= 242);
}

#[test]
fn a_finding_is_shown_with_its_line_and_a_mark_under_the_place() {
    let loaded = load_text("# first\ncors:\n  allow_origin: []\n");
    let shown: String = loaded.errors().map(Finding::render).collect();
    insta::assert_snapshot!(shown, @r"
    error[E002]: `cors` has no key `allow_origin`
     --> 0.yaml:3:3
      |
    3 |   allow_origin: []
      |   ^^^^^^^^^^^^
      = help: did you mean `allow_origins`?
    ");
}
