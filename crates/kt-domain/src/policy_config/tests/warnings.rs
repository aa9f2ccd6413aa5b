//! What is said about valid documents, each with the same document about which nothing is said.

use super::{load_text, short};
use crate::policy_config::{LoadOptions, Source, load};

/// A document, its warning, and what put in place of what makes the warning go away.
type Case = (&'static str, (&'static str, u32, u32, &'static str), [&'static str; 2]);

/// Stands in the first line of each document, so that no target is missing.
const TARGET: &str = "providers: {targets: [{id: a, provider: echo}]}\n";

const CASES: &[Case] = &[
    (
        "cors: {enabled: true, allow_headers: [X-A], allow_origins: [\"*\"]}",
        ("W001", 2, 61, "cors.allow_origins[0]"),
        ["\"*\"", "\"https://a.example\""],
    ),
    (
        "cors: {enabled: true, allow_headers: [X-A], allow_origins: [\"null\"]}",
        ("W001", 2, 61, "cors.allow_origins[0]"),
        ["null", "https://a.example"],
    ),
    ("cors: {enabled: true}", ("W002", 2, 1, "cors.allow_headers"), ["true", "true, allow_headers: [\"*\"]"]),
    (
        "ip_allowlist: {enabled: true, trust_proxy_headers: true, trusted_proxies: [10.0.0.0/24], allow: [fd00::/8, 10.0.0.0/8]}",
        ("W003", 2, 108, "ip_allowlist.allow[1]"),
        ["10.0.0.0/8", "10.1.0.0/16"],
    ),
    (
        "ip_allowlist: {enabled: true, trust_proxy_headers: true, trusted_proxies: [10.0.0.0/24], allow: [fd00::/8, 10.0.0.5/32]}",
        ("W003", 2, 108, "ip_allowlist.allow[1]"),
        ["10.0.0.5/32", "10.0.1.5/32"],
    ),
    (
        "ip_allowlist: {enabled: true, trust_proxy_headers: true, trusted_proxies: [10.0.0.0/24], allow: [10.0.0.5/32]}",
        ("W003", 2, 98, "ip_allowlist.allow[0]"),
        ["trusted_proxies: [10.0.0.0/24]", "trusted_hops: 1"],
    ),
    (
        "size_limits: {max_request_body_bytes: 104857601}",
        ("W004", 2, 39, "size_limits.max_request_body_bytes"),
        ["104857601", "104857600"],
    ),
    (
        "policy: {audit-logger: {}}",
        ("W005", 2, 10, "policy.audit-logger"),
        ["policy", "policies: {chain: [audit-logger]}\npolicy"],
    ),
    ("pack: {name: \"${NAME}\"}", ("W006", 2, 14, "pack.name"), ["${NAME}", "NAME"]),
    (
        "ip_allowlist: {enabled: false, ip_header: X-Real-IP}",
        ("W007", 2, 43, "ip_allowlist.ip_header"),
        ["ip_header", "trust_proxy_headers: true, ip_header"],
    ),
    (
        "ip_allowlist: {enabled: false, trusted_proxies: [10.0.0.0/8]}",
        ("W007", 2, 32, "ip_allowlist.trusted_proxies"),
        ["ip_allowlist", "listener: {proxy_protocol: true}\nip_allowlist"],
    ),
    (
        "ip_allowlist: {allow: [10.0.0.0/8]}",
        ("W009", 2, 1, "ip_allowlist"),
        ["{allow", "{enabled: false, allow"],
    ),
    ("cors: {max_age_seconds: 5}", ("W009", 2, 1, "cors"), ["{max", "{enabled: false, max"]),
    (
        "telemetry: {sample_percent: 5}",
        ("W009", 2, 1, "telemetry"),
        ["{sample", "{otlp_endpoint: \"http://127.0.0.1:4318\", sample"],
    ),
    ("circuit_breaker: {failures: 9}", ("W009", 2, 1, "circuit_breaker"), ["{fail", "{enabled: true, fail"]),
    ("ip_allowlist: {enabled: true}", ("W010", 2, 1, "ip_allowlist.allow"), ["true", "false"]),
    (
        "budgets: [{id: b, per: total, period: day, tokens: 5, unbounded_answers: true}]",
        ("W011", 2, 74, "budgets[0].unbounded_answers"),
        [", unbounded_answers: true", ""],
    ),
    (
        "budgets: [{id: a, per: model, period: day, tokens: 5}, {id: b, per: model, period: month, tokens: 5, unbounded_answers: true}]",
        ("W011", 2, 121, "budgets[1].unbounded_answers"),
        ["model, period: day", "total, period: day"],
    ),
    (
        "routes: [{id: hr, path: /hr}, {id: emb, path: /v1/embeddings, limits: {tokens_per_minute: 9}}]",
        ("W012", 2, 47, "routes[1].path"),
        ["path: /hr", "path: /hr, limits: {tokens_per_minute: 5}"],
    ),
    (
        "routes: [{id: all, path: /v1, deny: [10.0.0.0/8]}, {id: hr, path: /hr, allow: [10.1.0.0/16]}]",
        ("W012", 2, 26, "routes[0].path"),
        ["path: /hr", "path: /v1/models"],
    ),
    (
        "policies: {chain: [data-routing-policy, pii-detector]}\npolicy: {data-routing-policy: {rules: [{name: r, data: [card], targets: [a]}]}}",
        ("W041", 3, 50, "policy.data-routing-policy.rules[0].data"),
        ["data-routing-policy, pii-detector", "pii-detector, data-routing-policy"],
    ),
    (
        "policies: {chain: [pii-detector, data-routing-policy]}\npolicy: {pii-detector: {entities: [card]}, data-routing-policy: {rules: [{name: r, data: [iban], targets: [a]}]}}",
        ("W041", 3, 84, "policy.data-routing-policy.rules[0].data"),
        ["[card]", "[card, iban]"],
    ),
    (
        "policies: {chain: [pii-detector, data-routing-policy]}\npolicy: {pii-detector: {phases: [response]}, data-routing-policy: {rules: [{name: r, data: [pii-detector], targets: [a]}]}}",
        ("W041", 3, 86, "policy.data-routing-policy.rules[0].data"),
        ["[response]", "[request]"],
    ),
    (
        "policies: {chain: [pii-detector, data-routing-policy]}\npolicy: {data-routing-policy: {rules: [{name: r, data: [card], targets: [a]}]}}\nroutes: [{id: hr, path: /hr, policies: {chain: [data-routing-policy]}}]",
        ("W041", 3, 50, "policy.data-routing-policy.rules[0].data"),
        ["chain: [data", "chain: [pii-detector, data"],
    ),
    (
        "auth: {mode: static, keys: [{id: k, sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"}]}\npolicies: {chain: [data-routing-policy]}\npolicy: {data-routing-policy: {rules: [{name: r, groups: [g], data: [card], targets: [a]}]}}\nconsumer_groups: [{id: g, keys: [k], policies: {chain: [pii-detector]}}]",
        ("W041", 4, 63, "policy.data-routing-policy.rules[0].data"),
        ["policies: {chain: [data", "policies: {chain: [pii-detector, data"],
    ),
];

