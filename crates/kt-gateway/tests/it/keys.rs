//! Keys: who may ask at all, from where, and how often.

use std::net::Ipv4Addr;
use std::time::Duration;

use kt_domain::clock::ManualClock;
use kt_domain::events::EventType;
use sha2::{Digest, Sha256};

use crate::harness::{Request, TestGateway};

pub(crate) const KEYS: &str = "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: CLIENT_KEY}}]}";

pub(crate) fn with_key(request: Request) -> Request {
    request.header("Authorization", "Bearer client-key")
}

#[test]
fn a_key_in_the_address_is_refused_and_recorded_nowhere() {
    let gateway = TestGateway::with(KEYS);
    let chat = |query: &str| {
        with_key(Request::new("POST", &format!("/v1/chat/completions{query}")).json(crate::harness::CHAT))
    };
    for query in ["?key=client-key", "?a=b&Api_Key=client-key", "?access%5Ftoken=client-key"] {
        let answer = gateway.ask(&chat(query));
        assert_eq!(answer.outcome(), (400, "key_in_address".to_owned()), "{query}");
        let event = serde_json::to_string(&gateway.event_of(answer.request_id())).unwrap();
        assert!(event.contains("/v1/chat/completions") && !event.contains("client-key"), "{event}");
    }
    assert_eq!(gateway.upstream.bytes(), 0);
    assert_eq!(gateway.ask(&chat("?api-version=2024-06-01")).status, 200, "the control");
}

#[test]
fn a_key_is_needed_and_must_be_the_right_one() {
    let stored = hex(&Sha256::digest("hashed-key"));
    let gateway = TestGateway::with(&format!(
        "auth: {{mode: static, keys: [
            {{id: app, secret_key_ref: {{env: CLIENT_KEY}}}}, {{id: hashed, sha256: {stored}}},
            {{id: near, secret_key_ref: {{env: NEAR_KEY}}, allowed_ranges: [127.0.0.2/32]}},
            {{id: unset, secret_key_ref: {{env: UNSET}}}}]}}"
    ));
    gateway.set_environment("NEAR_KEY", Some("near-key"));
    gateway.gateway.reload().expect("it is valid");
    let bearer = |key: &str| vec![("Authorization", format!("Bearer {key}"))];
    let refused: Vec<(&str, Vec<(&str, String)>)> = vec![
        ("missing_key", vec![]),
        ("missing_key", bearer("")),
        ("missing_key", vec![("Authorization", "Basic Y2xpZW50LWtleQ==".into())]),
        ("missing_key", vec![("Authorization", "client-key".into())]),
        ("missing_key", vec![("X-Api-Key", String::new())]),
        ("missing_key", vec![("X_Api_Key", "client-key".into())]),
        ("missing_key", vec![("Cookie", "authorization=client-key".into())]),
        ("invalid_key", bearer("wrong")),
        ("invalid_key", bearer("client-ke")),
        ("invalid_key", bearer("client-key2")),
        ("invalid_key", bearer("Client-Key")),
        ("invalid_key", bearer("' OR '1'='1' --")),
        ("invalid_key", bearer("client-key' UNION SELECT 1; --")),
        ("invalid_key", bearer("%")),
        ("invalid_key", bearer(&stored)),
        ("invalid_key", bearer(&format!("sha256:{stored}"))),
        ("invalid_key", bearer(&"x".repeat(10_000))),
        ("invalid_key", [bearer("client-key"), bearer("hashed-key")].concat()),
        ("invalid_key", [bearer("client-key"), vec![("X-Api-Key", "other".into())]].concat()),
        ("key_ip_denied", bearer("near-key")),
    ];
    for (code, headers) in refused {
        let request =
            headers.iter().fold(Request::chat(), |request, (name, value)| request.header(name, value));
        let answer = gateway.ask(&request);
        let status = if code == "key_ip_denied" { 403 } else { 401 };
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"));
        let event = gateway.event_of(answer.request_id());
        assert_eq!((event.event_type, event.reason_code.as_deref()), (EventType::AuthFailed, Some(code)));
    }
    assert_eq!(gateway.upstream.bytes(), 0);
    let accepted: [(&str, Vec<(&str, String)>); 6] = [
        ("app", bearer("client-key")),
        ("app", vec![("authorization", "bearer client-key".into())]),
        ("app", vec![("X-Api-Key", "client-key".into())]),
        ("app", vec![("Api-Key", "client-key".into())]),
        ("app", [bearer("client-key"), vec![("X-Api-Key", "client-key".into())]].concat()),
        ("hashed", bearer("hashed-key")),
    ];
    for (id, headers) in accepted {
        let request =
            headers.iter().fold(Request::chat(), |request, (name, value)| request.header(name, value));
        let answer = gateway.ask(&request);
        assert_eq!(answer.status, 200, "{headers:?}");
        assert_eq!(gateway.event_of(answer.request_id()).key_id.as_deref(), Some(id));
    }
    let near = Request::chat().header("Authorization", "Bearer near-key");
    assert_eq!(gateway.connect_from(Ipv4Addr::new(127, 0, 0, 2)).ask(&near).status, 200);
}

#[test]
fn a_key_that_is_withdrawn_is_refused_from_the_next_request_on() {
    let gateway = TestGateway::with(KEYS);
    let mut client = gateway.connect();
    assert_eq!(client.ask(&with_key(Request::chat())).status, 200);
    gateway.set_environment("CLIENT_KEY", Some("another-key"));
    gateway.gateway.reload().expect("it is valid");
    assert_eq!(client.ask(&with_key(Request::chat())).outcome(), (401, "invalid_key".to_owned()));
    let renewed = Request::chat().header("Authorization", "Bearer another-key");
    assert_eq!(client.ask(&renewed).status, 200);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[test]
fn a_key_may_be_used_as_often_as_configured() {
    let clock = ManualClock::starting_at("2026-03-15T14:22:31Z".parse().expect("a moment"));
    let keys =
        "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: CLIENT_KEY}, requests_per_minute: 2}]}";
    let gateway =
        TestGateway::with_options(keys, |options| options.clock = std::sync::Arc::new(clock.clone()));
    let ask = || gateway.ask(&with_key(Request::chat()));
    assert_eq!([ask().status, ask().status], [200, 200]);
    let refused = ask();
    assert_eq!(refused.outcome(), (429, "rate_limited".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(gateway.event_of(refused.request_id()).event_type, EventType::RateLimited);
    clock.advance(Duration::from_secs(30));
    assert_eq!([ask().status, ask().status], [200, 429]);
}
