//! The same edge over HTTP/2 (RFC 9113), with prior knowledge.

mod floods;

use std::future::poll_fn;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use kt_domain::events::{EventType, MatchedRule};

use crate::harness::http2::{Client, chat, done, next, request, whole};
use crate::harness::{CHAT, PATIENCE, Request, TestGateway, Then, wait_for};

#[tokio::test]
async fn a_chat_goes_through_and_is_recorded() {
    let gateway = TestGateway::with("");
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    for _ in 0..3 {
        let answer =
            client.ask(done(chat().header("cookie", "a=b").header("x_forwarded_for", "1.1.1.1")), CHAT).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = gateway.upstream.requests().pop().expect("it was forwarded");
        assert_eq!((seen.request_line(), seen.body.as_slice()), ("POST /v1/chat/completions HTTP/1.1", CHAT));
        assert_eq!(seen.header("x-kt-request-id").as_deref(), Some(answer.request_id()));
        assert_eq!((seen.header("cookie"), seen.header("x_forwarded_for")), (None, None));
        let event = gateway.event_of(answer.request_id());
        assert_eq!((event.status, event.input_tokens), (Some(200), Some(3)));
    }
    let pages = client.ask(done(request("GET", "/v1/models?a=b")), b"").await;
    assert_eq!(pages.status, 200);
    assert_eq!(gateway.upstream.requests()[3].request_line(), "GET /v1/models?a=b HTTP/1.1");
}

#[tokio::test]
async fn addresses_are_judged_stream_by_stream_under_the_same_rules() {
    let gateway = TestGateway::with(
        "ip_allowlist: {enabled: true, allow: [203.0.113.0/24], deny: [203.0.113.7/32], trust_proxy_headers: true}",
    );
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    for (lines, rule) in [
        (&["203.0.113.9"][..], None),
        (&["198.51.100.7"], Some(MatchedRule::NotAllowed)),
        (&["203.0.113.7"], Some(MatchedRule::Deny)),
        (&["203.0.113.9", "198.51.100.7"], Some(MatchedRule::NotAllowed)),
        (&["garbage"], Some(MatchedRule::UnresolvedSource)),
        (&[], Some(MatchedRule::UnresolvedSource)),
    ] {
        let request = lines.iter().fold(chat(), |request, line| request.header("x-forwarded-for", *line));
        let answer = client.ask(done(request), CHAT).await;
        assert_eq!(answer.status, if rule.is_none() { 200 } else { 403 }, "{lines:?}");
        assert_eq!(gateway.event_of(answer.request_id()).matched_rule, rule, "{lines:?}");
    }
    gateway.reload("ip_allowlist: {enabled: true, allow: [127.0.0.2/32]}").expect("it is valid");
    for (source, status) in [([127, 0, 0, 2], 200), ([127, 0, 0, 3], 403)] {
        let answer = Client::connect(&gateway, source.into()).await.ask(done(chat()), CHAT).await;
        assert_eq!(answer.status, status);
        assert_eq!(gateway.event_of(answer.request_id()).source_ip, Some(IpAddr::from(source)));
    }
}

