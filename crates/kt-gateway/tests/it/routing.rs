//! Which target a request goes to, and what happens when one fails: repetitions, other targets, circuits, time limits.

mod unreadable;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kt_domain::clock::ManualClock;
use kt_domain::events::Event;
use socket2::{Domain, Socket, Type};

use crate::harness::{Answer, Request, TestGateway, Then, Upstream, wait_for};

const QUICK: &str = "retry:\n  base_delay: 1ms\n  max_delay: 20ms\n";

/// A gateway with two targets, `primary` before `second`, and this configuration on top.
fn two_targets(yaml: &str) -> (TestGateway, Upstream) {
    let second = Upstream::start();
    let targets = format!(
        "providers:\n  targets:\n    - {{id: primary, provider: openai, base_url: 'http://UPSTREAM/v1'}}\n    - {{id: second, provider: openai, base_url: 'http://{}/v1', priority: 1}}\n",
        second.address()
    );
    (TestGateway::with(&format!("{targets}{QUICK}{yaml}")), second)
}

/// The targets that were asked in vain, with the reason of each.
fn failed(event: &Event) -> Vec<(&str, &str)> {
    let attempts = event.failed_attempts.iter().flatten();
    attempts.map(|attempt| (&*attempt.target_id, &*attempt.reason_code)).collect()
}

#[test]
fn a_target_that_fails_is_stood_in_for_by_the_next() {
    for (status, code) in [
        ("500 Oh", "upstream_failed"),
        ("503 Oh", "upstream_failed"),
        ("401 No", "upstream_key_refused"),
        ("429 Slow", "upstream_rate_limited"),
        ("302 There", "upstream_invalid"),
    ] {
        let (gateway, second) = two_targets("");
        gateway.upstream.answer_as(status, "", "{}");
        let answer = gateway.ask(&Request::chat());
        assert_eq!(answer.status, 200, "{status}");
        assert_eq!((gateway.upstream.requests().len(), second.requests().len()), (1, 1), "{status}");
        assert_eq!(second.only_request().body, gateway.upstream.only_request().body, "{status}");
        let event = gateway.event_of(answer.request_id());
        assert_eq!(event.target_id.as_deref(), Some("second"), "{status}");
        assert_eq!(failed(&event), [("primary", code)], "{status}");
    }
}

