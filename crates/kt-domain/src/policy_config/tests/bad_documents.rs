//! Documents that are refused, each with what is said about it and where.

mod cases;

use std::fmt::Write as _;

use super::{Finding, load_text, short};
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
            ("E006", 1, 29, "pack.version"),
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
