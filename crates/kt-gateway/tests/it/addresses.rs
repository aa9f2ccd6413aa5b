//! Who may come in: every case of the table of addresses over real connections, and the ways around it that are none.

use std::net::IpAddr;

use kt_domain::events::{EventType, MatchedRule};
use kt_domain::policy_config::IpAllowlist;
use serde::Deserialize;

use crate::harness::{Request, TestGateway, wait_for};

/// A case of `kt-domain/testdata/address-cases.json`.
#[derive(Deserialize)]
struct Case {
    name: String,
    ip_allowlist: IpAllowlist,
    peer: IpAddr,
    headers: Vec<(String, String)>,
    expect: Expected,
}

#[derive(Deserialize)]
struct Expected {
    allowed: bool,
    source_ip: Option<IpAddr>,
    matched_rule: Option<MatchedRule>,
    deny_range: Option<String>,
}

fn cases() -> Vec<Case> {
    let table = include_str!("../../../kt-domain/testdata/address-cases.json");
    serde_json::from_str(table).expect("the table is JSON")
}

impl Case {
    fn yaml(&self) -> String {
        // JSON is YAML.
        format!(
            "ip_allowlist: {}",
            serde_json::to_string(&self.ip_allowlist).expect("a section can be written")
        )
    }

    fn request(&self) -> Request {
        self.headers.iter().fold(Request::chat(), |request, (name, value)| request.header(name, value))
    }

    /// Sends the case's request and compares answer and event with what the case says.
    fn run(&self, gateway: &TestGateway, source: IpAddr) {
        let name = &self.name;
        gateway.reload(&self.yaml()).unwrap_or_else(|report| panic!("{name}: {report}"));
        let forwarded_before = gateway.upstream.requests().len();
        let answer = gateway.connect_from(source).ask(&self.request());
        let event = gateway.event_of(answer.request_id());
        let forwarded = gateway.upstream.requests().len() - forwarded_before;
        let expect = &self.expect;
        assert_eq!(event.source_ip, expect.source_ip, "{name}");
        assert_eq!(event.matched_rule, expect.matched_rule, "{name}");
        assert_eq!(event.deny_range.as_deref(), expect.deny_range.as_deref(), "{name}");
        assert_eq!(event.request_path.as_deref(), Some("/v1/chat/completions"), "{name}");
        if expect.allowed {
            assert_eq!((answer.status, event.event_type, forwarded), (200, EventType::Decision, 1), "{name}");
        } else {
            assert_eq!(answer.outcome(), (403, "ip_denied".to_owned()), "{name}");
            assert_eq!((event.event_type, forwarded), (EventType::IpDenied, 0), "{name}");
            assert_eq!(event.peer_ip, Some(self.peer.to_canonical()), "{name}");
            assert_eq!(event.status, Some(403), "{name}");
        }
    }
}

#[test]
fn every_case_with_an_ipv4_peer_is_decided_and_recorded_as_the_table_says() {
    let gateway = TestGateway::with("events: {refusals_per_second: 1000}");
    let cases: Vec<Case> = cases().into_iter().filter(|case| is_local_v4(case.peer)).collect();
    assert!(cases.len() >= 150, "the table has shrunk: {}", cases.len());
    for case in &cases {
        case.run(&gateway, case.peer);
    }
}

#[test]
fn a_peer_in_ipv6_clothes_is_the_ipv4_peer() {
    let gateway = TestGateway::with_options("", |options| options.listen = "[::]:0".parse().unwrap());
    let mapped = |case: &Case| case.peer != case.peer.to_canonical() && is_local_v4(case.peer.to_canonical());
    let cases: Vec<Case> = cases().into_iter().filter(mapped).collect();
    assert!(cases.len() >= 3, "the table has shrunk: {}", cases.len());
    for case in &cases {
        // A socket for both families gives the peer of an IPv4 connection as `::ffff:a.b.c.d`.
        case.run(&gateway, case.peer.to_canonical());
    }
    for case in cases_of_peer("::1") {
        case.run(&gateway, case.peer);
    }
}

fn is_local_v4(peer: IpAddr) -> bool {
    peer.is_ipv4() && peer.is_loopback()
}

fn cases_of_peer(peer: &str) -> Vec<Case> {
    cases().into_iter().filter(|case| case.peer.to_string() == peer).collect()
}

const TRUSTING: &str = "ip_allowlist: {enabled: true, allow: [203.0.113.0/24], trust_proxy_headers: true}";

