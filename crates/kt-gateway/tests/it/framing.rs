//! One request in gives at most one out: what could be read in two ways, or not at all, ends its connection and is never
//! forwarded (RFC 9112 section 11.2).

use crate::harness::{CHAT, Outcome, Request, TestGateway, Then};

/// A request with a length, a chunked one, one without a body, one in absolute-form: each is accepted as it stands.
const POST: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: application/json\r\n\
Content-Length: 60\r\n\r\n{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}";
const CHUNKED: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: application/json\r\n\
Transfer-Encoding: chunked\r\n\r\n3c;name=value\r\n{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}\r\n\
0\r\nX-Trailer: value\r\n\r\n";
const GET: &str = "GET /v1/models?x=y HTTP/1.1\r\nHost: gateway.test\r\nX-Field: value\r\n\r\n";
const ABSOLUTE: &str = "GET http://gateway.test/v1/models HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

/// What follows each refused request on its connection. Nobody may ever answer or forward it.
const SMUGGLED: &str = "GET /v1/models/smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

const BAD: Outcome = (400, "malformed_request");
const VERSION: Outcome = (505, "http_version_not_supported");
const LONG_TARGET: Outcome = (414, "uri_too_long");
const LARGE_HEAD: Outcome = (431, "headers_too_large");
const EXPECTATION: Outcome = (417, "expectation_failed");

