//! How long a client may take.

use std::time::{Duration, Instant};

use crate::harness::{CHAT, Request, TestGateway, wait_for};

const TIMEOUTS: &str = "timeouts: {request_header: 150ms, request_body_idle: 150ms, keep_alive: 150ms}";
/// Sooner than this no deadline of [`TIMEOUTS`] may strike.
const EARLY: Duration = Duration::from_millis(100);

/// Does something that has to wait for a deadline; a client gives up by itself where none strikes.
fn timed<T>(work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    let took = started.elapsed();
    assert!(took >= EARLY, "took {took:?}");
    done
}

#[test]
fn header_fields_that_do_not_come_are_waited_for_no_longer_than_configured() {
    let gateway = TestGateway::with(TIMEOUTS);
    let head = Request::chat().head();
    let of_http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n";
    for sent in [&head[..1], &head[..20], &head[..head.len() - 1], of_http2] {
        let mut client = gateway.connect();
        client.send(sent).expect("the gateway takes it");
        let answer = timed(|| client.answer());
        assert_eq!(answer.outcome(), (408, "request_timeout".to_owned()));
        assert_eq!(client.rest(), b"");
        assert_eq!(gateway.event_of(answer.request_id()).status, Some(408));
    }
}

#[test]
fn header_fields_that_come_drop_by_drop_are_not_waited_for_longer() {
    let gateway = TestGateway::with(TIMEOUTS);
    let mut client = gateway.connect();
    client.send("GET /v1/models HTTP/1.1\r\n").expect("the gateway takes it");
    let answer = timed(|| {
        while client.is_left_open(Duration::from_millis(10)) {
            client.send("X: y\r\n").expect("the gateway takes it");
        }
        client.answer()
    });
    assert_eq!(answer.outcome(), (408, "request_timeout".to_owned()));
}

#[test]
fn a_body_that_stops_coming_is_waited_for_no_longer_than_configured() {
    let gateway = TestGateway::with(TIMEOUTS);
    let with_length = Request::chat();
    let chunked = Request::chat().chunked(b"{}", 1);
    for request in [with_length, chunked] {
        let mut client = gateway.connect();
        client.send([&request.head()[..], b"1"].concat()).expect("the gateway takes it");
        let answer = timed(|| client.answer());
        assert_eq!(answer.outcome(), (408, "request_timeout".to_owned()));
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(gateway.upstream.bytes(), 0);
}

#[test]
fn a_body_that_goes_on_coming_is_waited_for() {
    let gateway = TestGateway::with("timeouts: {request_body_idle: 400ms}");
    let mut client = gateway.connect();
    let started = Instant::now();
    for piece in Request::chat().bytes().chunks(20) {
        assert!(client.is_left_open(Duration::from_millis(60)), "the gateway waits");
        client.send(piece).expect("the gateway takes it");
    }
    assert_eq!(client.answer().status, 200);
    assert!(started.elapsed() > Duration::from_millis(400), "it took longer than one piece may");
}

#[test]
fn a_body_that_comes_drop_by_drop_is_not_waited_for_longer() {
    let gateway = TestGateway::with_options("timeouts: {request_body: 300ms}", |options| {
        options.max_concurrency = Some(1);
    });
    for request in [Request::chat(), Request::chat().chunked(CHAT, 1)] {
        let mut client = gateway.connect();
        client.send(request.head()).expect("the gateway takes it");
        let bytes = request.bytes();
        let mut drops = bytes[request.head().len()..].chunks(1);
        let answer = timed(|| {
            while client.is_left_open(Duration::from_millis(10)) {
                client.send(drops.next().expect("there is more to come")).expect("the gateway takes it");
            }
            client.answer()
        });
        assert_eq!(answer.outcome(), (408, "request_timeout".to_owned()));
        assert_eq!(gateway.event_of(answer.request_id()).status, Some(408));
        wait_for("its place", || (gateway.ask(&Request::chat()).status == 200).then_some(()));
    }
    assert_eq!(gateway.upstream.requests().len(), 2, "only the controls");
}

#[test]
fn an_answer_that_its_client_does_not_take_is_given_up() {
    let gateway = TestGateway::with("timeouts: {response_idle: 200ms}");
    gateway.upstream.stream_endlessly(format!("data: {}\n\n", "x".repeat(256 * 1024)), Duration::ZERO);
    let mut client = gateway.connect();
    client.send(Request::chat().bytes()).expect("the gateway takes it");
    let head = client.head_answer();
    assert_eq!(head.status, 200);
    wait_for("the provider to be left", || (gateway.upstream.open_connections() == 0).then_some(()));
    assert_eq!(gateway.event_of(head.request_id()).reason_code.as_deref(), Some("client_closed"));
}

#[test]
fn an_answer_whose_client_takes_it_goes_on_however_long_the_provider_is_silent() {
    let gateway = TestGateway::with("timeouts: {response_idle: 100ms}");
    gateway.upstream.stream_endlessly("data: 1\n\n", Duration::from_millis(300));
    let mut client = gateway.connect();
    client.send(Request::chat().bytes()).expect("the gateway takes it");
    assert_eq!(client.head_answer().status, 200);
    for _ in 0..3 {
        assert_eq!(client.chunk().as_deref(), Some(&b"data: 1\n\n"[..]));
    }
}

#[test]
fn a_connection_that_never_brings_a_request_is_told_so_and_an_idle_one_is_closed_in_silence() {
    let gateway = TestGateway::with(TIMEOUTS);
    let mut unused = gateway.connect();
    let answer = timed(|| unused.answer());
    assert_eq!(answer.outcome(), (408, "request_timeout".to_owned()));
    assert_eq!((answer.header("connection"), unused.rest()), (Some("close"), Vec::new()));
    assert_eq!(gateway.event_of(answer.request_id()).status, Some(408));
    let mut used = gateway.connect();
    assert_eq!(used.ask(&Request::chat()).status, 200);
    assert_eq!(timed(|| used.rest()), b"");
    assert_eq!(gateway.events().len(), 2, "waiting for a next request leaves no event");
    drop(gateway.connect());
    gateway.event_of(gateway.ask(&Request::chat()).request_id());
    assert_eq!(gateway.events().len(), 3, "nor does a look at whether somebody listens");
}