fn from(address: &str) -> Request {
    Request::chat().header("X-Forwarded-For", address)
}

#[test]
fn a_header_cannot_be_struck_out_or_passed_off_as_another() {
    let gateway = TestGateway::with(TRUSTING);
    let (inside, outside) = ("203.0.113.9", "198.51.100.7");
    let cases = [
        (from(inside), None),
        (from(inside).header("Connection", "X-Forwarded-For"), None),
        (from(outside), Some(MatchedRule::NotAllowed)),
        (from(outside).header("Connection", "close, x-forwarded-for"), Some(MatchedRule::NotAllowed)),
        (from(outside).header("X_Forwarded_For", inside), Some(MatchedRule::NotAllowed)),
        (from(outside).header("X-Forwarded_For", inside), Some(MatchedRule::NotAllowed)),
        (
            from(outside).header("X-Real-IP", inside).header("Forwarded", "for=203.0.113.9"),
            Some(MatchedRule::NotAllowed),
        ),
        (from(inside).header("x-forwarded-for", outside), Some(MatchedRule::NotAllowed)),
        (from(outside).header("x-forwarded-for", inside), None),
        (Request::chat().header("X_Forwarded_For", inside), Some(MatchedRule::UnresolvedSource)),
        (
            Request::chat().chunked("{}", 1).header("Trailer", "X-Forwarded-For"),
            Some(MatchedRule::UnresolvedSource),
        ),
        (Request::chat(), Some(MatchedRule::UnresolvedSource)),
    ];
    for (request, rule) in cases {
        let answer = gateway.ask(&request);
        assert_eq!(answer.status, if rule.is_none() { 200 } else { 403 }, "{request:?}");
        assert_eq!(gateway.event_of(answer.request_id()).matched_rule, rule, "{request:?}");
    }
    gateway.reload("ip_allowlist: {enabled: true, allow: [203.0.113.0/24]}").expect("it is valid");
    let answer = gateway.ask(&from(inside));
    let event = gateway.event_of(answer.request_id());
    assert_eq!(
        (answer.status, event.source_ip),
        (403, Some([127, 0, 0, 1].into())),
        "the header is not asked for"
    );
}

#[test]
fn every_path_and_method_is_behind_the_allowlist() {
    let cors = "cors: {enabled: true, allow_origins: ['https://app.example.com']}\n";
    let gateway = TestGateway::with(&format!("{cors}{TRUSTING}"));
    for request in [
        Request::new("GET", "/healthz"),
        Request::new("GET", "/readyz"),
        Request::new("HEAD", "/healthz"),
        Request::new("OPTIONS", "*"),
        Request::new("GET", "/v1/models"),
        Request::new("GET", "/nowhere"),
        Request::new("GET", "/v1/../admin"),
        Request::new("TRACE", "/"),
        Request::preflight("https://app.example.com"),
        Request::chat(),
    ] {
        let answer = gateway.ask(&request);
        assert_eq!(answer.status, 403, "{request:?}");
        assert_eq!(gateway.event_of(answer.request_id()).event_type, EventType::IpDenied, "{request:?}");
        let allowed = gateway.ask(&request.clone().header("X-Forwarded-For", "203.0.113.9"));
        assert_ne!(allowed.status, 403, "{request:?}");
    }
}

/// What is no request that could be served, and how it is refused where its address is not.
fn unserved() -> [(Vec<u8>, &'static str); 6] {
    let long = "x".repeat(20_000);
    [
        (b"nonsense\r\n\r\n".to_vec(), "malformed_request"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "malformed_request"),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_vec(), "http_version_not_supported"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), "uri_too_long"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n").into_bytes(), "headers_too_large"),
        (b"GET / HT".to_vec(), "request_timeout"),
    ]
}

