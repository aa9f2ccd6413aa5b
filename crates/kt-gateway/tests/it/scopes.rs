//! Routes and consumer groups: other rules for some paths and for the holders of some keys.

use std::net::Ipv4Addr;

use kt_domain::events::{EventType, MatchedRule};

use crate::harness::{PROVIDER_KEY, Request, TestGateway, Upstream};

const KEYS: &str = "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: CLIENT_KEY}}, {id: other, secret_key_ref: {env: PROVIDER_KEY}}]}\n";
const APP: &str = "Bearer client-key";

fn chat_to(path: &str) -> Request {
    Request::new("POST", path).json(crate::harness::CHAT)
}

fn of_app(request: Request) -> Request {
    request.header("Authorization", APP)
}

fn of_other(request: Request) -> Request {
    request.header("Authorization", format!("Bearer {PROVIDER_KEY}"))
}

#[test]
fn a_path_of_ones_own_leads_to_the_same_surfaces() {
    let gateway = TestGateway::with("routes: [{id: a, path: /team-a}, {id: b, path: /team-a/b}]");
    let answer = gateway.ask(&chat_to("/team-a/v1/chat/completions"));
    assert_eq!(answer.status, 200);
    assert_eq!(gateway.upstream.only_request().request_line(), "POST /v1/chat/completions HTTP/1.1");
    let event = gateway.event_of(answer.request_id());
    assert_eq!(
        (event.route.as_deref(), event.request_path.as_deref()),
        (Some("a"), Some("/team-a/v1/chat/completions"))
    );
    let longest = gateway.ask(&chat_to("/team-a/b/v1/chat/completions"));
    assert_eq!(gateway.event_of(longest.request_id()).route.as_deref(), Some("b"));
    let outside = gateway.ask(&Request::chat());
    assert_eq!(gateway.event_of(outside.request_id()).route, None);
    for path in
        ["/team-ab/v1/chat/completions", "/team-a/v2/x", "/team-a/team-a/v1/chat/completions", "/team-a"]
    {
        assert_eq!(gateway.ask(&chat_to(path)).outcome(), (404, "unknown_path".to_owned()), "{path}");
    }
    assert_eq!(gateway.ask(&chat_to("/x/%2e%2e/team-a/v1/chat/completions")).status, 400);
}

/// GW-D4: to a provider all clients are one account, which has the files of all.
#[test]
fn what_a_provider_keeps_can_be_closed_to_everybody() {
    let closed = "routes: [{id: no-files, path: /v1/files, deny: [0.0.0.0/0, '::/0']}, {id: no-responses, path: /v1/responses, deny: [0.0.0.0/0, '::/0']}]";
    for (yaml, refused) in [(closed, true), ("", false)] {
        let gateway = TestGateway::with(yaml);
        for path in ["/v1/files", "/v1/files/file-1/content", "/v1/responses/resp_1", "/v1/%66iles"] {
            let status = gateway.ask(&Request::new("GET", path)).status;
            assert_eq!(status == 403, refused, "{path}: {status}");
        }
        assert_eq!(gateway.ask(&Request::chat()).status, 200, "the rest stays open");
    }
}

#[test]
fn a_routes_addresses_narrow_those_for_all() {
    let gateway = TestGateway::with(
        "ip_allowlist: {enabled: true, allow: [127.0.0.0/29]}\nroutes: [{id: a, path: /a, allow: [127.0.0.0/30, 127.0.0.9/32], deny: [127.0.0.2/32]}]",
    );
    let from = |last: u8, path: &str| {
        let answer = gateway.connect_from(Ipv4Addr::new(127, 0, 0, last)).ask(&chat_to(path));
        (answer.status, gateway.event_of(answer.request_id()))
    };
    let (own, all) = ("/a/v1/chat/completions", "/v1/chat/completions");
    assert_eq!([from(1, own).0, from(1, all).0, from(2, all).0, from(5, all).0], [200; 4]);
    let (status, denied) = from(2, own);
    assert_eq!(
        (status, denied.event_type, denied.deny_range.as_deref()),
        (403, EventType::IpDenied, Some("127.0.0.2/32"))
    );
    assert_eq!(from(5, own).0, 403, "not in the route's ranges");
    assert_eq!(from(9, own).0, 403, "the route cannot let in whom the gateway shuts out");
}