#[tokio::test]
async fn a_body_is_held_to_the_limit_to_the_byte() {
    let gateway = TestGateway::with("size_limits: {max_request_body_bytes: 100}");
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let mut body = CHAT.to_vec();
    body.resize(100, b' ');
    assert_eq!(client.ask(done(chat()), &body).await.status, 200);
    body.push(b' ');
    let counted = client.ask(done(chat()), &body).await;
    assert_eq!((counted.status, counted.code()), (413, "request_too_large".to_owned()));
    let (declared, _unsent) = client.begin(done(chat().header("content-length", "101")), false).await;
    let declared = whole(declared).await;
    assert_eq!((declared.status, declared.code()), (413, "request_too_large".to_owned()));
    assert_eq!(gateway.event_of(declared.request_id()).event_type, EventType::RequestTooLarge);
    assert_eq!(client.ask(done(chat()), &body[..100]).await.status, 200, "the connection goes on");
    assert_eq!(gateway.upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_body_that_is_refused_early_is_taken_so_that_its_client_reads_the_answer() {
    const LENGTH: usize = 1_000_000;
    let gateway = TestGateway::with("size_limits: {max_request_body_bytes: 100}");
    let begin = async |client: &Client| {
        let head = done(chat().header("content-length", LENGTH.to_string()));
        let (response, send) = client.begin(head, false).await;
        (whole(response).await, send)
    };
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let (refused, mut send) = begin(&client).await;
    assert_eq!((refused.status, refused.code()), (413, "request_too_large".to_owned()));
    // It is more than the gateway has room for: it goes out as it is taken, or never.
    let mut left = LENGTH;
    send.reserve_capacity(left);
    while left > 0 {
        let room = poll_fn(|cx| send.poll_capacity(cx)).await.expect("the stream is open");
        let room = room.expect("the stream is not reset").min(left);
        left -= room;
        send.send_data(Bytes::from(vec![b' '; room]), left == 0).expect("it can be sent");
    }

    // Strangers by address do not get that courtesy.
    gateway.reload("ip_allowlist: {enabled: true}").expect("it is valid");
    let (denied, mut send) = begin(&client).await;
    assert_eq!((denied.status, denied.code()), (403, "ip_denied".to_owned()));
    let reset = tokio::time::timeout(PATIENCE, poll_fn(|cx| send.poll_reset(cx)));
    assert_eq!(reset.await.expect("it is reset").ok(), Some(h2::Reason::NO_ERROR));
}

#[tokio::test]
async fn an_answer_to_head_tells_how_long_its_content_would_be_and_has_none() {
    let gateway = TestGateway::with("");
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    for (path, status) in [("/healthz", 200), ("/nowhere", 404)] {
        let get = client.ask(done(request("GET", path)), b"").await;
        assert_eq!(get.status, status, "the control: {path}");
        assert!(!get.body.is_empty(), "the control: {path}");
        let head = client.ask(done(request("HEAD", path)), b"").await;
        assert_eq!((head.status, head.body.len()), (status, 0), "{path}");
        let length = head.headers.get("content-length").and_then(|length| length.to_str().ok());
        assert_eq!(length, Some(&*get.body.len().to_string()), "{path}");
    }
}

#[tokio::test]
async fn a_head_that_is_ambiguous_or_too_large_is_refused() {
    let gateway = TestGateway::with("");
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let long = "v".repeat(17_000);
    let fields = |many: usize, value: &str| {
        (0..many).fold(request("GET", "/v1/models"), |request, n| request.header(format!("x-{n}"), value))
    };
    let many = fields(101, "1");
    let cases = [
        (request("GET", "/v1/models").header("host", "other.test"), 400, "malformed_request"),
        (request("GET", "/v1/models").header("host", "a b"), 400, "malformed_request"),
        (
            request("GET", "/v1/models").header("host", "gateway.test").header("host", "other.test"),
            400,
            "malformed_request",
        ),
        (request("GET", "/v1/models").header("host", "gateway.test:99999"), 400, "malformed_request"),
        (request("GET", ":99999/v1/models"), 400, "malformed_request"),
        (request("GET", ":+80/v1/models"), 400, "malformed_request"),
        (request("GET", "").uri("http://[zz]/v1/models"), 400, "malformed_request"),
        (request("GET", "").uri("http://[1.2.3.4]/v1/models"), 400, "malformed_request"),
        (request("GET", "/v1/models").header("expect", "200-ok"), 417, "expectation_failed"),
        (
            request("GET", "/v1/models").header("expect", "100-continue").header("expect", "200-ok"),
            417,
            "expectation_failed",
        ),
        (request("GET", "/v1/files/\u{e9}"), 400, "malformed_request"),
        (request("GET", "/v1/files/a?x=\u{e9}"), 400, "malformed_request"),
        (request("GET", "/v1/../models"), 400, "invalid_path"),
        (request("GET", "/v1%2fmodels"), 400, "invalid_path"),
        (request("GET", &format!("/v1/models?{long}")), 414, "uri_too_long"),
        (many, 431, "headers_too_large"),
        (request("GET", "/v1/models").header("x-long", &long), 431, "headers_too_large"),
        (fields(5, &long[..16_000]), 431, "headers_too_large"),
        (request("PUT", "/v1/models"), 405, "method_not_allowed"),
    ];
    for (request, status, code) in cases {
        let answer = client.ask(done(request), b"").await;
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()));
    }
    let (response, _) = client.begin(done(fields(17, &long[..16_000])), true).await;
    assert_eq!(response.await.map(|response| response.status().as_u16()).ok(), Some(431));
    assert_eq!(gateway.upstream.bytes(), 0);
    let controls = [
        request("GET", "/v1/models").header("host", "gateway.test"),
        request("GET", ":9999/v1/models"),
        request("GET", "").uri("http://[::1]/v1/models"),
        request("GET", "/v1/models").header("expect", "100-continue"),
        request("GET", "/v1/files/%c3%a9?x=%c3%a9"),
    ];
    for control in controls {
        assert_eq!(client.ask(done(control), b"").await.status, 200);
    }
    let forwarded = gateway.upstream.requests().pop().expect("it was forwarded");
    assert_eq!(forwarded.request_line(), "GET /v1/files/%C3%A9?x=%c3%a9 HTTP/1.1");
    gateway.reload("ip_allowlist: {enabled: true}").expect("it is valid");
    let refused = client.ask(done(request("GET", "/v1/models").header("x-long", &long)), b"").await;
    assert_eq!((refused.status, refused.code()), (403, "ip_denied".to_owned()), "its address comes first");
}

