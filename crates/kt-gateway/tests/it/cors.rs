//! Cross-Origin Resource Sharing: who a browser lets in, and that no answer is without its headers.

use std::io::Write;

use crate::harness::{Answer, Request, TestGateway, Then};

const ORIGIN: &str = "https://app.example.com";

/// A production configuration.
const CORS: &str = "
cors:
  enabled: true
  allow_origins: ['https://app.example.com', 'https://staging.example.com', 'http://localhost:3000', 'https://xn--bcher-kva.example']
  allow_methods: [POST, OPTIONS]
  allow_headers: [Content-Type, Authorization]
  expose_headers: [X-KT-Request-Id, X-KT-Policy-Action]
  allow_credentials: true
  max_age_seconds: 3600
";
const WILDCARD: &str = "
cors: {enabled: true, allow_origins: ['*'], allow_methods: [GET, POST, OPTIONS], allow_headers: ['*'], max_age_seconds: 300}
";

/// Every CORS header of an answer, sorted, and `Vary`.
fn cors_of(answer: &Answer) -> Vec<(&str, &str)> {
    let mut headers = answer.headers_like("access-control-");
    headers.extend(answer.headers_like("vary"));
    headers.sort_unstable();
    headers
}

/// What an answer to [`ORIGIN`] carries, preflight or not.
const EXPOSED: [(&str, &str); 4] = [
    ("access-control-allow-credentials", "true"),
    ("access-control-allow-origin", ORIGIN),
    ("access-control-expose-headers", "X-KT-Request-Id, X-KT-Policy-Action"),
    ("vary", "Origin"),
];

#[test]
fn a_preflight_is_answered_to_the_letter() {
    let gateway = TestGateway::with(CORS);
    let preflight =
        Request::preflight(ORIGIN).header("Access-Control-Request-Headers", "Content-Type, Authorization");
    let answer = gateway.ask(&preflight);
    assert_eq!(answer.status, 204);
    assert_eq!(
        cors_of(&answer),
        [
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "Content-Type, Authorization"),
            ("access-control-allow-methods", "POST, OPTIONS"),
            ("access-control-allow-origin", ORIGIN),
            ("access-control-expose-headers", "X-KT-Request-Id, X-KT-Policy-Action"),
            ("access-control-max-age", "3600"),
            ("vary", "Origin"),
        ]
    );
    assert_eq!((answer.header("content-length"), answer.header("allow")), (None, None));
    assert_eq!(gateway.upstream.connections(), 0);
    assert!(gateway.events().is_empty(), "a preflight is no use of the gateway");
}

#[test]
fn only_the_listed_origins_are_answered_and_with_the_configured_text() {
    let gateway = TestGateway::with(CORS);
    for allowed in
        [ORIGIN, "https://staging.example.com", "http://localhost:3000", "https://xn--bcher-kva.example"]
    {
        for request in [Request::preflight(allowed), Request::chat().header("Origin", allowed)] {
            assert_eq!(gateway.ask(&request).header("access-control-allow-origin"), Some(allowed));
        }
    }
    for foreign in [
        "https://app.example.com.evil.test",
        "https://evil.test/app.example.com",
        "https://evilapp.example.com",
        "https://notapp.example.com",
        "https://sub.app.example.com",
        "https://example.com",
        "https://appXexample.com",
        "http://app.example.com",
        "HTTPS://app.example.com",
        "https://APP.example.com",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "https://app.example.com.",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "https://app.example.com#x",
        "https://user@app.example.com",
        "https://app.example.com@evil.test",
        "https://app.example.com%00.evil.test",
        "https://app.example.com https://evil.test",
        "https://app.example.com,https://evil.test",
        "https://b\u{fc}cher.example",
        "https://\u{430}pp.example.com",
        "http://localhost",
        "http://localhost:30000",
        "http://127.0.0.1:3000",
        "app.example.com",
        "//app.example.com",
        "null",
        "*",
        "",
        "file://",
    ] {
        let preflight = gateway.ask(&Request::preflight(foreign));
        assert_eq!((preflight.status, cors_of(&preflight)), (204, vec![("vary", "Origin")]), "{foreign}");
        // CORS is no access control: the request itself goes through, and its browser keeps the answer from the page.
        let answer = gateway.ask(&Request::chat().header("Origin", foreign));
        assert_eq!((answer.status, cors_of(&answer)), (200, vec![("vary", "Origin")]), "{foreign}");
    }
    for second in [ORIGIN, "https://evil.test"] {
        let twice = Request::chat().header("Origin", ORIGIN).header("Origin", second);
        assert_eq!(cors_of(&gateway.ask(&twice)), [("vary", "Origin")], "two lines are no origin");
    }
}

