//! No text brings the loader down, and large ones load in time.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::{load_files, load_text};
use crate::network::gateway_rules::IpRules;
use crate::policy_config::node::Node;
use crate::policy_config::{CODES, MAX_BYTES};

/// Pieces that lead deep into the loader when put together.
const PIECES: [&str; 44] = [
    "pack",
    "providers",
    "targets",
    "policies",
    "chain",
    "policy",
    "audit-logger",
    "cors",
    "allow_origins",
    "ip_allowlist",
    "allow",
    "auth",
    "keys",
    "timeouts",
    "connect",
    "id",
    "provider",
    "base_url",
    "mode",
    "static",
    "true",
    "5",
    "-1",
    "0x10",
    "~",
    "\"*\"",
    "10.0.0.0/8",
    "30s",
    "${X}",
    "é",
    "http://[::1]:1/v1",
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "#",
    "&a *a !!b",
];

fn documents() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES.as_slice()), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        load_text(&text);
    }

    #[test]
    fn a_configuration_is_there_exactly_if_there_is_no_error(texts in prop::collection::vec(documents(), 1..3)) {
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let loaded = load_files(&texts);
        prop_assert_eq!(loaded.config.is_none(), loaded.errors().count() > 0);
        for finding in &loaded.findings {
            prop_assert!(CODES.iter().any(|code| code.id == finding.code));
            prop_assert!(!finding.message.is_empty() && !finding.suggestion.is_empty());
            prop_assert!(finding.render().contains(&finding.message));
        }
    }
}

#[test]
fn an_item_of_a_list_takes_forty_bytes_beside_its_text() {
    assert!(size_of::<Node>() <= 40, "{}", size_of::<Node>());
}

#[test]
fn ranges_by_the_hundred_thousand_load_and_compile() {
    let mut text = String::from("ip_allowlist:\n  enabled: true\n  allow:\n");
    for n in 0..100_000_u32 {
        let [_, b, c, d] = n.to_be_bytes();
        writeln!(text, "    - \"10.{b}.{c}.{d}/32\"").unwrap();
    }
    let config = load_text(&text).config.unwrap();
    assert_eq!(config.ip_allowlist.allow.len(), 100_000);
    assert_eq!(config.ip_allowlist.allow.get(99_999), Some("10.1.134.159/32"));
    IpRules::compile(&config.ip_allowlist).unwrap();
}

/// Chains are as many as routes times groups, and rules for data are about each of them.
#[test]
fn thousands_of_routes_groups_and_rules_are_answered_with_a_thousand_warnings_beside_the_error() {
    const EACH: usize = 3000;
    let list = |entry: &dyn Fn(usize) -> String| (0..EACH).map(entry).collect::<Vec<_>>().join(", ");
    let text = format!(
        "policies: {{chain: [data-routing-policy]}}\nroutes: [{}]\nconsumer_groups: [{}]\npolicy: {{data-routing-policy: {{rules: [{}]}}}}\n",
        list(&|n| format!("{{id: r{n}, path: /r{n}, policies: {{chain: [data-routing-policy]}}}}")),
        list(&|n| format!("{{id: g{n}, keys: [k{n}], policies: {{chain: [pii-detector]}}}}")),
        list(&|n| format!("{{name: n{n}, data: [card], models: [m]}}")),
    );
    let loaded = load_text(&text);
    assert_eq!(loaded.warnings().count(), 1000);
    assert_eq!(loaded.errors().map(|error| error.code).collect::<Vec<_>>(), ["E031"], "nobody has a key");
    assert!(loaded.config.is_none());
}

#[test]
fn of_many_errors_the_first_thousand_are_told() {
    let ranges = "x, ".repeat(200_000);
    let loaded = load_text(&format!("ip_allowlist: {{allow: [{ranges}]}}\n"));
    assert_eq!(loaded.errors().count(), 1000);
    assert_eq!(loaded.errors().last().unwrap().path, "ip_allowlist.allow[999]");
    assert!(loaded.config.is_none());
}

#[test]
fn one_more_byte_than_is_read_is_too_much() {
    let padded = |bytes: usize| "#".repeat(bytes);
    assert!(load_text(&padded(MAX_BYTES)).config.is_some());
    let findings = load_text(&padded(MAX_BYTES + 1)).findings;
    assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["E004"]);
}

#[test]
fn what_could_steer_a_terminal_is_not_shown() {
    let loaded = load_text("\"bad\\e[2Jkey\": 1\n\"\\u202e\": 1\n");
    assert!(!loaded.findings.is_empty());
    for finding in loaded.findings {
        assert!(!finding.render().contains(['\u{1b}', '\u{202e}']));
    }
}