#[test]
fn each_warning_comes_and_goes_with_its_reason() {
    for (text, expected, [given, instead]) in CASES {
        let text = format!("{TARGET}{text}");
        let loaded = load_text(&text);
        assert!(loaded.config.is_some(), "{text}");
        assert_eq!(loaded.findings.iter().map(short).collect::<Vec<_>>(), [*expected], "{text}");
        let control = text.replace(given, instead);
        assert_ne!(control, text);
        assert_eq!(load_text(&control).findings, [], "{control}");
    }
}

#[test]
fn a_gateway_without_a_target_is_warned_of() {
    assert_eq!(
        load_text("").findings.iter().map(short).collect::<Vec<_>>(),
        [("W008", 1, 1, "providers.targets")]
    );
    assert_eq!(load_text(TARGET).findings, []);
}

#[test]
fn access_keys_are_for_a_gateway_that_is_connected() {
    let text = format!("{TARGET}auth: {{mode: access_keys}}\n");
    let source = [Source { name: "policy-config.yaml".into(), text }];
    assert_eq!(load(&source, LoadOptions { connected: true, kept: false }).findings, []);
    let alone = load(&source, LoadOptions { connected: false, kept: false });
    assert_eq!(alone.findings.iter().map(short).collect::<Vec<_>>(), [("E022", 2, 14, "auth.mode")]);
}

#[test]
fn what_the_control_plane_keeps_may_name_its_credentials_and_no_file_of_a_gateway() {
    let text = |credential: &str, anchor: &str| {
        format!(
            "providers: {{targets: [{{id: a, provider: openai, secret_key_ref: {{stored: {credential}}}}}]}}\n\
             events: {{{anchor}}}\n"
        )
    };
    let codes = |text: String| {
        let source = [Source { name: "kept.yaml".into(), text }];
        let loaded = load(&source, LoadOptions { connected: true, kept: true });
        loaded.errors().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(text("openai", "")), Vec::<&str>::new());
    assert_eq!(codes(text("sk-Not-a-name", "")), ["E026"]);
    assert_eq!(codes(text("openai", "anchor_file: /var/anchor")), ["E028"]);
}
