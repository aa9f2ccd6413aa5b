//! What is said offline of a request is what a running gateway does.

use std::net::IpAddr;

use kt_domain::policy_config::{self, LoadOptions, PolicyConfig, Source};
use kt_gateway::{Question, Step, explain};

use crate::harness::{CHAT, PROVIDER_KEY, Request, TestGateway};

const RULES: &str = "
ip_allowlist: {enabled: true, allow: [127.0.0.0/24], deny: [127.0.0.9/32]}
cors: {enabled: true, allow_origins: ['https://app.example']}
size_limits: {max_request_body_bytes: 1000}
routes:
  - {id: hr, path: /hr, allow: [127.0.0.0/29], deny: [127.0.0.2/32], allow_origins: ['https://hr.example'], size_limits: {max_request_body_bytes: 100}}
  - {id: large, path: /large, size_limits: {max_request_body_bytes: 5000}}
";
const ADDRESSES: [[u8; 4]; 5] =
    [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 12], [127, 0, 0, 9], [127, 0, 1, 1]];
const PATHS: [&str; 8] = [
    "/v1/chat/completions",
    "/hr/v1/chat/completions",
    "/large/v1/chat/completions",
    "/large/v1/chat/completions?x=1&y=/../",
    "/nowhere",
    "/nowhere?/v1/chat/completions",
    "/hr/nowhere",
    "/hr/%2e%2e/v1/chat/completions",
];
const SIZES: [usize; 4] = [100, 101, 1001, 5001];
const ORIGINS: [&str; 3] = ["https://app.example", "https://hr.example", "https://evil.example"];

fn config(yaml: &str) -> PolicyConfig {
    let base = "pack: {name: test, version: 1.0.0, enabled: true}\n";
    let sources = [("base.yaml", base), ("test.yaml", yaml)]
        .map(|(name, text)| Source { name: name.into(), text: text.into() });
    policy_config::load(&sources, LoadOptions::default()).config.expect("it is valid")
}

fn steps(config: &PolicyConfig, ip: [u8; 4], path: &str, size: usize, origin: &str) -> Vec<Step> {
    let question = Question {
        ip: IpAddr::from(ip),
        origin: Some(origin.to_owned()),
        size: Some(size as u64),
        path: Some(path.to_owned()),
    };
    explain(config.clone(), &question, false).expect("it can be made ready")
}

/// Status and code that the last step names, or 200.
fn said(steps: &[Step]) -> String {
    match steps.last() {
        Some(Step { passes: false, reason, .. }) => reason.rsplit(": ").next().unwrap_or_default().to_owned(),
        _ => "200 ".to_owned(),
    }
}

fn agrees_with_a_gateway(yaml: &str) -> usize {
    let (gateway, config) = (TestGateway::with(yaml), config(yaml));
    let mut asked = 0;
    for ip in ADDRESSES {
        for path in PATHS {
            for (size, origin) in SIZES.iter().flat_map(|size| ORIGINS.map(|origin| (*size, origin))) {
                let mut body = CHAT.to_vec();
                body.resize(size, b' ');
                let request = Request::new("POST", path).json(&body).header("Origin", origin);
                let answer = gateway.connect_from(ip).ask(&request);
                let (status, code) = answer.outcome();
                let steps = steps(&config, ip, path, size, origin);
                let case = format!("{ip:?} {path} {size} {origin}: {steps:?}");
                assert_eq!(said(&steps), format!("{status} {code}"), "{case}");
                if let Some(cors) = steps.iter().find(|step| step.stage == "cors") {
                    let may_read = answer.header("access-control-allow-origin") == Some(origin);
                    assert_eq!(cors.reason.contains("may read"), may_read, "{case}");
                }
                asked += 1;
            }
        }
    }
    asked
}

#[test]
fn what_is_said_offline_is_what_a_gateway_does() {
    assert_eq!(agrees_with_a_gateway(RULES), 5 * 8 * 4 * 3);
}

#[test]
fn a_path_that_cannot_be_sent_as_it_is_is_explained_as_refused() {
    let (gateway, config) = (TestGateway::with(RULES), config(RULES));
    for (path, expected) in [
        ("/v1/models#part", "400 malformed_request"),
        ("/v1/models?a=b c", "400 malformed_request"),
        ("/v1/models?name=\u{e9}", "400 malformed_request"),
        ("/v1/models?name=%C3%A9", "200 "),
    ] {
        let answer = gateway.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let (status, code) = answer.outcome();
        assert_eq!(format!("{status} {code}"), expected, "{path}");
        assert_eq!(said(&steps(&config, [127, 0, 0, 1], path, 0, ORIGINS[0])), expected, "{path}");
    }
}

#[test]
fn what_is_said_of_a_configuration_that_is_switched_off_is_what_a_gateway_does() {
    agrees_with_a_gateway(&format!("{RULES}pack: {{enabled: false}}\n"));
    let off = config("pack: {enabled: false}\n");
    assert_eq!(said(&steps(&off, [127, 0, 0, 1], PATHS[0], 1, ORIGINS[0])), "503 pack_disabled");
    let on = config("");
    assert_eq!(said(&steps(&on, [127, 0, 0, 1], PATHS[0], 1, ORIGINS[0])), "200 ", "the control");
}