#[test]
fn a_refusal_of_the_request_itself_is_the_clients_and_nobody_else_is_asked() {
    for status in ["400 Bad", "404 What", "422 No"] {
        let (gateway, second) = two_targets("");
        gateway.upstream.answer_as(status, "", r#"{"error":{}}"#);
        let answer = gateway.ask(&Request::chat());
        assert_eq!(answer.status.to_string(), status[..3]);
        assert_eq!(second.requests().len(), 0, "{status}");
        assert_eq!(gateway.event_of(answer.request_id()).failed_attempts, None);
    }
}

#[test]
fn what_the_configuration_does_not_list_is_not_repeated() {
    let (gateway, second) = two_targets("  fallback_on: [connect]\n  on: []\n");
    gateway.upstream.answer_as("500 Oh", "", "{}");
    assert_eq!(gateway.ask(&Request::chat()).outcome(), (502, "upstream_failed".to_owned()));
    assert_eq!(second.requests().len(), 0);
}

/// Answers `times` requests with this status and everything after with 200.
fn fails_at_first(upstream: &Upstream, times: usize, status: &'static str) {
    let asked = Arc::new(AtomicUsize::new(0));
    upstream.behave(move |_, client| {
        let status = if asked.fetch_add(1, Ordering::SeqCst) < times { status } else { "200 OK" };
        write!(
            client,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        )?;
        Ok(Then::KeepOpen)
    });
}

#[test]
fn an_overloaded_target_is_asked_again_and_a_broken_one_is_not() {
    for (status, answers, asked) in [
        ("503 Busy", 200, 2),
        ("529 Busy", 200, 2),
        ("429 Slow\r\nRetry-After: 0", 200, 2),
        ("500 Oh", 502, 1),
        ("401 No", 502, 1),
    ] {
        let gateway = TestGateway::with(QUICK);
        fails_at_first(&gateway.upstream, 1, status);
        let answer = gateway.ask(&Request::chat());
        assert_eq!((answer.status, gateway.upstream.requests().len()), (answers, asked), "{status}");
        let ids: Vec<_> =
            gateway.upstream.requests().iter().map(|request| request.header("x-kt-request-id")).collect();
        assert!(ids.iter().all(|id| id.as_deref() == Some(answer.request_id())), "one request, one id");
    }
}

#[test]
fn repetitions_end_and_the_last_word_is_the_clients() {
    let gateway = TestGateway::with(QUICK);
    fails_at_first(&gateway.upstream, 9, "429 Slow\r\nX-Reason: quota");
    let answer = gateway.ask(&Request::chat());
    assert_eq!((answer.status, answer.header("x-reason")), (429, Some("quota")));
    assert_eq!(gateway.upstream.requests().len(), 3);
    let event = gateway.event_of(answer.request_id());
    assert_eq!(failed(&event), [("primary", "upstream_rate_limited"); 2]);
}

#[test]
fn a_wait_that_is_too_long_is_left_to_the_client() {
    let gateway = TestGateway::with(QUICK);
    fails_at_first(&gateway.upstream, 1, "429 Slow\r\nRetry-After: 60");
    let answer = gateway.ask(&Request::chat());
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")));
    assert_eq!(gateway.upstream.requests().len(), 1);
}

#[test]
fn a_target_that_asks_to_be_left_alone_is_while_another_can_stand_in() {
    for (asks, times) in [("Retry-After: 30\r\n", 1), ("", 3)] {
        let clock = ManualClock::starting_at("2026-03-15T14:22:31Z".parse().expect("a moment"));
        let second = Upstream::start();
        let gateway = TestGateway::with_options(
            &format!(
                "providers:\n  targets:\n    - {{id: primary, provider: openai, base_url: 'http://UPSTREAM/v1'}}\n    - {{id: second, provider: openai, base_url: 'http://{}/v1', priority: 1}}\n{QUICK}",
                second.address()
            ),
            |options| options.clock = Arc::new(clock.clone()),
        );
        gateway.upstream.answer_as("429 Slow", asks, "{}");
        for _ in 0..3 {
            assert_eq!(gateway.ask(&Request::chat()).status, 200);
        }
        assert_eq!((gateway.upstream.requests().len(), second.requests().len()), (times, 3), "{asks}");

        second.answer_as("503 Oh", "Retry-After: 30\r\n", "{}");
        gateway.upstream.answer_as("200 OK", "", "{}");
        assert_eq!(gateway.ask(&Request::chat()).status, 200, "nobody else is left");
        clock.advance(Duration::from_secs(30));
        let before = second.requests().len();
        assert_eq!(gateway.ask(&Request::chat()).status, 200);
        assert_eq!(second.requests().len(), before, "the first has its turn again");
    }
}

#[test]
fn a_stream_that_breaks_off_is_not_begun_anew() {
    let (gateway, second) = two_targets("");
    gateway.upstream.answer_with(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
        Then::Close,
    );
    let mut client = gateway.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    assert_eq!(client.head_answer().status, 200);
    assert_eq!(client.chunk().as_deref(), Some(&b"data: 1\n\n"[..]));
    let rest = String::from_utf8(client.rest()).expect("a stream is text");
    assert_eq!(rest.matches("data: ").count(), 1, "nothing but the word of it: {rest}");
    assert!(rest.contains("upstream_incomplete"), "{rest}");
    assert_eq!(second.requests().len(), 0);
}

#[test]
fn streams_that_break_off_speak_against_their_target_and_those_that_are_left_do_not() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    for (breaks_off, asked) in [(true, (2, 1)), (false, (3, 0))] {
        let (gateway, second) = two_targets("circuit_breaker: {enabled: true, failures: 2}\n");
        gateway.upstream.behave(move |_, client| {
            client.write_all(begun.as_bytes())?;
            if !breaks_off {
                // It ends when the client is gone.
                let _ = client.read(&mut [0])?;
            }
            Ok(Then::Close)
        });
        for _ in 0..3 {
            let mut client = gateway.connect();
            client.send(Request::chat().bytes()).expect("the request is taken");
            let head = client.head_answer();
            if second.requests().is_empty() {
                assert_eq!(client.chunk().as_deref(), Some(&b"data: 1\n\n"[..]));
                if breaks_off {
                    client.rest();
                }
            }
            drop(client);
            gateway.event_of(head.request_id());
        }
        assert_eq!((gateway.upstream.requests().len(), second.requests().len()), asked, "{breaks_off}");
    }
}