#[test]
fn a_routes_addresses_are_those_of_clients_and_never_of_the_proxy_that_names_none() {
    // The proxy of these requests is itself let in by each route.
    let gateway = TestGateway::with(
        "ip_allowlist: {enabled: false, trust_proxy_headers: true, trusted_hops: 2}\nroutes: [{id: a, path: /a, allow: [127.0.0.0/8, 203.0.113.0/24]}, {id: b, path: /b, deny: [198.51.100.0/24]}, {id: open, path: /open}]",
    );
    let ask = |path: &str, forwarded: Option<&str>| {
        let request = chat_to(&format!("{path}/v1/chat/completions"));
        let request = forwarded.into_iter().fold(request, |it, line| it.header("X-Forwarded-For", line));
        let answer = gateway.ask(&request);
        let event = gateway.event_of(answer.request_id());
        (answer, event)
    };
    for path in ["/a", "/b"] {
        for unknown in [None, Some(""), Some("garbage, 10.0.0.1"), Some("203.0.113.9")] {
            let (answer, event) = ask(path, unknown);
            assert_eq!(answer.outcome(), (403, "ip_denied".to_owned()), "{path} {unknown:?}");
            assert_eq!(event.event_type, EventType::IpDenied, "{path} {unknown:?}");
            assert_eq!(event.matched_rule, Some(MatchedRule::UnresolvedSource), "{path} {unknown:?}");
            assert_eq!((event.source_ip, event.peer_ip), (None, Some([127, 0, 0, 1].into())));
            assert_eq!(ask("/open", unknown).0.status, 200, "nothing asks for an address: {unknown:?}");
        }
        let (answer, event) = ask(path, Some("203.0.113.9, 10.0.0.1"));
        assert_eq!((answer.status, event.source_ip), (200, Some([203, 0, 113, 9].into())), "{path}");
        let (answer, event) = ask(path, Some("198.51.100.7, 10.0.0.1"));
        assert_eq!((answer.status, event.source_ip), (403, Some([198, 51, 100, 7].into())), "{path}");
    }
}

#[test]
fn whatever_is_answered_under_a_routes_path_is_for_pages_of_its_origins() {
    const PAGES: &str = "cors: {enabled: true, allow_origins: ['https://app.example']}\nroutes: [{id: a, path: /a, allow_origins: ['https://a.example']}]\n";
    let chat = "/v1/chat/completions";
    let check = |gateway: &TestGateway, status: u16, below: &str, before: &dyn Fn()| {
        let ask = |path: &str, origin: &str| {
            before();
            let answer = gateway.ask(&chat_to(path).header("Origin", origin));
            (answer.status, answer.header("access-control-allow-origin").map(str::to_owned))
        };
        for (path, own, other) in [
            (format!("/a{below}"), "https://a.example", "https://app.example"),
            (below.to_owned(), "https://app.example", "https://a.example"),
        ] {
            assert_eq!(ask(&path, own), (status, Some(own.to_owned())), "{path}");
            assert_eq!(ask(&path, other), (status, None), "{path}");
        }
    };
    let gateway = TestGateway::with(PAGES);
    check(&gateway, 200, chat, &|| {});
    check(&gateway, 404, "/v1/nowhere", &|| {});
    check(&gateway, 400, "/v1/../models", &|| {});
    check(&gateway, 400, "/v1%2fmodels", &|| {});
    check(&gateway, 500, chat, &|| gateway.break_next_request());
    for (rules, status) in [
        ("ip_allowlist: {enabled: true}", 403),
        ("size_limits: {max_request_body_bytes: 10}", 413),
        ("pack: {enabled: false}", 503),
    ] {
        check(&TestGateway::with(&format!("{PAGES}{rules}")), status, chat, &|| {});
    }
    let full = TestGateway::with(&format!("{PAGES}listener: {{max_connections: 1}}"));
    let mut only = full.connect();
    assert_eq!(only.ask(&Request::chat()).status, 200, "the control");
    check(&full, 503, chat, &|| {});
}