#[test]
fn health_checks_are_answered_whatever_keeps_requests_from_providers() {
    let rules = format!(
        "{RULES}pack: {{enabled: false}}\nauth: {{mode: static, keys: [{{id: app, secret_key_ref: {{env: CLIENT_KEY}}}}]}}\n"
    );
    let (gateway, config) = (TestGateway::with(&rules), config(&rules));
    for path in ["/healthz", "/readyz", "/hr/healthz", "/large/readyz", "/healthz/", "/nowhere"] {
        let is_check = path.ends_with('z');
        for ip in ADDRESSES {
            let answer = gateway.connect_from(ip).ask(&Request::new("GET", path));
            let steps = steps(&config, ip, path, 10_000, ORIGINS[0]);
            let last = steps.last().expect("there is a step");
            let is_denied = answer.status == 403;
            assert_eq!(answer.status == 200, is_check && !is_denied, "{ip:?} {path}");
            assert_eq!(last.is_answer(), is_check && !is_denied, "{ip:?} {path}: {steps:?}");
            assert_eq!(last.passes, answer.status == 200, "{ip:?} {path}: {steps:?}");
            assert_eq!(is_denied, said(&steps) == "403 ip_denied", "{ip:?} {path}: {steps:?}");
        }
    }
}

#[test]
fn the_rule_that_decides_is_named() {
    let config = config(RULES);
    let reason = |ip, path| {
        let steps = steps(&config, ip, path, 1, ORIGINS[0]);
        steps.into_iter().find(|step| step.stage == "route").map(|step| step.reason)
    };
    assert!(reason([127, 0, 0, 1], PATHS[1]).is_some_and(|reason| reason.contains("route `hr`")));
    assert!(reason([127, 0, 0, 2], PATHS[1]).is_some_and(|reason| reason.contains("127.0.0.2/32")));
    assert!(reason([127, 0, 0, 12], PATHS[1]).is_some_and(|reason| reason.contains("`allow`")));
    assert_eq!(reason([127, 0, 0, 1], PATHS[0]), None, "no route's rules hold");
}

#[test]
fn the_range_that_lets_an_address_in_is_named() {
    let config = config("ip_allowlist: {enabled: true, allow: [127.0.0.0/8, 127.0.0.0/24]}");
    for (ip, reason) in [
        ([127, 0, 0, 1], "127.0.0.1 is in the `allow` range 127.0.0.0/24"),
        ([127, 0, 9, 1], "127.0.9.1 is in the `allow` range 127.0.0.0/8"),
        ([10, 0, 9, 1], "10.0.9.1 is in no `allow` range: 403 ip_denied"),
    ] {
        assert_eq!(steps(&config, ip, PATHS[0], 1, ORIGINS[0])[0].reason, reason);
    }
}

#[test]
fn keys_that_may_not_be_used_from_an_address_are_not_counted() {
    let rules = "auth:\n  mode: static\n  keys:\n    - {id: a, secret_key_ref: {env: CLIENT_KEY}, allowed_ranges: [127.0.0.0/29]}\n    - {id: b, secret_key_ref: {env: PROVIDER_KEY}, allowed_ranges: [127.0.0.0/28]}\n";
    let (gateway, config) = (TestGateway::with(rules), config(rules));
    for (ip, usable, told) in [
        ([127, 0, 0, 1], 2, "one of the 2 keys must be sent as `Authorization: Bearer KEY`, else 401"),
        (
            [127, 0, 0, 12],
            1,
            "of 2 keys, the only one that may be used from 127.0.0.12 must be sent as `Authorization: Bearer KEY`, else \
             401 or 403",
        ),
        ([127, 0, 1, 1], 0, "127.0.1.1 is in none of the `allowed_ranges` of any key: 403 key_ip_denied"),
    ] {
        let ask = |key: &str| {
            let request = Request::chat().header("Authorization", format!("Bearer {key}"));
            gateway.connect_from(ip).ask(&request).status
        };
        let let_in = ["client-key", PROVIDER_KEY].map(ask).iter().filter(|status| **status == 200).count();
        assert_eq!(let_in, usable, "{ip:?}");
        let steps = steps(&config, ip, PATHS[0], 1, ORIGINS[0]);
        let auth = steps.iter().find(|step| step.stage == "auth").expect("it is asked");
        assert_eq!(auth.passes, usable > 0, "{ip:?}: {auth:?}");
        let outcome = if usable == 0 { "403 key_ip_denied" } else { "200 " };
        assert_eq!(said(&steps), outcome, "{ip:?}: {auth:?}");
        assert_eq!(auth.reason, told);
    }
}

#[test]
fn keys_are_told_in_a_sentence_for_one_and_for_many() {
    let here = "{id: kN, secret_key_ref: {env: KEY_N}, allowed_ranges: [127.0.0.0/29]}";
    let elsewhere = here.replace("127.0.0.0", "192.0.2.0");
    let rules = |keys: &[&str]| {
        let keys = keys.iter().enumerate().map(|(number, key)| key.replace('N', &number.to_string()));
        format!("auth: {{mode: static, keys: [{}]}}", keys.collect::<Vec<_>>().join(", "))
    };
    let cases: [(&[&str], &str); 2] = [
        (&[here], "the key must be sent"),
        (&[here, here, &elsewhere], "of 3 keys, one of the 2 that may be used from 127.0.0.1 must be sent"),
    ];
    for (keys, told) in cases {
        let steps = steps(&config(&rules(keys)), [127, 0, 0, 1], PATHS[0], 1, ORIGINS[0]);
        let auth = steps.iter().find(|step| step.stage == "auth").expect("it is asked");
        assert!(auth.reason.starts_with(told), "{auth:?}");
    }
}

#[test]
fn a_path_without_its_first_slash_is_not_told_as_one_that_hides_another() {
    let config = config("");
    let reason = |path| steps(&config, [127, 0, 0, 1], path, 1, ORIGINS[0]).pop().map(|step| step.reason);
    assert_eq!(reason("v1/models").as_deref(), Some("a path begins with `/`: 400 invalid_path"));
    let hiding = "it is written in a way that hides another path: 400 invalid_path";
    assert_eq!(reason("/v1//models").as_deref(), Some(hiding));
}