/// Each line: an accepted request, a part of it, what stands there instead, and how that is refused.
#[rustfmt::skip]
const SPOILT: &[(&str, &str, &str, Outcome)] = &[
    // Two framings, or one given twice (section 6.3).
    (POST, "Content-Length: 60", "Content-Length: 60\r\nTransfer-Encoding: chunked", BAD),
    (CHUNKED, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 60", BAD),
    (CHUNKED, "Transfer-Encoding: chunked", "Content-Length: 0\r\nTransfer-Encoding: chunked", BAD),
    (POST, "Content-Length: 60", "Content-Length: 60\r\nContent-Length: 60", BAD),
    (POST, "Content-Length: 60", "Content-Length: 60\r\nContent-Length: 0", BAD),
    (POST, "Content-Length: 60", "Content-Length: 60\r\ncontent-length: 61", BAD),
    (CHUNKED, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", BAD),
    (CHUNKED, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-encoding: cow", BAD),
    // A length that is no plain number (RFC 9110 section 8.6).
    (POST, "Length: 60", "Length: +60", BAD),
    (POST, "Length: 60", "Length: -60", BAD),
    (POST, "Length: 60", "Length: 0x3c", BAD),
    (POST, "Length: 60", "Length: 60, 60", BAD),
    (POST, "Length: 60", "Length: 6 0", BAD),
    (POST, "Length: 60", "Length: 60.0", BAD),
    (POST, "Length: 60", "Length: 60;", BAD),
    (POST, "Length: 60", "Length: 1e2", BAD),
    (POST, "Length: 60", "Length: \"60\"", BAD),
    (POST, "Length: 60", "Length: ", BAD),
    (POST, "Length: 60", "Length: 60\u{b}", BAD),
    (POST, "Length: 60", "Length: 18446744073709551676", BAD),
    (POST, "Length: 60", "Length: 999999999999999999999999999999999999", BAD),
    // A transfer coding other than `chunked` alone (section 6.1).
    (CHUNKED, "chunked", "chunked, chunked", BAD),
    (CHUNKED, "chunked", "gzip, chunked", BAD),
    (CHUNKED, "chunked", "chunked, identity", BAD),
    (CHUNKED, "chunked", "identity", BAD),
    (CHUNKED, "chunked", "xchunked", BAD),
    (CHUNKED, "chunked", "chunkedx", BAD),
    (CHUNKED, "chunked", "chunked;x", BAD),
    (CHUNKED, "chunked", "\"chunked\"", BAD),
    (CHUNKED, "chunked", "", BAD),
    (CHUNKED, ": chunked", ":\tchunked", BAD),
    (CHUNKED, "chunked", "chunked\t", BAD),
    (CHUNKED, "chunked", "\u{b}chunked", BAD),
    (CHUNKED, "chunked", "chunked\u{c}", BAD),
    (CHUNKED, "chunked", "\r\n chunked", BAD),
    (CHUNKED, "chunked", "chunked\r\n ,identity", BAD),
    (CHUNKED, "Encoding: chunked", "Encoding : chunked", BAD),
    (CHUNKED, "Transfer-Encoding", " Transfer-Encoding", BAD),
    (CHUNKED, "HTTP/1.1", "HTTP/1.0", BAD),
    // Line endings (section 2.2).
    (GET, "HTTP/1.1\r\n", "HTTP/1.1\n", BAD),
    (GET, "test\r\n", "test\n", BAD),
    (GET, "value\r\n\r\n", "value\n\n", BAD),
    (GET, "value\r\n\r\n", "value\r\n\n", BAD),
    (GET, "value\r\n\r\n", "value\n\r\n", BAD),
    (GET, "HTTP/1.1\r\n", "HTTP/1.1\r", BAD),
    (GET, "test\r\n", "test\r", BAD),
    (GET, "value", "val\rue", BAD),
    (GET, "value", "value\r\r\nX-Other: x", BAD),
    (GET, "GET", "\nGET", BAD),
    // Header fields (section 5).
    (GET, "value", "val\0ue", BAD),
    (GET, "value", "val\u{7f}ue", BAD),
    (GET, "value", "val\u{1}ue", BAD),
    (GET, "X-Field", "X-\0Field", BAD),
    (GET, "X-Field", "X Field", BAD),
    (GET, "X-Field", "X-Field(", BAD),
    (GET, "X-Field", "X-Fi\u{e9}ld", BAD),
    (GET, "X-Field:", "X-Field :", BAD),
    (GET, "X-Field:", "X-Field\t:", BAD),
    (GET, "X-Field:", ":", BAD),
    (GET, "X-Field: value", "X-Field", BAD),
    (GET, "X-Field: value", "X-Field: a\r\n b", BAD),
    (GET, "X-Field: value", "X-Field: a\r\n\tb", BAD),
    (GET, "Host:", " X: y\r\nHost:", BAD),
    // The host (section 3.2).
    (GET, "Host: gateway.test\r\n", "", BAD),
    (GET, "Host: gateway.test", "Host: gateway.test\r\nHost: gateway.test", BAD),
    (GET, "Host: gateway.test", "Host: gateway.test\r\nHost: other.test", BAD),
    (GET, "gateway.test", "", BAD),
    (GET, "gateway.test", "gateway.test other.test", BAD),
    (GET, "gateway.test", "gateway.test, other.test", BAD),
    (GET, "gateway.test", "gateway.test/v1", BAD),
    (GET, "gateway.test", "x/#@y", BAD),
    (GET, "gateway.test", "user@gateway.test", BAD),
    (GET, "gateway.test", "user:password@gateway.test", BAD),
    (GET, "gateway.test", "gateway.test:port", BAD),
    (GET, "gateway.test", "gateway.test:99999", BAD),
    (GET, "gateway.test", "gateway.test:", BAD),
    (GET, "gateway.test", "gateway.test:+80", BAD),
    (GET, "gateway.test", "gateway.test:65536", BAD),
    (GET, "gateway.test", "[::1", BAD),
    (GET, "gateway.test", "[::1]:+80", BAD),
    (GET, "gateway.test", "[::1]80", BAD),
    (GET, "gateway.test", "[zz]", BAD),
    (GET, "gateway.test", "[1.2.3.4]", BAD),
    (GET, "gateway.test", "[v1.x]", BAD),
    (GET, "gateway.test", "g\u{e4}teway.test", BAD),
    (ABSOLUTE, "http://gateway.test", "http://other.test", BAD),
    (ABSOLUTE, "http://gateway.test", "http://gateway.test:81", BAD),
    (ABSOLUTE, "http://gateway.test", "http://user@gateway.test", BAD),
    (ABSOLUTE, "http://gateway.test", "http://", BAD),
    (ABSOLUTE, "http://", "ftp://", BAD),
    (ABSOLUTE, "http://", "FTP://", BAD),
    // The request line (section 3).
    (GET, "GET /", "/", BAD),
    (GET, "GET", "G(T", BAD),
    (GET, "GET", " GET", BAD),
    (GET, "GET /v1/models?x=y", "GET gateway.test:443", BAD),
    (GET, "GET /v1/models?x=y", "CONNECT gateway.test:443", BAD),
    (GET, "/v1/models?x=y", "v1/models", BAD),
    (GET, "/v1/models?x=y", "*", BAD),
    (GET, "x=y", "x=y#fragment", BAD),
    (GET, "x=y", "x=\u{e9}", BAD),
    (GET, "x=y", "x=\0", BAD),
    (GET, "x=y", "x=\t", BAD),
    (GET, " HTTP/1.1\r\n", "\r\n", BAD),
    (GET, "HTTP/1.1\r\n", "HTTP/1.1 \r\n", BAD),
    (GET, "?x=y", "?x= y", BAD),
    (GET, "HTTP/1.1", "HTTP/1.2", VERSION),
    (GET, "HTTP/1.1", "HTTP/2.0", VERSION),
    (GET, "HTTP/1.1", "HTTP/0.9", VERSION),
    (GET, "HTTP/1.1", "http/1.1", VERSION),
    (GET, "HTTP/1.1", "HTTP/11", VERSION),
    (GET, "HTTP/1.1", "ICY/1.1", VERSION),
    (GET, "X-Field: value", "Expect: 200-ok", EXPECTATION),
    (GET, "X-Field: value", "Expect: 100-continue\r\nExpect: 200-ok", EXPECTATION),
    (GET, "X-Field: value", "Expect: 100-continue, 200-ok", EXPECTATION),
    // Chunks (section 7.1).
    (CHUNKED, "3c;name=value", "3g", BAD),
    (CHUNKED, "3c;name=value", "0x3c", BAD),
    (CHUNKED, "3c;name=value", "-3c", BAD),
    (CHUNKED, "3c;name=value", "+3c", BAD),
    (CHUNKED, "3c;name=value", " 3c", BAD),
    (CHUNKED, "3c;name=value", "3c ;name=value", BAD),
    (CHUNKED, "3c;name=value", "\u{ff13}c", BAD),
    (CHUNKED, "3c;name=value", "", BAD),
    (CHUNKED, "3c;name=value", ";name=value", BAD),
    (CHUNKED, "3c;name=value", "1000000000000003c", BAD),
    (CHUNKED, "3c;name=value", "fffffffffffffffff", BAD),
    (CHUNKED, "3c;name=value\r\n", "3c;name=value\n", BAD),
    (CHUNKED, "3c;name=value\r\n", "3c\r", BAD),
    (CHUNKED, "3c;name=value", "3c;na\rme", BAD),
    (CHUNKED, "3c;name=value", "3c;na\0me", BAD),
    (CHUNKED, "3c;name=value", "3c;na\u{1}me", BAD),
    (CHUNKED, "3c;name=value", "3c;na\u{1b}me", BAD),
    (CHUNKED, "3c;name=value", "3c;na\u{7f}me", BAD),
    (CHUNKED, "3c;name=value", "3b;name=value", BAD),
    (CHUNKED, "}]}\r\n", "}]}", BAD),
    (CHUNKED, "}]}\r\n", "}]}\n", BAD),
    (CHUNKED, "}]}\r\n", "}]}\r", BAD),
    (CHUNKED, "0\r\nX-Trailer", "0\nX-Trailer", BAD),
    (CHUNKED, "X-Trailer: value\r\n", "X-Trailer: value\n", BAD),
    (CHUNKED, "X-Trailer: value\r\n", "X-Trailer: value\r", BAD),
    (CHUNKED, "X-Trailer: value", "X-Trailer: val\u{1}ue", BAD),
    (CHUNKED, "X-Trailer: value", "X-Trailer: val\u{7f}ue", BAD),
    (CHUNKED, "X-Trailer: value", "X-Trailer", BAD),
    (CHUNKED, "X-Trailer: value", ": value", BAD),
    (CHUNKED, "X-Trailer: value", "X Trailer: value", BAD),
    (CHUNKED, "X-Trailer: value", "X-Trailer : value", BAD),
    (CHUNKED, "X-Trailer: value", " X-Trailer: value", BAD),
    (CHUNKED, "X-Trailer: value", "X-Trailer: value\r\n folded", BAD),
    (CHUNKED, "X-Trailer: value", "GET /v1/models HTTP/1.1", BAD),
];

/// The same for parts that are too long to be written down: how often the third part is repeated, too.
#[rustfmt::skip]
const OVERLONG: &[(&str, &str, &str, usize, Outcome)] = &[
    (GET, "x=y", "x", 17_000, LONG_TARGET),
    (GET, "GET", "G", 17_000, LONG_TARGET),
    (GET, "value", "v", 17_000, LARGE_HEAD),
    (GET, "X-Field", "X", 17_000, LARGE_HEAD),
    (GET, "X-Field: value\r\n", "X: 1\r\n", 100, LARGE_HEAD),
    (GET, "X-Field: value\r\n", "X: 12345678901234567890\r\n", 3_000, LARGE_HEAD),
    (CHUNKED, "name=value", "n", 5_000, BAD),
    (CHUNKED, "X-Trailer: value", "X: 1\r\n", 1_000, BAD),
];

/// The longest that is still accepted.
#[rustfmt::skip]
const LONG: &[(&str, &str, &str, usize)] = &[
    (GET, "x=y", "x", 16_000),
    (GET, "value", "v", 16_000),
    (GET, "X-Field: value\r\n", "X: 1\r\n", 99),
    (CHUNKED, "name=value", "n", 4_000),
    (CHUNKED, "X-Trailer: value\r\n", "X: 1\r\n", 600),
];

/// Spellings that are unusual and right, in place of a part of an accepted request.
#[rustfmt::skip]
const UNUSUAL: &[(&str, &str, &str)] = &[
    (GET, "GET", "\r\nGET"),
    (GET, "Host: gateway.test", "hOST:gateway.test"),
    (GET, "Host: gateway.test", "Host:   gateway.test  "),
    (GET, "gateway.test", "gateway.test:8080"),
    (GET, "gateway.test", "gateway.test:65535"),
    (GET, "gateway.test", "[::1]:8080"),
    (GET, "gateway.test", "[::ffff:192.0.2.1]"),
    (GET, "X-Field: value", "X-Field:"),
    (GET, "value", "a\tb"),
    (GET, "value", "caf\u{e9}"),
    (GET, "GET /v1/models?x=y", "GET /v1/mod%65ls"),
    (GET, "HTTP/1.1\r\nHost: gateway.test\r\n", "HTTP/1.0\r\n"),
    (GET, "X-Field: value", "Expect: 100-continue\r\nExpect: 100-Continue"),
    (ABSOLUTE, "http://gateway.test/v1/models", "https://gateway.test/v1/models"),
    (ABSOLUTE, "http://", "HTTP://"),
    (ABSOLUTE, "http://", "HttpS://"),
    (POST, "Content-Length: 60", "CONTENT-LENGTH:60"),
    (POST, "Content-Length: 60", "Content-Length: 0060"),
    (CHUNKED, "chunked", "Chunked"),
    (CHUNKED, "3c;name=value", "3C"),
    (CHUNKED, "3c;name=value", "0000000003c"),
    (CHUNKED, "name=value", "name=\"a\tb\""),
    (CHUNKED, "X-Trailer: value\r\n", ""),
    (CHUNKED, "X-Trailer: value", "X-Trailer:"),
    (CHUNKED, "X-Trailer: value", "X-Trailer:a\tcaf\u{e9}"),
];

fn spoil(request: &str, part: &str, by: &str) -> Vec<u8> {
    let (before, after) = request.split_once(part).expect("the part is in the request");
    [before, by, after].concat().into_bytes()
}

/// Sends a request that is to be refused, with another behind it; tells how either of them got anywhere.
fn fault_in_refusal(gateway: &TestGateway, request: &[u8], expected: Outcome) -> Option<String> {
    let bytes_before = gateway.upstream.bytes();
    let mut client = gateway.connect();
    // A gateway that has refused already may take no more.
    let _ = client.send([request, SMUGGLED.as_bytes()].concat());
    let answer = client.answer();
    let status = Some(answer.status);
    if answer.outcome() != (expected.0, expected.1.to_owned()) {
        return Some(format!("answered {:?}", answer.outcome()));
    }
    if answer.header("connection") != Some("close") || !client.rest().is_empty() {
        return Some("its connection went on".to_owned());
    }
    if gateway.upstream.bytes() != bytes_before {
        return Some("the provider got something".to_owned());
    }
    let event = gateway.event_of(answer.request_id());
    let told = (event.status, event.reason_code.as_deref()) == (status, Some(expected.1));
    (!told).then(|| format!("the event is {event:?}"))
}

/// Sends a request that is to be accepted; tells how it did not come out exactly once.
fn fault_in_forwarding(gateway: &TestGateway, request: &[u8]) -> Option<String> {
    let before = gateway.upstream.requests().len();
    let answer = gateway.raw(request);
    if answer.status != 200 {
        return Some(format!("answered {:?}", answer.outcome()));
    }
    let forwarded = gateway.upstream.requests().split_off(before);
    let body: &[u8] = if request.starts_with(b"POST") { CHAT } else { b"" };
    let as_sent = matches!(&forwarded[..], [only] if only.body == body);
    (!as_sent).then(|| format!("the provider got {forwarded:?}"))
}

/// The faults of all requests at once, each with the request it belongs to.
fn assert_faultless<T>(
    requests: impl IntoIterator<Item = (Vec<u8>, T)>,
    fault: impl Fn(&[u8], T) -> Option<String>,
) {
    let faults: Vec<String> = requests
        .into_iter()
        .filter_map(|(request, expected)| {
            let shown = String::from_utf8_lossy(&request[..request.len().min(250)]).into_owned();
            fault(&request, expected).map(|fault| format!("{shown:?}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_is_malformed_or_ambiguous_is_refused_and_ends_its_connection() {
    let gateway = TestGateway::with("");
    let spoilt = SPOILT.iter().map(|(request, part, by, expected)| (spoil(request, part, by), *expected));
    let overlong = OVERLONG
        .iter()
        .map(|(request, part, by, times, expected)| (spoil(request, part, &by.repeat(*times)), *expected));
    assert_faultless(spoilt.chain(overlong), |request, expected| {
        fault_in_refusal(&gateway, request, expected)
    });
    let controls = [POST, CHUNKED, GET, ABSOLUTE].map(|request| (request.into(), ()));
    assert_faultless(controls, |request, ()| fault_in_forwarding(&gateway, request));
}

#[test]
fn what_is_unusual_and_right_is_forwarded_once() {
    let gateway = TestGateway::with("");
    let unusual = UNUSUAL.iter().map(|(request, part, by)| spoil(request, part, by));
    let long = LONG.iter().map(|(request, part, by, times)| spoil(request, part, &by.repeat(*times)));
    let requests = unusual.chain(long).map(|request| (request, ()));
    assert_faultless(requests, |request, ()| fault_in_forwarding(&gateway, request));
}

#[test]
fn a_path_that_hides_another_is_refused_before_anything_looks_at_it() {
    let gateway =
        TestGateway::with("auth: {mode: static, keys: [{id: k, secret_key_ref: {env: CLIENT_KEY}}]}");
    for path in [
        "/v1/../v1/models",
        "/v1/./models",
        "/v1/%2e%2e/v1/models",
        "/v1/%2E/models",
        "/v1%2fmodels",
        "/v1/models%2Fx",
        "/v1%5cmodels",
        "/v1\\models",
        "//v1/models",
        "/v1//models",
        "/v1/models/%00",
        "/v1/models/%0d%0aX:y",
        "/v1/models/%",
        "/v1/models/%zz",
        "/healthz/../v1/models",
        "/healthz/..%2fv1/models",
    ] {
        let answer = gateway.ask(&Request::new("GET", path));
        assert_eq!(answer.outcome(), (400, "invalid_path".to_owned()), "{path}");
    }
    for path in ["/v1/mod%65ls", "/%761/models", "/v1/models"] {
        let without_key = Request::new("GET", path);
        assert_eq!(gateway.ask(&without_key).outcome(), (401, "missing_key".to_owned()), "{path}");
        assert_eq!(
            gateway.ask(&without_key.header("Authorization", "Bearer client-key")).status,
            200,
            "{path}"
        );
    }
    assert_eq!(gateway.upstream.requests().len(), 3);
    for unknown in [
        "/V1/models",
        "/v1/Models",
        "/v1/models;x",
        "/v1",
        "/",
        "/keeptrusts/config",
        "/metrics",
        "/v1/events",
    ] {
        let request = Request::new("GET", unknown).header("Authorization", "Bearer client-key");
        assert_eq!(gateway.ask(&request).outcome(), (404, "unknown_path".to_owned()), "{unknown}");
    }
    assert_eq!(gateway.upstream.requests().len(), 3);
}

#[test]
fn a_path_takes_its_own_methods_and_names_them() {
    let gateway = TestGateway::with("");
    for (method, path, allowed) in [
        ("TRACE", "/v1/models", "GET"),
        ("CONNECT", "/v1/models", "GET"),
        ("OPTIONS", "/v1/models", "GET"),
        ("POST", "/v1/models", "GET"),
        ("HEAD", "/v1/models", "GET"),
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/chat/completions", "POST"),
        ("post", "/v1/chat/completions", "POST"),
        ("BREW", "/v1/chat/completions", "POST"),
        ("PATCH", "/v1/files", "GET, POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ] {
        let answer = gateway.ask(&Request::new(method, path));
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(answer.code(), "method_not_allowed", "{method} {path}");
        }
    }
    assert_eq!(gateway.upstream.bytes(), 0);
}

#[test]
fn requests_sent_at_once_are_answered_one_by_one_in_order() {
    let gateway = TestGateway::with("");
    gateway.upstream.behave(|received, provider| {
        let body = &received.body;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        std::io::Write::write_all(provider, &[head.as_bytes(), body].concat())?;
        Ok(Then::KeepOpen)
    });
    let body = |n: usize| format!(r#"{{"model":"{n}","messages":[]}}"#);
    let requests = (0..20).map(|n| match n % 2 {
        0 => Request::chat().json(body(n)),
        _ => Request::chat().json(body(n)).chunked(body(n), 7),
    });
    let pipelined: Vec<u8> = requests.flat_map(|request| request.bytes()).collect();
    let mut client = gateway.connect();
    client.send(&pipelined).expect("the gateway takes the requests");
    for n in 0..20 {
        assert_eq!(client.answer().body, body(n).into_bytes());
    }
    let forwarded: Vec<Vec<u8>> =
        gateway.upstream.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(forwarded, (0..20).map(|n| body(n).into_bytes()).collect::<Vec<_>>());
}

#[test]
fn a_client_of_http_1_0_that_asks_for_it_keeps_its_connection_and_is_told_so() {
    let gateway = TestGateway::with("");
    let mut client = gateway.connect();
    let mut told = |version: &str, options: &str| {
        let get = format!("GET /v1/models {version}\r\nHost: gateway.test\r\n{options}\r\n");
        client.send(get).expect("the connection goes on");
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{version} {options}");
        answer.header("connection").map(str::to_owned)
    };
    for _ in 0..2 {
        assert_eq!(told("HTTP/1.0", "Connection: Keep-Alive\r\n").as_deref(), Some("keep-alive"));
        assert_eq!(told("HTTP/1.1", ""), None, "it takes that for granted");
    }
    assert_eq!(told("HTTP/1.0", "").as_deref(), Some("close"), "it did not ask");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_request_in_a_body_is_a_body() {
    let gateway = TestGateway::with("");
    let body = format!(r#"{{"model":"m","messages":[],"x":"{}"}}"#, SMUGGLED.replace("\r\n", "\\r\\n"));
    let mut client = gateway.connect();
    for request in [Request::chat().json(&body), Request::chat().chunked(&body, 11)] {
        assert_eq!(client.ask(&request).status, 200);
    }
    let hidden = Request::new("GET", "/v1/models").body(SMUGGLED);
    assert_eq!(client.ask(&hidden).status, 200);
    assert_eq!(gateway.upstream.requests().len(), 3);
}