#[test]
fn a_route_has_its_own_origins_and_sizes() {
    let gateway = TestGateway::with(
        "cors: {enabled: true, allow_origins: ['https://app.example'], allow_headers: [X-A]}\nsize_limits: {max_request_body_bytes: 1000}\nroutes: [{id: a, path: /a, allow_origins: ['https://a.example'], size_limits: {max_request_body_bytes: 100}}]",
    );
    let allowed = |path: &str, origin: &str| {
        let answer = gateway.ask(&chat_to(path).header("Origin", origin));
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    let (own, all) = ("/a/v1/chat/completions", "/v1/chat/completions");
    assert_eq!(allowed(own, "https://a.example").as_deref(), Some("https://a.example"));
    assert_eq!(allowed(own, "https://app.example"), None);
    assert_eq!(allowed(all, "https://app.example").as_deref(), Some("https://app.example"));
    let preflight = Request::new("OPTIONS", own)
        .header("Origin", "https://a.example")
        .header("Access-Control-Request-Method", "POST");
    assert_eq!(gateway.ask(&preflight).header("access-control-allow-origin"), Some("https://a.example"));

    let long = |path: &str| {
        let body = format!(r#"{{"model":"m","messages":[],"x":"{}"}}"#, "x".repeat(200));
        gateway.ask(&Request::new("POST", path).json(body)).status
    };
    assert_eq!([long(all), long(own)], [200, 413]);
}

/// A chat that the policy of these tests blocks.
fn with_address(path: &str) -> Request {
    Request::new("POST", path)
        .json(r#"{"model":"m","messages":[{"role":"user","content":"write to ann@example.com"}]}"#)
}

const POLICIES: &str = "policy: {pii-detector: {action: block}}\n";

#[test]
fn a_routes_chain_takes_the_place_of_the_usual_one() {
    let gateway = TestGateway::with(&format!(
        "{POLICIES}policies: {{chain: [pii-detector]}}\nroutes: [{{id: lax, path: /lax, policies: {{chain: []}}}}, {{id: same, path: /same}}]"
    ));
    let blocked = |path: &str| {
        let answer = gateway.ask(&with_address(path));
        let recorded = gateway.event_of(answer.request_id()).request_path;
        assert_eq!(recorded.as_deref(), Some(path), "as it was asked for, whatever came of it");
        answer.status == 409
    };
    assert!(blocked("/v1/chat/completions") && blocked("/same/v1/chat/completions"));
    assert!(!blocked("/lax/v1/chat/completions"));
    assert_eq!(gateway.ask(&chat_to("/v1/chat/completions")).status, 200, "the control");
}

#[test]
fn a_groups_chain_comes_on_top() {
    let gateway = TestGateway::with(&format!(
        "{KEYS}{POLICIES}consumer_groups: [{{id: watched, keys: [app], policies: {{chain: [pii-detector]}}}}]\nroutes: [{{id: lax, path: /lax, policies: {{chain: []}}}}]"
    ));
    for path in ["/v1/chat/completions", "/lax/v1/chat/completions"] {
        let blocked = gateway.ask(&of_app(with_address(path)));
        assert_eq!(blocked.status, 409, "{path}");
        assert_eq!(gateway.event_of(blocked.request_id()).consumer_group.as_deref(), Some("watched"));
        assert_eq!(gateway.ask(&of_other(with_address(path))).status, 200, "{path}");
    }
}

#[test]
fn a_group_has_its_own_limits() {
    let gateway = TestGateway::with(&format!(
        "{KEYS}rate_limits: {{per_key: {{requests_per_minute: 50}}}}\nconsumer_groups: [{{id: small, keys: [app], limits: {{requests_per_minute: 3}}, per_key: {{requests_per_minute: 9}}}}]"
    ));
    let answer = gateway.ask(&of_app(Request::chat()));
    let policy = answer.header("ratelimit-policy").expect("it is told");
    assert_eq!(policy, r#""key-requests";q=9;w=60, "group-requests";q=3;w=60"#);
    let statuses = [(); 3].map(|()| gateway.ask(&of_app(Request::chat())));
    assert_eq!(statuses.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert_eq!(gateway.event_of(statuses[2].request_id()).limited_by.as_deref(), Some("group requests"));
    let other = gateway.ask(&of_other(Request::chat()));
    assert_eq!(other.header("ratelimit-policy"), Some(r#""key-requests";q=50;w=60"#));
}

#[test]
fn a_route_has_a_limit_for_all_who_come_through_it() {
    let gateway = TestGateway::with("routes: [{id: a, path: /a, limits: {requests_per_minute: 1}}]");
    let statuses = ["/a/v1/models", "/v1/models", "/a/v1/models"]
        .map(|path| gateway.ask(&Request::new("GET", path)).status);
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn targets_of_a_route_and_a_group_are_theirs_alone() {
    let (second, third) = (Upstream::start(), Upstream::start());
    let gateway = TestGateway::with(&format!(
        "{KEYS}providers:\n  targets:\n    - {{id: first, provider: openai, base_url: 'http://UPSTREAM/v1'}}\n    - {{id: second, provider: openai, base_url: 'http://{}/v1', priority: 1}}\n    - {{id: third, provider: openai, base_url: 'http://{}/v1', priority: 2}}\nconsumer_groups: [{{id: g, keys: [app], targets: [second, third]}}]\nroutes: [{{id: r, path: /r, targets: [first, third]}}]\n",
        second.address(),
        third.address(),
    ));
    let target = |request: Request| {
        let answer = gateway.ask(&request);
        assert_eq!(answer.status, 200);
        gateway.event_of(answer.request_id()).target_id.unwrap_or_default().to_string()
    };
    assert_eq!(target(of_other(Request::chat())), "first");
    assert_eq!(target(of_app(Request::chat())), "second");
    assert_eq!(target(of_other(chat_to("/r/v1/chat/completions"))), "first");
    assert_eq!(target(of_app(chat_to("/r/v1/chat/completions"))), "third", "only what both permit");
    third.answer_as("500 Oh", "", "{}");
    let answer = gateway.ask(&of_app(chat_to("/r/v1/chat/completions")));
    assert_eq!(answer.outcome(), (502, "upstream_failed".to_owned()), "nobody else stands in");
}
