//! Ending well: what is under way is finished, nothing new is begun, and a limit holds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use kt_domain::clock::ManualClock;

use crate::harness::http2::{self, chat, done, next};
use crate::harness::{CHAT, Client, Request, TestGateway, Then, wait_for};

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Lets the provider stream one chunk for everything that is sent to the channel, and end with it.
pub(crate) fn stream_on_demand(gateway: &TestGateway) -> mpsc::Sender<&'static [u8]> {
    let (sender, chunks) = mpsc::channel::<&'static [u8]>();
    let chunks = Arc::new(Mutex::new(chunks));
    gateway.upstream.behave(move |_, client| {
        client.write_all(STREAM_HEAD)?;
        let chunks = chunks.lock().expect("one stream at a time");
        for chunk in chunks.iter() {
            client.write_all(chunk)?;
        }
        client.write_all(b"0\r\n\r\n")?;
        Ok(Then::KeepOpen)
    });
    sender
}

fn takes_connections(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

#[test]
fn a_live_stream_is_finished_and_nothing_new_is_begun() {
    let test = TestGateway::with("timeouts: {drain: 10s}");
    let address = test.gateway.address();
    let stream = stream_on_demand(&test);
    let mut client = test.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    let head = client.head_answer();
    stream.send(b"3\r\none\r\n").expect("the provider waits for it");
    assert_eq!(client.chunk().as_deref(), Some(&b"one"[..]));

    let draining = thread::spawn(move || test.drain());
    wait_for("the socket to be closed", || (!takes_connections(address)).then_some(()));
    stream.send(b"3\r\ntwo\r\n").expect("the provider waits for it");
    assert_eq!(client.chunk().as_deref(), Some(&b"two"[..]));
    drop(stream);
    assert_eq!(client.chunk(), None);
    let drained = draining.join().expect("the gateway drains");
    assert_eq!(drained.cut_off, 0);
    let event =
        drained.events.into_iter().find(|event| event.request_id.as_deref() == Some(head.request_id()));
    assert_eq!(event.expect("it is recorded").reason_code.as_deref(), Some("ok"));
}

#[test]
fn the_sockets_offered_to_a_next_process_are_closed_too() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("handover.sock");
    let test =
        TestGateway::with_options("timeouts: {drain: 10s}", |options| options.handover = Some(path.clone()));
    let address = test.gateway.address();
    assert!(takes_connections(address), "the control");
    // A request under way keeps the gateway from ending before that was looked at.
    let stream = stream_on_demand(&test);
    let mut client = test.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    client.head_answer();
    let draining = thread::spawn(move || test.drain());
    wait_for("the socket to be closed", || (!takes_connections(address)).then_some(()));
    assert!(kt_gateway::Inherited::take(&path).is_err(), "a gateway that ends has nothing to hand over");
    drop(stream);
    assert_eq!(draining.join().expect("the gateway drains").cut_off, 0);
}

#[test]
fn answers_during_the_drain_close_their_connection() {
    let test = TestGateway::with("timeouts: {drain: 10s}");
    let address = test.gateway.address();
    let stream = stream_on_demand(&test);
    let mut busy = test.connect();
    busy.send(Request::chat().bytes()).expect("the request is taken");
    busy.head_answer();
    let mut kept = test.connect();
    assert_eq!(kept.ask(&Request::new("GET", "/healthz")).header("connection"), None, "the control");

    let draining = thread::spawn(move || test.drain());
    wait_for("the socket to be closed", || (!takes_connections(address)).then_some(()));
    let ready = kept.ask(&Request::new("GET", "/readyz"));
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reason"], "draining");
    assert_eq!(ready.header("connection"), Some("close"));
    assert_eq!(kept.rest(), b"");
    drop(stream);
    draining.join().expect("the gateway drains");
}

/// What comes of one connection: the frames that a gateway sends to a client of HTTP/2 that asks for nothing, as kind and
/// payload.
fn next_frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload)?;
    Ok((head[3], payload))
}

#[test]
fn a_client_of_http_2_that_asks_for_nothing_is_told_at_once() {
    const GOAWAY: u8 = 7;
    let test = TestGateway::with("timeouts: {drain: 10s}");
    let mut stream = TcpStream::connect(test.gateway.address()).expect("it takes connections");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("it is taken");
    next_frame(&mut stream).expect("the gateway speaks HTTP/2");
    // It looks at what is idle every five seconds as well.
    stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a time limit can be set");
    let draining = thread::spawn(move || test.drain());
    let told = loop {
        let (kind, payload) = next_frame(&mut stream).expect("it is told");
        if kind == GOAWAY {
            break payload;
        }
    };
    assert_eq!(told[4..8], [0; 4], "NO_ERROR");
    drop(stream);
    draining.join().expect("the gateway drains");
}

