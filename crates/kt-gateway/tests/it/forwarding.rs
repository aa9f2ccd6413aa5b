//! What a provider sees of a request, what a client sees of an answer, and who may ask at all.

mod streams;

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use kt_domain::events::{EventType, Verdict};

use crate::harness::{CHAT, Client, PROVIDER_KEY, Received, Request, TestGateway, Then, wait_for};
use crate::keys::{KEYS, with_key};

fn target(fields: &str) -> String {
    format!("providers: {{targets: [{{id: t, secret_key_ref: {{env: PROVIDER_KEY}}, {fields}}}]}}")
}

/// What a client sends and a provider must not see.
const PRIVATE: [(&str, &str); 16] = [
    ("Cookie", "session=1"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Host", "inside.test"),
    ("Forwarded", "for=203.0.113.9"),
    ("X-Real-IP", "203.0.113.9"),
    ("CF-Connecting-IP", "203.0.113.9"),
    ("Origin", "https://app.example.com"),
    ("Referer", "https://app.example.com/secret"),
    ("Accept-Encoding", "gzip, br"),
    ("Proxy-Authorization", "Basic eDp5"),
    ("Upgrade", "websocket"),
    ("TE", "trailers"),
    ("X-Internal", "1"),
    ("X-KT-Request-Id", "forged"),
    ("Via", "1.1 other"),
    ("OpenAI-Organization", "org-of-the-client"),
];

/// All callers share the gateway's key at the provider, which tells their words apart only if they differ.
#[test]
fn the_word_by_which_a_repetition_is_known_is_each_callers_own() {
    let two = "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: CLIENT_KEY}}, {id: other, secret_key_ref: {env: PROVIDER_KEY}}]}";
    let gateway = TestGateway::with(two);
    let seen = |request: &Request| {
        assert_eq!(gateway.ask(request).status, 200);
        let requests = gateway.upstream.requests();
        requests.last().and_then(|request| request.header("idempotency-key"))
    };
    let ask = |key: &str, word: &str| {
        let key = format!("Bearer {key}");
        seen(&Request::chat().header("Authorization", key).header("Idempotency-Key", word))
    };
    let first = ask("client-key", "word").expect("it is passed on");
    assert_eq!((first.len(), first.contains("word")), (64, false));
    assert_eq!(ask("client-key", "word").as_ref(), Some(&first), "a repetition is known as one");
    assert_ne!(ask("client-key", "another").as_ref(), Some(&first));
    assert_ne!(ask(PROVIDER_KEY, "word").as_ref(), Some(&first), "another caller's word is another one");
    assert_eq!(seen(&with_key(Request::chat())), None, "the control");
}

#[test]
fn a_provider_sees_what_is_listed_and_nothing_else() {
    let gateway = TestGateway::with(KEYS);
    let passed = [
        ("Accept", "text/event-stream"),
        ("User-Agent", "sdk/1"),
        ("X-Stainless-Lang", "js"),
        ("OpenAI-Beta", "assistants=v2"),
        ("Traceparent", "00-1"),
    ];
    let request = PRIVATE
        .iter()
        .chain(&passed)
        .fold(with_key(Request::chat()), |request, (name, value)| request.header(name, value));
    let answer = gateway.ask(&request);
    assert_eq!((answer.status, answer.header("x-kt-policy-action")), (200, Some("allow")));
    let seen = gateway.upstream.only_request();
    assert_eq!(seen.request_line(), "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(seen.body, CHAT);
    let host = gateway.upstream.address().to_string();
    let key = format!("Bearer {PROVIDER_KEY}");
    let mut expected: Vec<(String, String)> = [
        ("host", &host[..]),
        ("authorization", &key),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
        ("via", "1.1 gw_test"),
        ("x-kt-request-id", answer.request_id()),
        ("content-length", "60"),
    ]
    .into_iter()
    .chain(passed)
    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
    .collect();
    let mut headers = seen.headers();
    expected.sort();
    headers.sort();
    assert_eq!(headers, expected);
}

#[test]
fn a_client_strikes_nothing_out_by_naming_it_in_connection() {
    let gateway = TestGateway::with(KEYS);
    let options =
        "close, authorization, host, content-type, content-length, x-kt-request-id, via, user-agent";
    let request = with_key(Request::chat()).header("User-Agent", "sdk/1").header("Connection", options);
    assert_eq!(gateway.ask(&request).status, 200, "the key still counts");
    let seen = gateway.upstream.only_request();
    for ours in ["host", "authorization", "content-type", "content-length", "x-kt-request-id", "via"] {
        assert!(seen.header(ours).is_some(), "{ours}");
    }
    assert_eq!((seen.header("user-agent"), seen.body.as_slice()), (None, CHAT));
}

#[test]
fn a_client_cannot_choose_where_its_request_goes() {
    let gateway = TestGateway::with("");
    let elsewhere = TestGateway::with("");
    let other = elsewhere.upstream.address();
    let url = format!("http://{other}/v1");
    let body = format!(
        r#"{{"model":"m","messages":[],"api_base":"{url}","base_url":"{url}","custom_host":"{url}"}}"#
    );
    let request = [
        "X-Portkey-Custom-Host",
        "X-Api-Base",
        "X-Forwarded-Host",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Destination",
    ]
    .iter()
    .fold(Request::chat().json(body), |request, name| request.header(name, &url));
    assert_eq!(gateway.ask(&request.without("Host").header("Host", other.to_string())).status, 200);
    let absolute =
        Request::new("GET", &format!("{url}/models")).without("Host").header("Host", other.to_string());
    assert_eq!(gateway.ask(&absolute).status, 200);
    assert_eq!((gateway.upstream.requests().len(), elsewhere.upstream.connections()), (2, 0));
}

#[test]
fn a_path_is_joined_to_the_base_url_and_the_query_passes() {
    let gateway = TestGateway::with("");
    for (base, path, expected) in [
        ("/v1", "/v1/models", "/v1/models"),
        ("/v1/", "/v1/models", "/v1/models"),
        ("", "/v1/models", "/models"),
        ("/openai/v1", "/v1/models/m", "/openai/v1/models/m"),
        ("/v1", "/v1/models?a=b&c=%2F..%2f//", "/v1/models?a=b&c=%2F..%2f//"),
        ("/v1", "/v1/models?", "/v1/models?"),
        ("/v1", "/v1/mod%65ls/%c3%a9%20", "/v1/models/%C3%A9%20"),
    ] {
        gateway
            .reload(&target(&format!("provider: openai, base_url: 'http://UPSTREAM{base}'")))
            .expect("it is valid");
        assert_eq!(gateway.ask(&Request::new("GET", path)).status, 200);
        let seen = gateway.upstream.requests().pop().expect("it was forwarded");
        assert_eq!(seen.request_line(), format!("GET {expected} HTTP/1.1"));
        assert_eq!(seen.header("content-length"), None);
    }
}

#[test]
fn anthropics_own_surface_passes_with_its_key_and_version() {
    let gateway = TestGateway::with(&target("provider: anthropic, base_url: 'http://UPSTREAM/v1'"));
    let message = || Request::new("POST", "/v1/messages").json(CHAT).header("X-Api-Key", "of-the-client");
    assert_eq!(gateway.ask(&message()).status, 200);
    let newer = message().header("Anthropic-Version", "2024-01-01").header("Anthropic-Beta", "b");
    assert_eq!(gateway.ask(&newer).status, 200);
    let seen = gateway.upstream.requests();
    assert_eq!(seen[0].request_line(), "POST /v1/messages HTTP/1.1");
    let values = |received: &Received, name: &str| -> Vec<String> {
        received.headers().into_iter().filter(|(own, _)| own == name).map(|(_, value)| value).collect()
    };
    for (request, version) in seen.iter().zip(["2023-06-01", "2024-01-01"]) {
        assert_eq!(values(request, "x-api-key"), [PROVIDER_KEY]);
        assert_eq!(values(request, "anthropic-version"), [version]);
        assert_eq!(request.header("authorization"), None);
    }
    assert_eq!(seen[1].header("anthropic-beta").as_deref(), Some("b"));
    let embeddings = Request::new("POST", "/v1/embeddings").json(r#"{"model":"m","input":"x"}"#);
    let not_spoken = gateway.ask(&embeddings);
    assert_eq!(not_spoken.outcome(), (404, "surface_not_served".to_owned()));
}

#[test]
fn a_client_sees_the_providers_answer_without_what_is_not_for_it() {
    let gateway = TestGateway::with("");
    gateway.upstream.answer_as(
        "201 Created",
        "Content-Type: application/json\r\nX-Request-Id: p-1\r\nOpenAI-Processing-Ms: 5\r\nRetry-After: 7\r\n\
         Connection: keep-alive, X-Hop, content-type\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
         Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nAlt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=1\r\n\
         WWW-Authenticate: Basic\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTrailer: X\r\nTE: x\r\n\
         X-KT-Request-Id: forged\r\nX-KT-Policy-Action: block\r\nX-KT-Anything: forged\r\n",
        "{\"a\": 1}",
    );
    let answer = gateway.ask(&Request::chat());
    assert_eq!((answer.status, &answer.body[..]), (201, &b"{\"a\": 1}"[..]));
    let mut names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "content-length",
        "content-type",
        "date",
        "openai-processing-ms",
        "retry-after",
        "x-kt-policy-action",
        "x-kt-request-id",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    assert_eq!(answer.header("x-kt-policy-action"), Some("allow"));
    assert_eq!(gateway.event_of(answer.request_id()).status, Some(201));
}

/// Answers with a stream whose pieces the test hands out one by one; the stream ends when the test drops the sender.
fn stream_by_hand(gateway: &TestGateway) -> Sender<&'static str> {
    let (pieces, given): (Sender<&'static str>, Receiver<&'static str>) = channel();
    let given = Mutex::new(given);
    gateway.upstream.behave(move |_, provider| {
        provider.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for piece in given.lock().expect("one stream at a time").iter() {
            write!(provider, "{:x}\r\n{piece}\r\n", piece.len())?;
        }
        provider.write_all(b"0\r\n\r\n")?;
        Ok(Then::KeepOpen)
    });
    pieces
}

#[test]
fn a_request_leaves_an_event_that_says_what_came_of_it() {
    let gateway = TestGateway::with(KEYS);
    let answer = gateway.ask(&with_key(Request::chat()));
    let event = gateway.event_of(answer.request_id());
    assert_eq!(event.event_type, EventType::Decision);
    assert_eq!(
        (event.method.as_deref(), event.request_path.as_deref(), event.status, event.reason_code.as_deref()),
        (Some("POST"), Some("/v1/chat/completions"), Some(200), Some("ok"))
    );
    assert_eq!((event.provider.as_deref(), event.target_id.as_deref()), (Some("openai"), Some("primary")));
    assert_eq!((event.key_id.as_deref(), event.model.as_deref()), (Some("app"), Some("m")));
    assert_eq!((event.input_tokens, event.output_tokens, event.stream), (Some(3), Some(5), Some(false)));
    assert_eq!((event.verdict, event.source_ip), (Some(Verdict::Allow), Some(Ipv4Addr::LOCALHOST.into())));
    assert_eq!(event.config_version.as_deref(), Some(&gateway.gateway.config_version()[..]));
    let text = serde_json::to_string(&event).expect("an event can be written");
    assert!(!text.contains("hello"), "prompts are not stored: {text}");
}

#[test]
fn an_event_carries_no_more_of_a_method_and_a_path_than_tells_what_they_are() {
    let gateway = TestGateway::with("");
    let answer = gateway.ask(&Request::new(&"M".repeat(3000), &format!("/{}", "p".repeat(3000))));
    assert_eq!(answer.outcome(), (404, "unknown_path".to_owned()));
    let event = gateway.event_of(answer.request_id());
    assert_eq!(event.method, Some("M".repeat(32)));
    assert_eq!(event.request_path, Some(format!("/{}", "p".repeat(1023))));
}

#[test]
fn the_providers_key_is_seen_by_the_provider_alone() {
    const CANARY: &str = "header-canary-1717171717";
    let gateway = TestGateway::with_options(
        &target(&format!(
            "provider: openai, base_url: 'http://UPSTREAM/v1', headers: {{X-Extra-Key: {CANARY}}}"
        )),
        |options| options.admin_listen = Some((Ipv4Addr::LOCALHOST, 0).into()),
    );
    let mut seen_by_others = Vec::new();
    let mut show = |bytes: &[u8]| seen_by_others.extend_from_slice(bytes);
    for status in
        ["200 OK", "400 Bad Request", "401 Unauthorized", "429 Too Many Requests", "500 Oops", "302 Found"]
    {
        gateway.upstream.behave(move |_, provider| {
            write!(provider, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nLocation: /\r\n\r\n{{}}")?;
            Ok(Then::KeepOpen)
        });
        let mut client = gateway.connect();
        client.send(Request::chat().header("Connection", "close").bytes()).unwrap();
        show(&client.rest());
    }
    let admin = gateway.gateway.admin_address().expect("there is an admin listener");
    for path in ["/metrics", "/keeptrusts/config", "/v1/events", "/readyz", "/nowhere"] {
        let mut client = Client::connect(admin, Ipv4Addr::LOCALHOST.into()).expect("it listens");
        let request = Request::new("GET", path).header("Connection", "close");
        client.send(request.bytes()).unwrap();
        let answer = client.rest();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{path}");
        show(&answer);
    }
    show(serde_json::to_string(&gateway.events()).expect("events can be written").as_bytes());
    let seen_by_others = String::from_utf8_lossy(&seen_by_others);
    for secret in [PROVIDER_KEY, CANARY] {
        assert!(
            gateway.upstream.requests().iter().all(|request| request.head.contains(secret)),
            "the provider sees it"
        );
        assert!(!seen_by_others.contains(secret), "{seen_by_others}");
    }
    assert!(
        seen_by_others.contains("X-Extra-Key") || seen_by_others.contains("x-extra-key"),
        "the configuration is shown"
    );
}

#[test]
fn what_cannot_be_served_says_why() {
    let gateway = TestGateway::with("");
    let message = || Request::new("POST", "/v1/messages/count_tokens").json(CHAT);
    let cases = [
        ("pack: {enabled: false}", Request::chat(), 503, "pack_disabled"),
        ("providers: {targets: []}", Request::chat(), 503, "no_target"),
        ("", message(), 404, "surface_not_served"),
        ("", Request::new("GET", "/v1/nothing"), 404, "unknown_path"),
        ("listener: {hosts: [ours.test]}", Request::chat(), 421, "misdirected_request"),
    ];
    for (yaml, request, status, code) in cases {
        gateway.reload(yaml).unwrap_or_else(|report| panic!("{yaml}: {report}"));
        let answer = gateway.ask(&request);
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{yaml}");
        assert_eq!(gateway.event_of(answer.request_id()).reason_code.as_deref(), Some(code));
    }
    gateway.set_environment("PROVIDER_KEY", None);
    gateway.reload("").expect("an unset variable stops nothing");
    assert_eq!(gateway.ask(&Request::chat()).outcome(), (503, "target_unavailable".to_owned()));
    assert_eq!(gateway.upstream.bytes(), 0);
    gateway.set_environment("PROVIDER_KEY", Some(PROVIDER_KEY));
    gateway.reload("listener: {hosts: [ours.test]}").expect("it is valid");
    for name in ["ours.test", "OURS.test:1234"] {
        assert_eq!(gateway.ask(&to(name, Request::chat())).status, 200, "{name}");
        let of_page = Request::chat().header("Origin", "http://ours.test");
        assert_eq!(gateway.ask(&to(name, of_page)).status, 200, "{name}, which is listed");
    }
    assert_eq!(gateway.ask(&Request::new("GET", "/healthz")).status, 421);
}

#[test]
fn requests_beyond_the_concurrency_limit_are_turned_away_at_once() {
    let gateway = TestGateway::with_options("", |options| options.max_concurrency = Some(1));
    let pieces = stream_by_hand(&gateway);
    let mut first = gateway.connect();
    first.send(Request::chat().bytes()).unwrap();
    first.head_answer();
    let refused = gateway.ask(&Request::chat());
    assert_eq!(refused.outcome(), (429, "concurrency_limit".to_owned()));
    assert_eq!(
        refused.headers_like("x-ratelimit-"),
        [
            ("x-ratelimit-limit-concurrent", "1"),
            ("x-ratelimit-remaining-concurrent", "0"),
            ("x-ratelimit-reset-concurrent", "1s"),
            ("x-ratelimit-limit", "1"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1"),
        ]
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(pieces);
    assert_eq!(first.chunk(), None);
    assert_eq!(gateway.upstream.requests().len(), 1);
    gateway.upstream.answer_as("200 OK", "", "{}");
    wait_for("the place to be free", || (gateway.ask(&Request::chat()).status == 200).then_some(()));
}

#[test]
fn a_request_that_comes_back_is_told_by_its_via() {
    let gateway = TestGateway::with("");
    for via in ["1.1 gw_test", "1.0 other, 1.1 gw_test (comment)", "1.1 m\u{fc}nchen (a, b),1.1\tgw_test"] {
        let answer = gateway.ask(&Request::chat().header("Via", via));
        assert_eq!((answer.status, answer.code().as_str()), (508, "loop_detected"), "{via}");
    }
    assert_eq!(gateway.upstream.requests().len(), 0);
    let control = gateway.ask(&Request::chat().header("Via", "1.1 gw_test_too, 1.1 other"));
    assert_eq!((control.status, gateway.upstream.requests().len()), (200, 1));
}

#[test]
fn an_answer_without_content_has_no_length() {
    let gateway = TestGateway::with("");
    gateway.upstream.answer_with("HTTP/1.1 204 No Content\r\nX-Gone: yes\r\n\r\n", Then::KeepOpen);
    let mut client = gateway.connect();
    for _ in 0..2 {
        let answer = client.ask(&Request::new("DELETE", "/v1/files/f"));
        assert_eq!((answer.status, answer.header("x-gone")), (204, Some("yes")));
        assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None));
    }
}

/// The same request, to a gateway that goes by this name.
fn to(name: &str, request: Request) -> Request {
    request.without("Host").header("Host", name)
}

/// GW-B6: its browser takes such a page for one of the gateway's own.
#[test]
fn a_page_cannot_reach_a_gateway_without_keys_by_a_name_that_it_made_point_here() {
    const NAMES: [&str; 5] =
        ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1", "gateway.test:80"];
    let reading = |method| Request::new(method, "/v1/models").header("Accept-Encoding", "gzip, deflate");
    let of_page = [
        Request::chat().header("Origin", "http://evil.test"),
        Request::chat().header("Origin", "null"),
        Request::chat().header("Sec-Fetch-Site", "same-origin"),
        Request::chat().header("Referer", "http://evil.test/"),
        reading("GET"),
    ];
    let open = TestGateway::with("");
    for name in NAMES {
        for request in of_page.clone() {
            let refused = open.ask(&to(name, request));
            assert_eq!(refused.outcome(), (421, "misdirected_request".to_owned()), "{name}");
        }
        assert_eq!(open.ask(&to(name, reading("HEAD"))).status, 421, "{name}");
    }
    assert_eq!(open.upstream.bytes(), 0);
    for name in ["localhost", "LocalHost:41002", "127.0.0.1:41002", "127.1.2.3", "[::1]:41002"] {
        for request in of_page.clone() {
            assert_eq!(open.ask(&to(name, request)).status, 200, "{name}");
        }
    }
    let with_keys = TestGateway::with(KEYS);
    let reachable = TestGateway::with_options("", |options| {
        options.listen = (Ipv4Addr::UNSPECIFIED, 0).into();
    });
    for request in of_page {
        let keyed = with_key(to("evil.test", request.clone()));
        assert_eq!(with_keys.ask(&keyed).status, 200, "no page has its key");
        let elsewhere = to("any.test", request);
        assert_eq!(reachable.ask(&elsewhere).status, 200, "others know it by names of their own");
    }
}

#[test]
fn a_program_reaches_a_gateway_by_any_name_and_everybody_its_health() {
    let gateway = TestGateway::with("");
    for name in ["evil.test", "x", "10.0.0.1:80"] {
        for request in [Request::chat(), Request::new("GET", "/v1/models")] {
            assert_eq!(gateway.ask(&to(name, request)).status, 200, "{name}");
        }
        for path in ["/healthz", "/readyz"] {
            let health = Request::new("GET", path).header("Origin", "http://evil.test");
            assert_eq!(gateway.ask(&to(name, health)).status, 200, "{name}{path}");
        }
    }
    assert_eq!(gateway.upstream.requests().len(), 6);
}

#[test]
fn a_connection_too_many_is_told_so_with_an_id_and_an_event() {
    let gateway = TestGateway::with("listener: {max_connections: 1}");
    let mut first = gateway.connect();
    assert_eq!(first.ask(&Request::chat()).status, 200);
    for _ in 0..3 {
        let mut second = gateway.connect();
        let answer = second.ask(&Request::chat());
        assert_eq!(answer.outcome(), (503, "too_many_connections".to_owned()));
        assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
        let event = gateway.event_of(answer.request_id());
        assert_eq!((event.status, event.peer_ip), (Some(503), Some(Ipv4Addr::LOCALHOST.into())));
        assert_eq!(event.request_path.as_deref(), Some("/v1/chat/completions"));
        assert_eq!(second.rest(), b"");
    }
    assert_eq!(first.ask(&Request::chat()).status, 200, "those that are open go on");
    drop(first);
    wait_for("its place", || (gateway.ask(&Request::chat()).status == 200).then_some(()));
}