#[tokio::test]
async fn what_is_known_of_a_head_that_is_refused_goes_into_its_answer_and_its_event() {
    let gateway = TestGateway::with("cors: {enabled: true, allow_origins: ['https://app.example']}");
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let long = "v".repeat(17_000);
    let messages = || request("POST", "/v1/messages").header("origin", "https://app.example");
    let cases = [
        (messages().header("x-long", &long), 431),
        (messages().header("host", "other.test"), 400),
        (request("POST", &format!("/v1/messages?{long}")).header("origin", "https://app.example"), 414),
    ];
    for (request, status) in cases {
        let answer = client.ask(done(request), b"").await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.headers["access-control-allow-origin"], "https://app.example",
            "a page may read it"
        );
        assert!(answer.body.starts_with(b"{\"type\":\"error\""), "it is in the words of its API");
        let event = gateway.event_of(answer.request_id());
        assert_eq!(event.request_path.as_deref(), Some("/v1/messages"));
        assert_eq!((event.method.as_deref(), event.status), (Some("POST"), Some(status)));
    }
    let elsewhere = request("GET", "/v1/models").header("origin", "https://evil.example");
    let answer = client.ask(done(elsewhere.header("x-long", &long)), b"").await;
    assert_eq!((answer.status, answer.headers.get("access-control-allow-origin")), (431, None));
}

#[tokio::test]
async fn the_address_that_a_head_names_is_judged_before_what_is_wrong_with_it() {
    let gateway = TestGateway::with(
        "ip_allowlist: {enabled: true, allow: [203.0.113.0/24], trust_proxy_headers: true}",
    );
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let long = "v".repeat(17_000);
    for (source, status, code) in
        [("198.51.100.7", 403, "ip_denied"), ("203.0.113.9", 431, "headers_too_large")]
    {
        let request = request("GET", "/v1/models").header("x-forwarded-for", source);
        let answer = client.ask(done(request.header("x-long", &long)), b"").await;
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()));
        let is_denied = gateway.event_of(answer.request_id()).event_type == EventType::IpDenied;
        assert_eq!(is_denied, status == 403);
    }
}

/// Answers with a stream of two pieces, the second when the test says so.
fn two_pieces(gateway: &TestGateway) -> impl Fn() + use<> {
    let (go, told) = channel::<()>();
    let told = Mutex::new(told);
    gateway.upstream.behave(move |_, provider| {
        provider.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")?;
        while told.lock().expect("one stream at a time").recv().is_ok() {
            provider.write_all(b"data: 2\n\n")?;
        }
        Ok(Then::Close)
    });
    move || {
        // The provider may have left already.
        let _ = go.send(());
    }
}

#[tokio::test]
async fn a_stream_passes_piece_by_piece_and_ends_when_its_client_leaves() {
    let gateway = TestGateway::with("");
    let go = two_pieces(&gateway);
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let (response, mut send) = client.begin(done(chat()), false).await;
    send.send_data(Bytes::from_static(CHAT), true).expect("the body can be sent");
    let mut content = response.await.expect("there is an answer").into_body();
    assert_eq!(next(&mut content).await.as_deref(), Some(&b"data: 1\n\n"[..]), "before the second is sent");
    go();
    assert_eq!(next(&mut content).await.as_deref(), Some(&b"data: 2\n\n"[..]));
    send.send_reset(h2::Reason::CANCEL);
    drop(content);
    let other = request("GET", "/healthz");
    assert_eq!(client.ask(done(other), b"").await.status, 200, "the connection goes on");
    let event = wait_for("its event", || gateway.events().pop());
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some("client_closed")));
    wait_for("the provider to be left", || {
        go();
        (gateway.upstream.open_connections() == 0).then_some(())
    });
}

#[tokio::test]
async fn a_body_that_comes_drop_by_drop_is_not_waited_for_longer() {
    let gateway = TestGateway::with("timeouts: {request_body: 300ms}");
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let (response, mut send) = client.begin(done(chat()), false).await;
    let drops = async {
        while send.send_data(Bytes::from_static(b" "), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = tokio::time::timeout(PATIENCE, whole(response)) => answer.expect("it is not waited for"),
        () = drops => unreachable!(),
    };
    assert_eq!((answer.status, answer.code()), (408, "request_timeout".to_owned()));
    assert_eq!(client.ask(done(chat()), CHAT).await.status, 200, "the connection goes on");
    assert_eq!(gateway.upstream.requests().len(), 1, "only the control");
}

#[tokio::test]
async fn a_stream_that_its_client_does_not_take_is_given_up_alone() {
    let gateway = TestGateway::with("timeouts: {response_idle: 200ms}");
    let go = two_pieces(&gateway);
    let client = Client::without_room(&gateway).await;
    let (response, mut send) = client.begin(done(chat()), false).await;
    send.send_data(Bytes::from_static(CHAT), true).expect("the body can be sent");
    let mut content = response.await.expect("there is an answer").into_body();
    let end = tokio::time::timeout(PATIENCE, content.data()).await.expect("it is not waited for");
    assert!(matches!(end, Some(Err(error)) if error.is_reset()));
    let event = wait_for("its event", || gateway.events().pop());
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some("client_closed")));
    wait_for("the provider to be left", || {
        go();
        (gateway.upstream.open_connections() == 0).then_some(())
    });
    let (response, _) = client.begin(done(request("GET", "/healthz")), true).await;
    assert_eq!(response.await.expect("the connection goes on").status(), 200);
}

