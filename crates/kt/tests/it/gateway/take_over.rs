//! A new process takes over the sockets of a running one: no request fails, and both write one log.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::process::{Place, Process};
use super::{ECHO, Http, recorded_requests, send_until, verified, wait_for};

const CLIENTS: usize = 8;

#[test]
fn no_request_fails_and_both_processes_write_one_chain() {
    let place = Place::with(ECHO);
    let mut old = place.start(&[]);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more_answers = |count: usize| {
        let so_far = answered.load(Ordering::Relaxed);
        wait_for("more answers", || (answered.load(Ordering::Relaxed) >= so_far + count).then_some(()));
    };
    let address = old.gateway();
    let (new, requests) = thread::scope(|scope| {
        let send = || {
            send_until(&done, address, || {
                answered.fetch_add(1, Ordering::Relaxed);
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(send)).collect();
        more_answers(100);
        let new = place.start(&["--take-over"]);
        assert_eq!((new.gateway(), new.admin()), (old.gateway(), old.admin()), "the very same sockets");
        assert!(old.ended().success());
        more_answers(100);
        done.store(true, Ordering::Relaxed);
        let mut requests = HashSet::new();
        for client in clients {
            let (completed, outcome) = client.join().unwrap();
            outcome.unwrap();
            requests.extend(completed.into_iter().map(|(request_id, _)| request_id));
        }
        (new, requests)
    });
    assert!(requests.len() >= 200);
    new.terminate();

    let recorded = recorded_requests(&place.data_dir());
    assert_eq!(requests.difference(&recorded).count(), 0, "of {}", requests.len());
    assert_eq!(verified(&place.data_dir()).events, requests.len() as u64);
}

#[test]
fn there_must_be_somebody_to_take_over_from() {
    let place = Place::with(ECHO);
    let output = place.command(&["--take-over"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--take-over"));

    let first = place.start(&[]);
    first.terminate();
    let output = place.command(&["--take-over"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "nobody is there any more");
    let second: Process = place.start(&[]);
    assert_eq!(Http::connect(second.gateway()).unwrap().chat().unwrap().status, 200);
}

#[test]
fn a_second_gateway_on_the_data_directory_of_a_running_one_is_refused() {
    let place = Place::with(ECHO);
    let mut first = place.start(&[]);
    let refused = place.command(&[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("--take-over") && said.contains("--data-dir"), "{said}");
    assert_eq!(Http::connect(first.gateway()).unwrap().chat().unwrap().status, 200);

    // What it offers is still to be had, and the place of one that has ended is free.
    let second = place.start(&["--take-over"]);
    assert!(first.ended().success());
    second.terminate();
    place.start(&[]).terminate();
}