#[test]
fn equals_share_by_weight_and_the_lowest_priority_comes_first() {
    let (heavy, light, spare) = (Upstream::start(), Upstream::start(), Upstream::start());
    let target = |id: &str, at: SocketAddr, more: &str| {
        format!("    - {{id: {id}, provider: openai, base_url: 'http://{at}/v1', {more}}}\n")
    };
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n{}{}{}",
        target("spare", spare.address(), "priority: 1"),
        target("heavy", heavy.address(), "weight: 3"),
        target("light", light.address(), "weight: 1"),
    ));
    for _ in 0..40 {
        assert_eq!(gateway.ask(&Request::chat()).status, 200);
    }
    assert_eq!([&heavy, &light, &spare].map(|upstream| upstream.requests().len()), [30, 10, 0]);
}

#[test]
fn a_target_that_serves_a_model_by_another_name_is_sent_its_own() {
    let gateway = TestGateway::with(
        "providers:\n  targets:\n    - {id: own, provider: 'openai:chat:gpt-x', base_url: 'http://UPSTREAM/v1', serves: [m]}\n    - {id: other, provider: 'openai:chat:other', base_url: 'http://127.0.0.1:1/v1', priority: 0}\n",
    );
    let answer = gateway.ask(&Request::chat());
    assert_eq!(answer.status, 200);
    let body = String::from_utf8(gateway.upstream.only_request().body).expect("JSON is text");
    assert_eq!(body, r#"{"model":"gpt-x","messages":[{"role":"user","content":"hello"}]}"#);
    let event = gateway.event_of(answer.request_id());
    assert_eq!(event.model.as_deref(), Some("m"), "the event says what was asked for");
}

#[test]
fn a_target_for_another_model_never_stands_in() {
    let other = Upstream::start();
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n    - {{id: own, provider: 'openai:chat:m', base_url: 'http://UPSTREAM/v1'}}\n    - {{id: other, provider: 'openai:chat:n', base_url: 'http://{}/v1'}}\n",
        other.address()
    ));
    gateway.upstream.answer_as("500 Oh", "", "{}");
    assert_eq!(gateway.ask(&Request::chat()).outcome(), (502, "upstream_failed".to_owned()));
    assert_eq!(other.requests().len(), 0);
}

const BREAKER: &str =
    "retry: {max_retries: 0}\ncircuit_breaker: {enabled: true, failures: 3, open_for: 30s}\n";

struct Clocked {
    gateway: TestGateway,
    clock: ManualClock,
}

impl Clocked {
    fn with(yaml: &str) -> Self {
        let clock = ManualClock::starting_at("2026-03-15T14:22:31Z".parse().expect("a moment"));
        let gateway = TestGateway::with_options(yaml, |options| {
            options.clock = Arc::new(clock.clone());
            options.admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        });
        Self { gateway, clock }
    }

    fn ask(&self) -> Answer {
        self.gateway.ask(&Request::chat())
    }

    /// The circuit of the only target, as the operator sees it.
    fn circuit(&self) -> (String, String) {
        let get = |path| {
            let request = Request::new("GET", path);
            self.gateway.connect_admin().ask(&request)
        };
        let (shown, metrics) = (get("/keeptrusts/targets"), get("/metrics"));
        let text = String::from_utf8(metrics.body).expect("metrics are text");
        let line = text.lines().find(|line| line.starts_with("keeptrusts_gateway_target_circuit{"));
        let gauge = line.and_then(|line| line.rsplit(' ').next()).expect("it is there").to_owned();
        (shown.json()["targets"][0]["circuit"].as_str().expect("a state").to_owned(), gauge)
    }
}