#[test]
fn what_is_no_request_is_refused_by_its_address_first_where_that_alone_decides() {
    const TIMEOUTS: &str = "timeouts: {request_header: 150ms}\n";
    let outsider: IpAddr = [127, 0, 0, 9].into();
    let insider: IpAddr = [127, 0, 0, 2].into();
    for (rules, is_judged) in [
        ("ip_allowlist: {enabled: true, allow: [127.0.0.2/32], deny: [127.0.0.9/32]}", true),
        (
            "ip_allowlist: {enabled: true, allow: [127.0.0.2/32], deny: [127.0.0.9/32], trust_proxy_headers: true, trusted_proxies: [10.0.0.0/8]}",
            true,
        ),
        (
            "ip_allowlist: {enabled: true, allow: [127.0.0.2/32], trust_proxy_headers: true, trusted_proxies: [127.0.0.9/32]}",
            false,
        ),
        ("ip_allowlist: {enabled: true, allow: [127.0.0.2/32], trust_proxy_headers: true}", false),
        ("ip_allowlist: {enabled: false, deny: [127.0.0.9/32]}", false),
    ] {
        let gateway = TestGateway::with(&format!("{TIMEOUTS}{rules}"));
        for (bytes, code) in unserved() {
            let said = |source: IpAddr| {
                let mut client = gateway.connect_from(source);
                // A gateway that has refused already may take no more.
                let _ = client.send(&bytes);
                let answer = client.answer();
                assert_eq!(
                    (answer.header("connection"), client.rest()),
                    (Some("close"), Vec::new()),
                    "{code}"
                );
                (answer.code(), gateway.event_of(answer.request_id()))
            };
            let (refused, event) = said(outsider);
            assert_eq!(event.peer_ip, Some(outsider), "{rules} {code}");
            if is_judged {
                assert_eq!(refused, "ip_denied", "{rules} {code}");
                assert_eq!(event.event_type, EventType::IpDenied, "{rules} {code}");
                assert_eq!(event.source_ip, Some(outsider), "{rules} {code}");
                let matched = (event.matched_rule, event.deny_range.as_deref());
                assert_eq!(matched, (Some(MatchedRule::Deny), Some("127.0.0.9/32")), "{rules} {code}");
            } else {
                assert_eq!((refused.as_str(), event.event_type), (code, EventType::Decision), "{rules}");
            }
            assert_eq!(said(insider).0, code, "the control: {rules}");
        }
    }
}

#[test]
fn of_too_many_connections_a_denied_one_learns_that_it_is_denied() {
    let gateway = TestGateway::with(
        "listener: {max_connections: 1}\nip_allowlist: {enabled: true, allow: [127.0.0.1/32], deny: [127.0.0.9/32]}",
    );
    let mut first = gateway.connect();
    assert_eq!(first.ask(&Request::chat()).status, 200);
    let denied = gateway.connect_from([127, 0, 0, 9]).ask(&Request::chat());
    assert_eq!(denied.outcome(), (403, "ip_denied".to_owned()));
    let event = gateway.event_of(denied.request_id());
    assert_eq!((event.event_type, event.matched_rule), (EventType::IpDenied, Some(MatchedRule::Deny)));
    assert_eq!(event.source_ip, Some([127, 0, 0, 9].into()));
    assert_eq!(
        gateway.ask(&Request::chat()).outcome(),
        (503, "too_many_connections".to_owned()),
        "the control"
    );
}

#[test]
fn each_request_of_a_connection_is_judged_by_itself() {
    let gateway = TestGateway::with(TRUSTING);
    let get = |address: &str| Request::new("GET", "/v1/models").header("X-Forwarded-For", address);
    let mut client = gateway.connect();
    for (address, status) in
        [("203.0.113.9", 200), ("198.51.100.7", 403), ("203.0.113.9", 200), ("garbage", 403)]
    {
        assert_eq!(client.ask(&get(address)).status, status, "{address}");
    }
    // The rules that were in force when a connection was made are not those of its later requests.
    gateway.reload("ip_allowlist: {enabled: true}").expect("it is valid");
    assert_eq!(client.ask(&get("203.0.113.9")).status, 403);
    gateway.reload("").expect("it is valid");
    assert_eq!(client.ask(&get("203.0.113.9")).status, 200);
}

#[test]
fn a_flood_of_refusals_is_counted_and_none_is_lost() {
    let gateway = TestGateway::with_options(
        "ip_allowlist: {enabled: true}\nevents: {refusals_per_second: 1}",
        |options| {
            options.admin_listen = Some("127.0.0.1:0".parse().unwrap());
        },
    );
    let mut client = gateway.connect();
    for _ in 0..50 {
        assert_eq!(client.ask(&Request::new("GET", "/v1/models")).status, 403);
    }
    let counted = || gateway.events().iter().map(|event| event.count.unwrap_or(1)).sum::<u64>();
    wait_for("the summary", || (counted() == 50).then_some(()));
    assert!(gateway.events().len() < 15, "{} events", gateway.events().len());
    assert!(gateway.events().iter().all(|event| event.event_type == EventType::IpDenied));
}