#[tokio::test]
async fn a_live_stream_over_http_2_is_finished() {
    let test = TestGateway::with("timeouts: {drain: 10s}");
    let address = test.gateway.address();
    let stream = stream_on_demand(&test);
    let client = http2::Client::connect(&test, Ipv4Addr::LOCALHOST).await;
    let (response, mut send) = client.begin(done(chat()), false).await;
    send.send_data(Bytes::from_static(CHAT), true).expect("the body can be sent");
    let mut content = response.await.expect("there is an answer").into_body();
    stream.send(b"3\r\none\r\n").expect("the provider waits for it");
    assert_eq!(next(&mut content).await.as_deref(), Some(&b"one"[..]));

    let draining = thread::spawn(move || test.drain());
    wait_for("the socket to be closed", || (!takes_connections(address)).then_some(()));
    stream.send(b"3\r\ntwo\r\n").expect("the provider waits for it");
    assert_eq!(next(&mut content).await.as_deref(), Some(&b"two"[..]));
    drop(stream);
    while let Some(piece) = next(&mut content).await {
        assert_eq!(piece, "", "it is whole, and nothing more");
    }
    assert_eq!(draining.join().expect("the gateway drains").cut_off, 0);
}

/// A gateway with an operator's listener; gives where that is.
fn with_admin(change: impl FnOnce(&mut kt_gateway::Options)) -> (TestGateway, SocketAddr) {
    let test = TestGateway::with_options("timeouts: {drain: 10s}", |options| {
        options.admin_listen = Some((Ipv4Addr::LOCALHOST, 0).into());
        change(options);
    });
    let admin = test.gateway.admin_address().expect("it has one");
    (test, admin)
}

#[test]
fn whoever_asks_the_admin_listener_anew_is_told_of_the_drain_until_it_is_over() {
    let (test, admin) = with_admin(|_| {});
    let address = test.gateway.address();
    let ready = || {
        let mut client = Client::connect(admin, Ipv4Addr::LOCALHOST.into()).expect("it takes connections");
        client.ask(&Request::new("GET", "/readyz"))
    };
    assert_eq!(ready().status, 200, "the control");
    let stream = stream_on_demand(&test);
    let mut busy = test.connect();
    busy.send(Request::chat().bytes()).expect("the request is taken");
    busy.head_answer();

    let draining = thread::spawn(move || test.drain());
    wait_for("the socket to be closed", || (!takes_connections(address)).then_some(()));
    let told = ready();
    assert_eq!((told.status, told.json()["reason"].as_str()), (503, Some("draining")));
    drop(stream);
    draining.join().expect("the gateway drains");
    wait_for("the admin socket to be closed", || (!takes_connections(admin)).then_some(()));
}

#[tokio::test]
async fn the_admin_socket_is_left_at_once_to_the_process_that_has_taken_it_over() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("handover.sock");
    let (test, admin) = with_admin(|options| options.handover = Some(path.clone()));
    // Nobody accepts from it in this process but the gateway.
    let is_answered = || {
        let mut client = TcpStream::connect(admin).expect("the socket is open");
        client.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit can be set");
        client.write_all(&Request::new("GET", "/readyz").bytes()).expect("there is room for it");
        client.read(&mut [0]).is_ok()
    };
    wait_for("the control", || is_answered().then_some(()));
    let stream = stream_on_demand(&test);
    let mut busy = test.connect();
    busy.send(Request::chat().bytes()).expect("the request is taken");
    busy.head_answer();

    let mut inherited = kt_gateway::Inherited::take(&path).expect("it hands over its sockets");
    let listeners = std::mem::take(&mut inherited.listeners);
    inherited.confirm().expect("it waits for that");
    test.gateway.handed_over().await;
    let draining = thread::spawn(move || test.drain());
    wait_for("the socket to be left", || (!is_answered()).then_some(()));
    assert!(!draining.is_finished(), "a request is under way");
    drop((stream, listeners));
    assert_eq!(draining.join().expect("the gateway drains").cut_off, 0);
}

#[test]
fn what_takes_longer_than_the_limit_is_cut_off_and_counted() {
    let test = TestGateway::with("timeouts: {drain: 200ms}");
    test.upstream.behave(|_, client| {
        client.write_all(STREAM_HEAD)?;
        client.read(&mut [0]).map(|_| Then::Close)
    });
    let mut client = test.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    let head = client.head_answer();
    let drained = test.drain();
    assert_eq!(drained.cut_off, 1);
    let [event] = &drained.events[..] else { panic!("{:?}", drained.events) };
    assert_eq!(event.request_id.as_deref(), Some(head.request_id()));
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some("draining")));
    assert!(!client.rest().ends_with(b"0\r\n\r\n"), "nobody takes it for whole");
}