#[test]
fn a_wildcard_is_answered_with_a_star_and_never_with_credentials() {
    let gateway = TestGateway::with(WILDCARD);
    for origin in [ORIGIN, "null", "https://anything.test"] {
        let answer =
            gateway.ask(&Request::preflight(origin).header("Access-Control-Request-Headers", "X-One, x-two"));
        assert_eq!(
            cors_of(&answer),
            [
                ("access-control-allow-headers", "X-One, x-two"),
                ("access-control-allow-methods", "GET, POST, OPTIONS"),
                ("access-control-allow-origin", "*"),
                ("access-control-max-age", "300"),
                ("vary", "Origin, Access-Control-Request-Headers"),
            ]
        );
    }
    assert_eq!(
        cors_of(&gateway.ask(&Request::chat())),
        [("access-control-allow-origin", "*"), ("vary", "Origin")]
    );
    let refused = gateway.reload("cors: {enabled: true, allow_origins: ['*'], allow_credentials: true}");
    assert!(refused.unwrap_err().contains("cors.allow_credentials"), "also at a reload");
    assert_eq!(gateway.ask(&Request::preflight(ORIGIN)).header("access-control-allow-credentials"), None);
}

#[test]
fn nothing_but_tokens_of_bounded_length_is_reflected() {
    let gateway = TestGateway::with(WILDCARD);
    let asking = |names: &str| Request::preflight(ORIGIN).header("Access-Control-Request-Headers", names);
    for (names, reflected) in [
        ("Authorization", Some("Authorization")),
        (" x-a ,, X-B,", Some("x-a, X-B")),
        ("X!#$%&'*+-.^_`|~1", Some("X!#$%&'*+-.^_`|~1")),
        ("", None),
        (" , ", None),
    ] {
        let answer = gateway.ask(&asking(names));
        assert_eq!(
            (answer.status, answer.header("access-control-allow-headers")),
            (204, reflected),
            "{names}"
        );
    }
    let long = "x-a,".repeat(2048);
    let longer = "x-a,".repeat(2049);
    assert!(gateway.ask(&asking(&long)).header("access-control-allow-headers").is_some(), "8 KiB");
    for names in
        ["x a", "x:a", "x\"a", "x/a", "x;a", "(x)", "x\u{e9}", "x\ta", "<script>", "x-a, <x>", &longer]
    {
        let answer = gateway.ask(&asking(names));
        let reflected = answer.header("access-control-allow-headers");
        assert_eq!((answer.status, reflected), (204, None), "{names}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("*"),
            "the browser reads what is missing"
        );
    }
    // What cannot stand in a header at all does not even come so far.
    for spoilt in ["x\r", "x\0", "x\r\r\n"] {
        assert_eq!(gateway.ask(&asking(spoilt)).status, 400);
    }
}

#[test]
fn an_odd_preflight_is_answered_like_any_other() {
    let gateway = TestGateway::with(CORS);
    let asking = |origin: &str, method: &str, names: &str| {
        let preflight = Request::preflight(origin).without("Access-Control-Request-Method");
        let preflight = preflight.header("Access-Control-Request-Method", method);
        gateway.ask(&preflight.header("Access-Control-Request-Headers", names))
    };
    for method in ["POST", "PO ST", "P(ST", "POST, GET", ""] {
        for names in ["Content-Type", "x a", "<script>"] {
            let listed = asking(ORIGIN, method, names);
            assert_eq!(listed.status, 204, "{method} {names}");
            for (name, value) in [
                ("access-control-allow-headers", "Content-Type, Authorization"),
                ("access-control-allow-methods", "POST, OPTIONS"),
            ] {
                assert_eq!(listed.header(name), Some(value), "as configured: {method} {names}");
            }
            let foreign = asking("https://evil.test", method, names);
            assert_eq!(
                (foreign.status, cors_of(&foreign)),
                (204, vec![("vary", "Origin")]),
                "{method} {names}"
            );
        }
    }
}

