//! Who may come in: every case of the table of addresses over real connections, and the ways around it that are none.

use std::net::IpAddr;

use kt_domain::events::{EventType, MatchedRule};
use kt_domain::policy_config::IpAllowlist;
use serde::Deserialize;

use crate::harness::{Request, TestGateway};

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