#[tokio::test]
async fn a_whole_answer_that_its_client_does_not_take_is_given_up_too() {
    let gateway = TestGateway::with_options("timeouts: {response_idle: 1s}", |options| {
        options.max_concurrency = Some(1);
    });
    let client = Client::without_room(&gateway).await;
    let (response, mut send) = client.begin(done(chat()), false).await;
    send.send_data(Bytes::from_static(CHAT), true).expect("the body can be sent");
    assert_eq!(response.await.expect("there is an answer").status(), 200);
    assert_eq!(gateway.ask(&Request::chat()).status, 429, "it has the only place");
    wait_for("its place", || (gateway.ask(&Request::chat()).status == 200).then_some(()));
}

#[tokio::test]
async fn a_stream_goes_on_however_long_the_provider_is_silent() {
    let gateway = TestGateway::with("timeouts: {response_idle: 100ms}");
    let go = two_pieces(&gateway);
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let (response, mut send) = client.begin(done(chat()), false).await;
    send.send_data(Bytes::from_static(CHAT), true).expect("the body can be sent");
    let mut content = response.await.expect("there is an answer").into_body();
    assert_eq!(next(&mut content).await.as_deref(), Some(&b"data: 1\n\n"[..]));
    let more = tokio::time::timeout(Duration::from_millis(400), content.data()).await;
    assert!(more.is_err(), "nothing comes, and nothing ends");
    go();
    assert_eq!(next(&mut content).await.as_deref(), Some(&b"data: 2\n\n"[..]));
}

#[tokio::test]
async fn a_large_answer_comes_whole_through_small_windows() {
    let gateway = TestGateway::with("");
    let text = "x".repeat(1_000_000);
    let body = format!("{{\"id\":\"{text}\"}}");
    let length = body.len();
    gateway.upstream.answer_with(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
        Then::KeepOpen,
    );
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let answer = client.ask(done(chat()), CHAT).await;
    assert_eq!(answer.headers["content-length"].to_str().ok(), Some(&*length.to_string()));
    assert!(answer.body == body.as_bytes(), "{} of {length} bytes", answer.body.len());
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_a_reset() {
    let gateway = TestGateway::with("");
    gateway.upstream.answer_with(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\ndata: 1\n\n",
        Then::Close,
    );
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let (response, mut send) = client.begin(done(chat()), false).await;
    send.send_data(Bytes::from_static(CHAT), true).expect("the body can be sent");
    let mut content = response.await.expect("there is an answer").into_body();
    let mut came = Vec::new();
    let end = loop {
        match content.data().await {
            Some(Ok(piece)) => {
                content.flow_control().release_capacity(piece.len()).expect("it was taken");
                came.extend_from_slice(&piece);
            }
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    let text = String::from_utf8(came).expect("a stream is text");
    assert!(text.starts_with("data: 1\n\ndata: {\"error\":{"), "{text}");
    assert!(text.contains(r#""code":"upstream_incomplete""#) && !text.contains("[DONE]"), "{text}");
    assert!(end.is_some_and(|error| error.is_reset()), "it is never taken for whole");
    assert_eq!(client.ask(done(request("GET", "/healthz")), b"").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_defect_ends_its_own_stream_alone() {
    let gateway = TestGateway::with("");
    let go = two_pieces(&gateway);
    let client = Client::connect(&gateway, Ipv4Addr::LOCALHOST).await;
    let (response, mut send) = client.begin(done(chat()), false).await;
    send.send_data(Bytes::from_static(CHAT), true).expect("the body can be sent");
    let mut content = response.await.expect("there is an answer").into_body();
    assert_eq!(next(&mut content).await.as_deref(), Some(&b"data: 1\n\n"[..]));

    gateway.break_next_request();
    let answer = client.ask(done(chat()), CHAT).await;
    assert_eq!((answer.status, answer.code()), (500, "internal_error".to_owned()));
    let event = gateway.event_of(answer.request_id());
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(500), Some("internal_error")));

    go();
    assert_eq!(next(&mut content).await.as_deref(), Some(&b"data: 2\n\n"[..]), "the other goes on");
}
