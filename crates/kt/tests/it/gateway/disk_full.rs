//! A disk that is really full: requests are refused or let through, as configured, the log goes on when there is room
//! again, and it knows each request that was answered meanwhile.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::process::{Place, Process};
use super::{ECHO, Http, recorded_requests, send_until, verified, wait_for};
use crate::small_disk::SmallDisk;

/// How many clients send requests while the disk fills.
const CLIENTS: usize = 4;

fn chat(process: &Process) -> super::http::Answer {
    Http::connect(process.gateway()).unwrap().chat().unwrap()
}

/// Asks for a completion that must be given; gives its identifier.
fn answered(process: &Process) -> String {
    let answer = chat(process);
    assert_eq!(answer.status, 200);
    answer.request_id()
}

/// Sends requests until each client was refused; gives those that were answered before.
fn answered_until_refused(process: &Process) -> HashSet<String> {
    let (never, address) = (AtomicBool::new(false), process.gateway());
    thread::scope(|scope| {
        let send = || send_until(&never, address, || {}).0;
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(send)).collect();
        let completed = clients.into_iter().flat_map(|client| client.join().unwrap());
        completed.map(|(request_id, _)| request_id).collect()
    })
}

/// Whether the log says that any event was lost.
fn has_lost(process: &Process) -> bool {
    let listed = process.ask_admin("/v1/events?event_type=events_lost").json();
    !listed["events"].as_array().unwrap().is_empty()
}

fn is_ready(process: &Process) -> bool {
    process.ask_admin("/readyz").status == 200
}

/// Makes room and waits until the log has all of `answered`.
fn recovers(place: &Place, disk: &SmallDisk, process: &Process, mut answered_meanwhile: HashSet<String>) {
    disk.make_room();
    wait_for("the log to go on", || is_ready(process).then_some(()));
    answered_meanwhile.insert(answered(process));
    wait_for("every answer to be in the log", || {
        recorded_requests(&place.data_dir()).is_superset(&answered_meanwhile).then_some(())
    });
    assert!(!has_lost(process));
}

fn with_small_disk(on_failure: &str, test: impl FnOnce(&Place, &SmallDisk, &Process)) {
    let place = Place::with(&format!("{ECHO}events: {{on_failure: {on_failure}}}\n"));
    let Some(disk) = SmallDisk::mount(place.data_dir(), "1m") else { return };
    let process = place.start(&[]);
    assert_eq!(chat(&process).status, 200, "the control");
    test(&place, &disk, &process);
    process.terminate();
    verified(&place.data_dir());
}

#[test]
fn refuse_lets_nothing_through_and_recovers() {
    with_small_disk("refuse", |place, disk, process| {
        let mut begun = Http::connect(process.gateway()).unwrap();
        begun.announce_chat().unwrap();
        disk.fill();
        let mut known = answered_until_refused(process);
        assert_eq!(chat(process).code(), "events_unavailable");
        assert!(!is_ready(process));
        assert_eq!(process.ask_admin("/v1/events").status, 200, "what is there is shown");
        let late = begun.complete_chat().unwrap();
        assert_eq!(late.status, 200, "it had begun before");
        known.insert(late.request_id());
        recovers(place, disk, process, known);
    });
}

#[test]
fn allow_lets_everything_through_and_records_it_later() {
    with_small_disk("allow", |place, disk, process| {
        disk.fill();
        let mut known = HashSet::new();
        wait_for("the disk to be full", || {
            known.insert(answered(process));
            (!is_ready(process)).then_some(())
        });
        known.extend((0..5).map(|_| answered(process)));
        recovers(place, disk, process, known);
    });
}