#[test]
fn every_answer_can_be_read_by_the_page_and_varies_by_origin() {
    const KEYS: &str =
        "auth: {mode: static, keys: [{id: k, secret_key_ref: {env: CLIENT_KEY}, requests_per_minute: 1}]}\n";
    let chat = || Request::chat().header("Origin", ORIGIN);
    let with_key = || chat().header("Authorization", "Bearer client-key");
    let cases: [(u16, &str, Vec<Request>); 10] = [
        (200, "", vec![chat()]),
        (200, "", vec![Request::new("GET", "/healthz").header("Origin", ORIGIN)]),
        (404, "", vec![Request::new("GET", "/nowhere").header("Origin", ORIGIN)]),
        (405, "", vec![Request::new("GET", "/v1/chat/completions").header("Origin", ORIGIN)]),
        (400, "", vec![chat().json("{")]),
        (413, "size_limits: {max_request_body_bytes: 10}", vec![chat()]),
        (401, KEYS, vec![chat()]),
        (429, KEYS, vec![with_key(), with_key()]),
        (403, "ip_allowlist: {enabled: true}", vec![chat()]),
        (503, "pack: {enabled: false}", vec![chat()]),
    ];
    for (status, yaml, requests) in cases {
        let gateway = TestGateway::with(&format!("{CORS}{yaml}"));
        let mut answers = requests.iter().map(|request| gateway.ask(request)).collect::<Vec<_>>();
        let answer = answers.pop().expect("there is a request");
        assert_eq!((answer.status, cors_of(&answer)), (status, EXPOSED.to_vec()), "{yaml}");
        let without_origin = gateway.ask(&requests[0].clone().without("Origin"));
        assert_eq!(cors_of(&without_origin), [("vary", "Origin")], "{yaml}");
    }
}

#[test]
fn an_answer_of_the_provider_carries_the_gateways_headers_and_no_others() {
    const PROVIDERS: &str = "Access-Control-Allow-Origin: https://evil.test\r\nAccess-Control-Allow-Credentials: true\r\n\
        access-control-expose-headers: *\r\nAccess-Control-Whatever: x\r\nSet-Cookie: a=b\r\n\
        Vary: Accept-Encoding, origin\r\nvary: X-Other\r\n";
    let gateway = TestGateway::with(CORS);
    gateway.upstream.answer_as("200 OK", PROVIDERS, "{}");
    let mut with_vary = EXPOSED;
    with_vary[3].1 = "Origin, Accept-Encoding, X-Other";
    let answer = gateway.ask(&Request::chat().header("Origin", ORIGIN));
    assert_eq!((cors_of(&answer), answer.header("set-cookie")), (with_vary.to_vec(), None));
    let foreign = gateway.ask(&Request::chat().header("Origin", "https://evil.test"));
    assert_eq!(cors_of(&foreign), [with_vary[3]]);

    gateway.upstream.behave(|_, provider| {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{PROVIDERS}\r\ndata: [DONE]\n\n");
        provider.write_all(head.as_bytes())?;
        Ok(Then::Close)
    });
    let stream = gateway.ask(&Request::chat().header("Origin", ORIGIN));
    assert_eq!((stream.status, cors_of(&stream)), (200, with_vary.to_vec()));

    gateway.upstream.answer_with("nonsense", Then::Close);
    let failed = gateway.ask(&Request::chat().header("Origin", ORIGIN));
    assert_eq!((failed.status, cors_of(&failed)), (502, EXPOSED.to_vec()));
}

#[test]
fn what_is_no_request_at_all_varies_by_origin_too() {
    let gateway = TestGateway::with(CORS);
    for malformed in ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nHost: a\r\n\r\n"] {
        let answer = gateway.raw(malformed);
        assert_eq!((answer.status, cors_of(&answer)), (400, vec![("vary", "Origin")]), "{malformed:?}");
    }
}

