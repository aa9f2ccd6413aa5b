//! Streams pass piece by piece, and whoever leaves ends what was asked for them.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;

use kt_domain::events::Verdict;

use super::stream_by_hand;
use crate::harness::{PATIENCE, Request, TestGateway, Then, wait_for};

#[test]
fn a_stream_passes_piece_by_piece_at_once() {
    let gateway = TestGateway::with("size_limits: {max_response_body_bytes: 100}");
    let pieces = stream_by_hand(&gateway);
    let mut client = gateway.connect();
    client.send(Request::chat().json(r#"{"model":"m","messages":[],"stream":true}"#).bytes()).unwrap();
    let head = client.head_answer();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    assert_eq!((head.header("transfer-encoding"), head.header("content-length")), (Some("chunked"), None));
    for piece in
        ["data: {\"n\":1}\n\n", "da", "ta: 2\n", "\n", ": a comment that alone is longer than nothing\n\n"]
    {
        pieces.send(piece).expect("the provider is waiting");
        assert_eq!(client.chunk().as_deref(), Some(piece.as_bytes()), "before the next is sent");
    }
    let last = "data: {\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22}}\n\ndata: [DONE]\n\n";
    pieces.send(last).expect("the provider is waiting");
    drop(pieces);
    assert_eq!(client.chunk().as_deref(), Some(last.as_bytes()), "streams are not limited in total");
    assert_eq!(client.chunk(), None);
    let event = gateway.event_of(head.request_id());
    assert_eq!(
        (event.reason_code.as_deref(), event.stream, event.verdict),
        (Some("ok"), Some(true), Some(Verdict::Allow))
    );
    assert_eq!((event.input_tokens, event.output_tokens), (Some(11), Some(22)));
}

#[test]
fn a_client_that_goes_away_ends_its_stream_at_the_provider() {
    let gateway = TestGateway::with("");
    let pieces = stream_by_hand(&gateway);
    let mut client = gateway.connect();
    client.send(Request::chat().bytes()).unwrap();
    let head = client.head_answer();
    pieces.send("data: 1\n\n").unwrap();
    client.chunk();
    drop(client);
    let event = wait_for("its event", || gateway.events().pop());
    assert_eq!(event.request_id.as_deref(), Some(head.request_id()));
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some("client_closed")));
    assert_provider_is_left(&gateway, || {
        // The provider may have left already.
        let _ = pieces.send("data: 2\n\n");
    });
}

#[test]
fn a_client_that_does_not_wait_for_its_answer_ends_the_request_at_the_provider() {
    let gateway = TestGateway::with("");
    let (gone, told) = channel();
    gateway.upstream.behave(move |_, provider: &mut TcpStream| {
        // Nothing is sent here but the end of the connection.
        let _ = gone.send(provider.read(&mut [0])?);
        Ok(Then::Close)
    });
    let mut client = gateway.connect();
    client.send(Request::chat().bytes()).unwrap();
    wait_for("the provider to be asked", || gateway.upstream.requests().pop());
    drop(client);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(0), "the provider's connection is closed");
    let event = wait_for("the event", || gateway.events().pop());
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(499), Some("client_closed")));
}

#[test]
fn a_client_that_goes_away_within_its_request_was_refused_nothing() {
    let gateway = TestGateway::with("");
    let mut client = gateway.connect();
    let request = Request::chat().bytes();
    client.send(&request[..request.len() - 1]).unwrap();
    drop(client);
    let event = wait_for("its event", || gateway.events().pop());
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(499), Some("client_closed")));
    assert_eq!(event.verdict, None);

    let refused = gateway.ask(&Request::chat().json("{"));
    assert_eq!(gateway.event_of(refused.request_id()).verdict, Some(Verdict::Block), "the control");
}

#[test]
fn a_client_that_has_closed_its_end_is_answered_nothing_for_it() {
    let gateway = TestGateway::with("");
    gateway.upstream.behave(|_, provider: &mut TcpStream| {
        // It is answered nothing before it is left.
        let _ = provider.read(&mut [0])?;
        Ok(Then::Close)
    });
    let request = Request::chat().bytes();
    for (before, sent) in [&request[..request.len() - 1], &request].into_iter().enumerate() {
        let mut client = gateway.connect();
        client.send(sent).expect("the gateway takes it");
        if sent.len() == request.len() {
            wait_for("the provider to be asked", || gateway.upstream.requests().pop());
        }
        client.stream().shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(String::from_utf8_lossy(&client.rest()), "", "{} bytes", sent.len());
        let event = wait_for("its event", || gateway.events().into_iter().nth(before));
        assert_eq!((event.status, event.reason_code.as_deref()), (Some(499), Some("client_closed")));
    }
    let mut client = gateway.connect();
    client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the gateway takes it");
    client.stream().shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(client.answer().status, 200, "the control: what needs no waiting is answered");
}

/// Lets the provider write until it notices.
fn assert_provider_is_left(gateway: &TestGateway, mut write: impl FnMut()) {
    wait_for("the provider to be left", || {
        write();
        (gateway.upstream.open_connections() == 0).then_some(())
    });
}
