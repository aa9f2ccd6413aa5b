//! Connections to providers that are kept: used again while they are good, and never for a request that may have arrived.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{GOOD, IMPATIENT};
use crate::harness::{Request, TestGateway, Then, wait_for};

#[test]
fn a_good_connection_is_used_again() {
    let gateway = TestGateway::with(IMPATIENT);
    gateway.upstream.answer_with(GOOD, Then::KeepOpen);
    for _ in 0..3 {
        assert_eq!(gateway.ask(&Request::chat()).body, b"{}");
    }
    assert_eq!(gateway.upstream.connections(), 1);
}

#[test]
fn bytes_behind_an_answer_are_never_taken_for_the_next() {
    let gateway = TestGateway::with(IMPATIENT);
    let forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    gateway.upstream.answer_with([GOOD, forged].concat(), Then::KeepOpen);
    for connections in 1..=3 {
        assert_eq!(gateway.ask(&Request::chat()).body, b"{}");
        assert_eq!(gateway.upstream.connections(), connections);
    }
}

#[test]
fn a_kept_connection_that_was_closed_is_replaced_once_and_a_new_one_never() {
    let gateway = TestGateway::with(IMPATIENT);
    let asked = Arc::new(AtomicUsize::new(0));
    gateway.upstream.behave(move |_, client| match asked.fetch_add(1, Ordering::SeqCst) {
        0 | 2 => client.write_all(GOOD).map(|()| Then::KeepOpen),
        _ => Ok(Then::Close),
    });
    assert_eq!(gateway.ask(&Request::chat()).status, 200);
    let second = gateway.ask(&Request::chat());
    assert_eq!(second.status, 200);
    let third = gateway.ask(&Request::chat());
    assert_eq!(third.outcome(), (502, "upstream_reset".to_owned()));

    let ids: Vec<_> =
        gateway.upstream.requests().iter().map(|request| request.header("x-kt-request-id")).collect();
    assert_eq!(ids.len(), 5, "the second and the third request were sent twice each");
    assert_eq!(ids[1].as_deref(), Some(second.request_id()));
    assert_eq!(ids[1], ids[2]);
    assert_eq!(ids[3].as_deref(), Some(third.request_id()));
    assert_eq!(gateway.upstream.connections(), 3);
    let events = gateway.events();
    assert_eq!(events.iter().filter(|event| event.request_id == ids[1]).count(), 1);
}

/// What a provider closes after a while it may have worked for: only `max_retries` has it asked again.
#[test]
fn a_kept_connection_that_is_closed_late_is_not_replaced() {
    let gateway = TestGateway::with("timeouts: {first_byte: 10s}\n");
    let asked = Arc::new(AtomicUsize::new(0));
    gateway.upstream.behave(move |_, client| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            return client.write_all(GOOD).map(|()| Then::KeepOpen);
        }
        thread::sleep(Duration::from_millis(400));
        Ok(Then::Close)
    });
    assert_eq!(gateway.ask(&Request::chat()).status, 200);
    assert_eq!(gateway.ask(&Request::chat()).outcome(), (502, "upstream_reset".to_owned()));
    assert_eq!(gateway.upstream.requests().len(), 2, "neither was sent twice");
}

#[test]
fn a_connection_that_was_closed_while_it_waited_is_not_tried() {
    let gateway = TestGateway::with(IMPATIENT);
    gateway.upstream.answer_with(GOOD, Then::Close);
    for requests in 1..=3 {
        assert_eq!(gateway.ask(&Request::chat()).status, 200);
        assert_eq!(gateway.upstream.requests().len(), requests);
        wait_for("the provider to close", || (gateway.upstream.open_connections() == 0).then_some(()));
    }
}