#[test]
fn an_options_request_never_reaches_the_provider() {
    let gateway = TestGateway::with(CORS);
    let options = |path: &str| Request::new("OPTIONS", path);
    for (request, allow) in [
        (options("/v1/chat/completions"), "OPTIONS, POST"),
        (options("/v1/chat/completions").header("Origin", ORIGIN), "OPTIONS, POST"),
        (options("/v1/chat/completions").header("Access-Control-Request-Method", "POST"), "OPTIONS, POST"),
        (options("/v1/models"), "GET, OPTIONS"),
        (options("/v1/files"), "GET, OPTIONS, POST"),
        (options("/v1/files/f"), "DELETE, GET, OPTIONS, POST"),
        (options("/healthz"), "GET, OPTIONS"),
        (options("*"), "GET, OPTIONS"),
    ] {
        let answer = gateway.ask(&request);
        assert_eq!((answer.status, answer.header("allow")), (204, Some(allow)), "{request:?}");
        assert_eq!(answer.header("access-control-allow-methods"), None, "it is no preflight");
    }
    assert_eq!(gateway.upstream.connections(), 0);
}

#[test]
fn a_preflight_needs_no_key_and_still_an_allowed_address() {
    let keys = "auth: {mode: static, keys: [{id: k, secret_key_ref: {env: CLIENT_KEY}}]}";
    let gateway = TestGateway::with(&format!("{CORS}{keys}"));
    assert_eq!(gateway.ask(&Request::preflight(ORIGIN)).status, 204);
    assert_eq!(gateway.ask(&Request::chat().header("Origin", ORIGIN)).status, 401);
    gateway.reload(&format!("{CORS}ip_allowlist: {{enabled: true}}")).expect("it is valid");
    let refused = gateway.ask(&Request::preflight(ORIGIN));
    assert_eq!((refused.outcome(), cors_of(&refused)), ((403, "ip_denied".to_owned()), EXPOSED.to_vec()));
}

#[test]
fn without_cors_there_is_no_sign_of_it() {
    let gateway = TestGateway::with("");
    let preflight = gateway.ask(&Request::preflight(ORIGIN));
    assert_eq!((preflight.outcome(), cors_of(&preflight)), ((405, "method_not_allowed".to_owned()), vec![]));
    let answer = gateway.ask(&Request::chat().header("Origin", ORIGIN));
    assert_eq!((answer.status, cors_of(&answer)), (200, vec![]));
    gateway.upstream.answer_as("200 OK", "Access-Control-Allow-Origin: *\r\nVary: Accept\r\n", "{}");
    let answer = gateway.ask(&Request::chat().header("Origin", ORIGIN));
    assert_eq!(cors_of(&answer), [("vary", "Accept")]);
}

#[test]
fn a_page_of_another_site_spends_nothing_through_a_gateway_without_keys() {
    let gateway = TestGateway::with("cors: {enabled: true, allow_origins: ['https://app.example']}");
    let form = || {
        Request::new("POST", "/v1/images/edits")
            .header("Content-Type", "multipart/form-data; boundary=x")
            .body("--x\r\n\r\n--x--\r\n")
    };
    let cancel = || Request::new("POST", "/v1/responses/r/cancel").header("Content-Length", "0");
    let evil = |request: Request| request.header("Origin", "https://evil.example");
    let marked = |request: Request, site: &str| request.header("Sec-Fetch-Site", site);
    for refused in [
        evil(form()),
        evil(cancel()),
        evil(Request::new("POST", "/v1/files").header("Content-Type", "text/plain").body("x")),
        marked(form(), "cross-site"),
        marked(form(), "same-site"),
        marked(evil(cancel()), "cross-site"),
        form().header("Origin", "null"),
    ] {
        assert_eq!(gateway.ask(&refused).outcome(), (403, "cross_site_request".to_owned()), "{refused:?}");
    }
    assert_eq!(gateway.upstream.bytes(), 0);
    let app = |request: Request| request.header("Origin", "https://app.example");
    for let_in in [
        form(),
        cancel(),
        app(form()),
        marked(app(form()), "cross-site"),
        marked(form(), "same-origin"),
        marked(form(), "none"),
        evil(form()).header("Authorization", "Bearer key"),
        evil(Request::chat()),
    ] {
        assert_eq!(gateway.ask(&let_in).status, 200, "{let_in:?}");
    }
}