#[test]
fn a_target_that_fails_again_and_again_is_left_alone_and_tried_later() {
    let clocked = Clocked::with(BREAKER);
    let upstream = &clocked.gateway.upstream;
    upstream.answer_as("500 Oh", "", "{}");
    for _ in 0..3 {
        assert_eq!(clocked.ask().outcome(), (502, "upstream_failed".to_owned()));
    }
    assert_eq!(clocked.circuit(), ("open".to_owned(), "2".to_owned()));
    let refused = clocked.ask();
    assert_eq!(refused.outcome(), (503, "circuit_open".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(upstream.requests().len(), 3, "nothing reaches it");

    clocked.clock.advance(Duration::from_secs(30));
    assert_eq!(clocked.circuit(), ("half_open".to_owned(), "1".to_owned()));
    assert_eq!(clocked.ask().status, 502, "one tries it");
    assert_eq!(clocked.ask().status, 503, "and it is left alone again");
    assert_eq!(upstream.requests().len(), 4);

    clocked.clock.advance(Duration::from_secs(30));
    upstream.answer_as("200 OK", "", "{}");
    assert_eq!(clocked.ask().status, 200);
    assert_eq!(clocked.circuit(), ("closed".to_owned(), "0".to_owned()));
    assert_eq!(clocked.ask().status, 200);
}

#[test]
fn refusals_of_requests_open_no_circuit() {
    let clocked = Clocked::with(BREAKER);
    for status in ["400 Bad", "429 Slow"] {
        clocked.gateway.upstream.answer_as(status, "", r#"{"error":{}}"#);
        for _ in 0..5 {
            assert_eq!(clocked.ask().status.to_string(), status[..3]);
        }
    }
    assert_eq!(clocked.circuit().0, "closed");
}

#[test]
fn a_refusal_of_the_key_opens_no_circuit_since_a_client_can_bring_one_about() {
    let clocked = Clocked::with(BREAKER);
    for status in ["401 No", "403 No"] {
        clocked.gateway.upstream.answer_as(status, "", r#"{"error":{}}"#);
        for _ in 0..5 {
            assert_eq!(clocked.ask().outcome(), (502, "upstream_key_refused".to_owned()));
        }
    }
    assert_eq!(clocked.circuit().0, "closed");
    clocked.gateway.upstream.answer_as("200 OK", "", "{}");
    assert_eq!(clocked.ask().status, 200, "others are served");
    clocked.gateway.upstream.answer_as("500 Oh", "", "{}");
    (0..3).for_each(|_| assert_eq!(clocked.ask().status, 502));
    assert_eq!(clocked.circuit().0, "open", "the control");
}

#[test]
fn what_a_provider_keeps_is_always_asked_of_the_same_account() {
    let (first, other) = (Upstream::start(), Upstream::start());
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n    - {{id: first, provider: openai, base_url: 'http://{}/v1'}}\n    - {{id: other, provider: openai, base_url: 'http://{}/v1'}}\n",
        first.address(),
        other.address()
    ));
    let spread = |request: &Request| {
        let counts = || [&first, &other].map(|upstream| upstream.requests().len());
        let before = counts();
        (0..4).for_each(|_| assert_eq!(gateway.ask(request).status, 200));
        let after = counts();
        [after[0] - before[0], after[1] - before[1]]
    };
    let respond = |more: &str| {
        Request::new("POST", "/v1/responses").json(format!(r#"{{"model":"m","input":"hello"{more}}}"#))
    };
    for kept in [
        Request::new("POST", "/v1/files").header("Authorization", "Bearer x").body("a file"),
        Request::new("GET", "/v1/files"),
        Request::new("GET", "/v1/files/f/content"),
        Request::new("DELETE", "/v1/files/f"),
        Request::new("GET", "/v1/responses/r"),
        Request::new("POST", "/v1/responses/r/cancel"),
        respond(""),
        respond(r#","store":true"#),
        respond(r#","store":false,"previous_response_id":"r""#),
        respond(r#","store":false,"conversation":"c""#),
    ] {
        assert_eq!(spread(&kept), [4, 0], "{kept:?}");
    }
    for free in [Request::chat(), respond(r#","store":false"#)] {
        assert_eq!(spread(&free), [2, 2], "{free:?}");
    }
    first.answer_as("500 Oh", "", "{}");
    assert_eq!(
        gateway.ask(&Request::new("GET", "/v1/files")).status,
        200,
        "another stands in while it fails"
    );
}

#[test]
fn a_reload_closes_no_circuit() {
    let clocked = Clocked::with(BREAKER);
    clocked.gateway.upstream.answer_as("500 Oh", "", "{}");
    (0..3).for_each(|_| assert_eq!(clocked.ask().status, 502));
    clocked.gateway.reload(&format!("{BREAKER}pack: {{name: renamed}}\n")).expect("it is valid");
    assert_eq!(clocked.ask().status, 503);
}

#[test]
fn a_target_that_is_no_more_is_no_longer_shown() {
    let clocked = Clocked::with("");
    let shown = || {
        let request = Request::new("GET", "/metrics");
        let text = clocked.gateway.connect_admin().ask(&request).body;
        let text = String::from_utf8(text).expect("metrics are text");
        ["primary", "other"].map(|id| text.contains(&format!("target_circuit{{target=\"{id}\"}}")))
    };
    assert_eq!(shown(), [true, false]);
    let other = "providers: {targets: [{id: other, provider: echo}]}";
    clocked.gateway.reload(other).expect("it is valid");
    assert_eq!(shown(), [false, true]);
}

#[test]
fn while_a_circuit_is_open_the_next_target_has_the_work() {
    let (gateway, second) = two_targets("circuit_breaker: {enabled: true, failures: 2}\n");
    gateway.upstream.answer_as("500 Oh", "", "{}");
    for _ in 0..6 {
        assert_eq!(gateway.ask(&Request::chat()).status, 200);
    }
    assert_eq!((gateway.upstream.requests().len(), second.requests().len()), (2, 6));
}

/// An address that takes no further connections: its queue is full, so the kernel leaves every new one unanswered.
fn full_queue() -> (Socket, Vec<Socket>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    listener.listen(0).expect("it can listen");
    let address =
        listener.local_addr().ok().and_then(|address| address.as_socket()).expect("it has an address");
    let mut queued = Vec::new();
    wait_for("the queue to be full", || {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
        let connected = client.connect_timeout(&address.into(), Duration::from_millis(100));
        queued.push(client);
        connected.is_err().then_some(())
    });
    (listener, queued, address)
}

#[test]
fn a_target_that_does_not_take_a_connection_in_time_is_given_up() {
    let (_listener, _queued, address) = full_queue();
    let gateway = TestGateway::with(&format!(
        "timeouts: {{connect: 200ms, first_byte: 1h}}\nretry: {{max_retries: 0}}\nproviders: {{targets: [{{id: primary, provider: openai, base_url: 'http://{address}/v1'}}]}}\n"
    ));
    let start = Instant::now();
    let answer = gateway.ask(&Request::chat());
    assert_eq!(answer.outcome(), (504, "upstream_timeout".to_owned()));
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
}

#[test]
fn everything_together_is_over_in_time_however_it_is_drawn_out() {
    let gateway = TestGateway::with("timeouts: {upstream_total: 300ms, upstream_idle: 1h, first_byte: 1h}\n");
    gateway.upstream.behave(|_, client| {
        client.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        loop {
            client.write_all(b"9\r\ndata: 1\n\n\r\n")?;
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let mut client = gateway.connect();
    let start = Instant::now();
    client.send(Request::chat().bytes()).expect("the request is taken");
    let head = client.head_answer();
    assert_eq!(head.status, 200);
    let rest = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it is not taken for whole");
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    assert_eq!(gateway.event_of(head.request_id()).reason_code.as_deref(), Some("upstream_timeout"));
}

#[test]
fn time_for_everything_bounds_the_repetitions_too() {
    let gateway = TestGateway::with(
        "timeouts: {upstream_total: 300ms}\nretry: {max_retries: 10, base_delay: 1h, max_delay: 1h, on: [unavailable]}\n",
    );
    gateway.upstream.answer_as("503 Busy", "Retry-After: 600\r\n", "{}");
    assert_eq!(gateway.ask(&Request::chat()).outcome(), (502, "upstream_failed".to_owned()));
}

#[test]
fn a_request_without_a_model_is_none_of_those_that_are_allowed_where_a_model_is_used() {
    let gateway = TestGateway::with(
        "
providers: {targets: [{id: a, provider: openai, base_url: 'http://UPSTREAM/v1', secret_key_ref: {env: PROVIDER_KEY}}]}
policies: {chain: [data-routing-policy]}
policy: {data-routing-policy: {rules: [{name: small, models: ['small-*']}]}}
",
    );
    for (path, body) in
        [("/v1/images/generations", r#"{"prompt":"a cat""#), ("/v1/moderations", r#"{"input":"X""#)]
    {
        let of = |rest: &str| {
            let request = Request::new("POST", path).json([body, rest, "}"].concat());
            gateway.ask(&request).outcome()
        };
        assert_eq!(of(""), (409, "policy_block".to_owned()), "{path}");
        assert_eq!(of(r#","model":"large""#), (409, "policy_block".to_owned()), "{path}");
        assert_eq!(of(r#","model":"small-1""#).0, 200, "the control: {path}");
    }
    assert_eq!(gateway.ask(&Request::new("GET", "/v1/files")).status, 200, "the control: it uses no model");
}