/// Lets the provider answer nothing.
fn never_answer(gateway: &TestGateway) {
    gateway.upstream.behave(|_, client| client.read(&mut [0]).map(|_| Then::Close));
}

/// What came of the only request, which was cut off.
fn cut_off_event(test: TestGateway) -> (Option<u16>, Option<String>, Option<String>) {
    wait_for("the provider to be asked", || test.upstream.requests().pop());
    let drained = test.drain();
    assert_eq!(drained.cut_off, 1);
    let [event] = &drained.events[..] else { panic!("{:?}", drained.events) };
    let owned = |value: &Option<Arc<str>>| value.as_deref().map(str::to_owned);
    (event.status, owned(&event.reason_code), owned(&event.target_id))
}

#[test]
fn what_is_cut_off_before_it_was_answered_is_recorded() {
    let test = TestGateway::with("timeouts: {drain: 200ms}");
    never_answer(&test);
    let mut client = test.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    assert_eq!(cut_off_event(test), (Some(503), Some("draining".to_owned()), Some("primary".to_owned())));
    assert_eq!(client.rest(), b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_cut_off_over_http_2_is_recorded() {
    let test = TestGateway::with("timeouts: {drain: 200ms}");
    never_answer(&test);
    let client = http2::Client::connect(&test, Ipv4Addr::LOCALHOST).await;
    let (_response, mut send) = client.begin(done(chat()), false).await;
    send.send_data(Bytes::from_static(CHAT), true).expect("the body can be sent");
    let event = tokio::task::spawn_blocking(|| cut_off_event(test)).await.expect("the gateway drains");
    assert_eq!(event, (Some(503), Some("draining".to_owned()), Some("primary".to_owned())));
}

#[test]
fn an_idle_gateway_ends_soon() {
    let test = TestGateway::with("timeouts: {drain: 24h}");
    let mut kept = test.connect();
    assert_eq!(kept.ask(&Request::new("GET", "/healthz")).status, 200);
    assert_eq!(test.drain().cut_off, 0);
}

/// A gateway whose time the test moves on.
fn at_rest() -> (TestGateway, ManualClock) {
    let clock = ManualClock::starting_at("2026-03-15T12:00:00Z".parse().expect("it is a moment"));
    let time = Arc::new(clock.clone());
    (TestGateway::with_options("", |options| options.clock = time), clock)
}

#[test]
fn a_gateway_that_stands_aside_says_so_first_and_refuses_new_requests_later() {
    let (test, clock) = at_rest();
    let handle = test.gateway.handle();
    assert_eq!(test.ask(&Request::chat()).status, 200, "the control");
    handle.stand_aside(true);
    let ready = test.ask(&Request::new("GET", "/readyz"));
    assert_eq!((ready.status, ready.json()["reason"].as_str()), (503, Some("draining")));
    let answer = test.ask(&Request::chat());
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "nobody knows of it yet");

    clock.advance(Duration::from_secs(10));
    let refused = test.ask(&Request::chat());
    assert_eq!(refused.outcome(), (503, "draining".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(test.ask(&Request::new("GET", "/healthz")).status, 200, "it lives");
    let event = test.event_of(refused.request_id());
    assert_eq!((event.reason_code.as_deref(), event.status), (Some("draining"), Some(503)));

    handle.stand_aside(false);
    assert_eq!(test.ask(&Request::new("GET", "/readyz")).status, 200);
    let answer = test.ask(&Request::chat());
    assert_eq!((answer.status, answer.header("connection")), (200, None));
}

#[test]
fn a_live_stream_is_finished_while_the_gateway_stands_aside() {
    let (test, clock) = at_rest();
    let stream = stream_on_demand(&test);
    let mut client = test.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    client.head_answer();
    stream.send(b"3\r\none\r\n").expect("the provider waits for it");
    assert_eq!(client.chunk().as_deref(), Some(&b"one"[..]));
    test.gateway.handle().stand_aside(true);
    clock.advance(Duration::from_mins(1));
    assert_eq!(test.ask(&Request::chat()).code(), "draining");
    stream.send(b"3\r\ntwo\r\n").expect("the provider waits for it");
    assert_eq!(client.chunk().as_deref(), Some(&b"two"[..]));
    drop(stream);
    assert_eq!(client.chunk(), None);
}
