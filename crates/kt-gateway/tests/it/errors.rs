//! Refusals in the shape of the API that was called: what each of its SDKs looks for is there, whatever the reason.

use std::sync::Arc;
use std::time::Duration;

use kt_domain::clock::ManualClock;
use serde_json::{Value, json};

use crate::harness::{Answer, Request, TestGateway, Then};

const KEYS: &str =
    "auth: {mode: static, keys: [{id: k, secret_key_ref: {env: CLIENT_KEY}, requests_per_minute: 1}]}";
const POLICY: &str = "policies: {chain: [pii-detector]}\npolicy: {pii-detector: {action: block}}";
const GOOD: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;
const CARD: &str =
    r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"4111 1111 1111 1111"}]}"#;

/// What is asked and what comes of it: a configuration, a request to a path, and the refusal.
struct Case {
    yaml: &'static str,
    request: fn(&str) -> Request,
    status: u16,
    kind: &'static str,
    code: &'static str,
}

fn post(path: &str, body: &str) -> Request {
    Request::new("POST", path).json(body)
}

fn good(path: &str) -> Request {
    post(path, GOOD)
}

const CASES: &[Case] = &[
    Case {
        yaml: "",
        request: |path| post(path, "{"),
        status: 400,
        kind: "validation_error",
        code: "invalid_json",
    },
    Case {
        yaml: "",
        request: |path| Request::new("POST", &format!("{path}?api_key=kt_ak_x")).json(GOOD),
        status: 400,
        kind: "validation_error",
        code: "key_in_address",
    },
    Case { yaml: KEYS, request: good, status: 401, kind: "authentication_error", code: "missing_key" },
    Case {
        yaml: KEYS,
        request: |path| good(path).header("x-api-key", "wrong"),
        status: 401,
        kind: "authentication_error",
        code: "invalid_key",
    },
    Case {
        yaml: "ip_allowlist: {enabled: true}",
        request: good,
        status: 403,
        kind: "permission_denied",
        code: "ip_denied",
    },
    Case {
        yaml: "",
        request: |path| Request::new("GET", path),
        status: 405,
        kind: "validation_error",
        code: "method_not_allowed",
    },
    Case {
        yaml: POLICY,
        request: |path| post(path, CARD),
        status: 409,
        kind: "policy_violation",
        code: "policy_block",
    },
    Case {
        yaml: "size_limits: {max_request_body_bytes: 10}",
        request: good,
        status: 413,
        kind: "request_too_large",
        code: "request_too_large",
    },
    Case {
        yaml: "",
        request: |path| good(path).header("Content-Encoding", "compress"),
        status: 415,
        kind: "validation_error",
        code: "unsupported_encoding",
    },
    Case {
        yaml: "listener: {hosts: [other.test]}",
        request: good,
        status: 421,
        kind: "validation_error",
        code: "misdirected_request",
    },
    Case {
        yaml: "",
        request: |path| post(path, r#"{"messages":[]}"#),
        status: 422,
        kind: "validation_error",
        code: "validation_error",
    },
    Case {
        yaml: "rate_limits: {total: {requests_per_minute: 1}}",
        request: good,
        status: 429,
        kind: "rate_limit",
        code: "rate_limited",
    },
    Case { yaml: "", request: good, status: 502, kind: "upstream_error", code: "upstream_incomplete" },
    Case {
        yaml: "pack: {enabled: false}",
        request: good,
        status: 503,
        kind: "unavailable",
        code: "pack_disabled",
    },
];

/// Lets every target speak the API of the path.
fn gateway(yaml: &str, vendor: &str) -> TestGateway {
    TestGateway::with(&format!(
        "{yaml}\nproviders: {{targets: [{{id: primary, provider: {vendor}, base_url: 'http://UPSTREAM/v1'}}]}}"
    ))
}

fn refused(case: &Case, path: &str, vendor: &str) -> Answer {
    let gateway = gateway(case.yaml, vendor);
    if case.code == "upstream_incomplete" {
        gateway.upstream.answer_with("nonsense", Then::Close);
    }
    if case.code == "rate_limited" {
        assert_eq!(gateway.ask(&good(path)).status, 200, "the control");
    }
    gateway.ask(&(case.request)(path))
}

#[test]
fn every_refusal_has_the_shape_of_the_api_that_was_called() {
    for case in CASES {
        let of_openai = refused(case, "/v1/chat/completions", "openai");
        let of_responses = refused(case, "/v1/responses", "openai");
        let of_messages = refused(case, "/v1/messages", "anthropic");
        for answer in [&of_openai, &of_responses, &of_messages] {
            assert_eq!(answer.outcome(), (case.status, case.code.to_owned()));
            assert_eq!(answer.json()["error"]["type"], case.kind, "{}", case.code);
        }
        for answer in [&of_openai, &of_responses] {
            let body = answer.json();
            assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
        }
        let body = of_messages.json();
        assert_eq!((&body["type"], &body["request_id"]), (&json!("error"), &json!(of_messages.request_id())));
        assert!(body["error"]["message"].is_string(), "{body}");
    }
}

#[test]
fn what_the_gateway_answers_itself_is_inert_in_a_browser_and_what_a_provider_answers_is_left_alone() {
    let gateway = TestGateway::with(KEYS);
    let inert = [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ];
    let own =
        [Request::new("GET", "/healthz"), good("/v1/chat/completions"), Request::new("GET", "/nowhere")];
    for request in own {
        let answer = gateway.ask(&request);
        for (name, value) in inert {
            assert_eq!(answer.header(name), Some(value), "{}", answer.status);
        }
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let malformed = gateway.raw("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!((malformed.status, malformed.header(inert[0].0)), (400, Some(inert[0].1)));
    let of_provider = TestGateway::with("").ask(&Request::chat());
    assert_eq!(of_provider.status, 200);
    for (name, _) in inert {
        assert_eq!(of_provider.header(name), None, "{name}");
    }
}

#[test]
fn a_route_of_its_own_has_the_shape_of_its_surface_too() {
    let gateway = TestGateway::with("routes: [{id: team, path: /team}]");
    let answer = gateway.ask(&post("/team/v1/messages", "{"));
    assert_eq!((answer.outcome().1.as_str(), &answer.json()["type"]), ("invalid_json", &json!("error")));
    let answer = gateway.ask(&post("/team/v1/chat/completions", "{"));
    assert_eq!((answer.outcome().1.as_str(), &answer.json()["type"]), ("invalid_json", &Value::Null));
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n";

/// The data of the last event of what a client got.
fn last_event(body: &[u8]) -> (Option<String>, Value) {
    let text = std::str::from_utf8(body).expect("a stream is text");
    let event = text.trim_end().rsplit("\n\n").next().expect("there is an event");
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let data = field("data: ").unwrap_or_else(|| panic!("no data: {text}"));
    (field("event: "), serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Asks for a stream and takes what comes of it until the connection ends; whether it ended well.
fn streamed(gateway: &TestGateway, path: &str) -> (Vec<u8>, bool) {
    let mut client = gateway.connect();
    let body = GOOD.replacen('{', r#"{"stream":true,"#, 1);
    client.send(post(path, &body).bytes()).expect("the request is taken");
    let head = client.head_answer();
    assert_eq!(head.status, 200);
    let rest = client.rest();
    let ended = rest.ends_with(b"0\r\n\r\n");
    let event = gateway.event_of(head.request_id());
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some("upstream_incomplete")));
    (dechunked(&rest), ended)
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a chunk's size is a hexadecimal number");
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    body
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error_of_its_api() {
    const CHUNK: &str =
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    const BLOCK: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\"}}\n\n";
    const DELTA: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"i\",\"delta\":\"Hel\"}\n\n";
    const READS: &str = "policies: {chain: [pii-detector]}\n";
    for (path, vendor, event, name, code_at) in [
        ("/v1/chat/completions", "openai", CHUNK, None, "/error/code"),
        ("/v1/responses", "openai", DELTA, Some("error"), "/code"),
        ("/v1/messages", "anthropic", BLOCK, Some("error"), "/error/code"),
        // Translated: what the target says is in the other API's words.
        ("/v1/chat/completions", "anthropic", BLOCK, None, "/error/code"),
        ("/v1/messages", "openai", CHUNK, Some("error"), "/error/code"),
    ] {
        for yaml in ["", READS] {
            // Between two events, within a line, and behind one.
            for came in [event, &event[..event.len() - 12], &event[..event.len() - 1]] {
                let gateway = gateway(yaml, vendor);
                gateway.upstream.answer_with(format!("{CUT}{came}"), Then::Close);
                let (body, ended) = streamed(&gateway, path);
                let text = String::from_utf8_lossy(&body).into_owned();
                let passes_as_it_comes =
                    yaml.is_empty() && (path == "/v1/messages") == (vendor == "anthropic");
                if passes_as_it_comes && came != event {
                    // Whatever stood behind it would make an event of what is none.
                    assert_eq!((text.as_str(), ended), (came, false), "{path}");
                    continue;
                }
                let (last_name, data) = last_event(&body);
                assert_eq!(last_name.as_deref(), name, "{path} {vendor} {yaml}: {text}");
                assert_eq!(data.pointer(code_at), Some(&json!("upstream_incomplete")), "{text}");
                assert!(!ended && !text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
                assert_eq!(text.matches("upstream_incomplete").count(), 1, "{text}");
            }
        }
    }
}

#[test]
fn a_stream_that_has_said_it_is_over_gets_no_error_and_a_whole_one_neither() {
    const WHOLE: &str = "data: {\"id\":\"c\",\"choices\":[]}\n\ndata: [DONE]\n\n";
    let gateway = gateway("", "openai");
    for cut in ["", "\n", "\n\n"] {
        let came = format!("{}{cut}", WHOLE.trim_end());
        gateway.upstream.answer_with(format!("{CUT}{came}"), Then::Close);
        let (body, ended) = streamed(&gateway, "/v1/chat/completions");
        assert_eq!((String::from_utf8_lossy(&body).into_owned(), ended), (came, false));
    }
    gateway.upstream.answer_with(format!("{STREAM}{WHOLE}"), Then::Close);
    let answer = gateway.ask(&good("/v1/chat/completions"));
    assert_eq!(answer.body, WHOLE.as_bytes(), "the control: without a length it ends with its connection");
    assert_eq!(gateway.event_of(answer.request_id()).reason_code.as_deref(), Some("ok"));
}

#[test]
fn a_providers_own_word_of_its_failure_is_told_once() {
    let gateway = gateway("", "anthropic");
    let busy = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    gateway.upstream.answer_with(format!("{STREAM}{busy}"), Then::Close);
    let mut client = gateway.connect();
    let body = GOOD.replacen('{', r#"{"stream":true,"#, 1);
    client.send(post("/v1/chat/completions", &body).bytes()).expect("the request is taken");
    let head = client.head_answer();
    let rest = client.rest();
    let told = dechunked(&rest);
    let (_, data) = last_event(&told);
    assert_eq!(data["error"]["message"], "busy");
    assert_eq!(String::from_utf8_lossy(&told).matches("data: ").count(), 1);
    let event = gateway.event_of(head.request_id());
    assert_eq!(event.reason_code.as_deref(), Some("upstream_failed"));
}

/// RFC 9110 section 6.6.1. Over HTTP/2 the library sees to it.
#[test]
fn an_answer_says_when_it_was_made_unless_its_provider_did() {
    let clock = ManualClock::starting_at("2026-03-15T12:00:00Z".parse().expect("it is a moment"));
    let time = Arc::new(clock.clone());
    let cors = "cors: {enabled: true, allow_origins: ['https://app.example']}";
    let gateway = TestGateway::with_options(cors, |options| options.clock = time);
    for (moment, advance) in [
        ("Sun, 15 Mar 2026 12:00:00 GMT", 999),
        ("Sun, 15 Mar 2026 12:00:00 GMT", 1),
        ("Sun, 15 Mar 2026 12:00:01 GMT", 0),
    ] {
        for (request, status) in [
            (Request::new("GET", "/healthz"), 200),
            (Request::new("GET", "/nowhere"), 404),
            (Request::new("GET", "/v1/models#x"), 400),
            (Request::preflight("https://app.example"), 204),
            (Request::chat(), 200),
        ] {
            let answer = gateway.ask(&request);
            assert_eq!((answer.status, answer.header("date")), (status, Some(moment)), "{request:?}");
        }
        clock.advance(Duration::from_millis(advance));
    }
    gateway.upstream.answer_as("200 OK", "Date: Mon, 16 Mar 2026 00:00:00 GMT\r\n", "{}");
    assert_eq!(gateway.ask(&Request::chat()).header("date"), Some("Mon, 16 Mar 2026 00:00:00 GMT"));
}

#[test]
fn nothing_is_written_behind_a_stream_that_is_packed() {
    const CHUNK: &str = "data: {\"choices\":[]}\n\n";
    for (coding, is_told) in [("gzip", false), ("identity", true)] {
        let gateway = gateway("", "openai");
        let head = CUT.replacen("\r\n", &format!("\r\nContent-Encoding: {coding}\r\n"), 1);
        gateway.upstream.answer_with(format!("{head}{CHUNK}"), Then::Close);
        let (body, ended) = streamed(&gateway, "/v1/chat/completions");
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(text.starts_with(CHUNK) && !ended, "{text}");
        assert_eq!(text.contains("upstream_incomplete"), is_told, "{coding}: {text}");
    }
}
