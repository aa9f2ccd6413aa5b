//! A disk that is really full: requests are refused or let through, as configured, and the log goes on when there is
//! room again.

use super::process::{Place, Process};
use super::{ECHO, Http, verified, wait_for};
use crate::small_disk::SmallDisk;

fn chat(process: &Process) -> super::http::Answer {
    Http::connect(process.gateway()).unwrap().chat().unwrap()
}

/// How many events the log says were lost.
fn lost(process: &Process) -> u64 {
    let listed = process.ask_admin("/v1/events?event_type=events_lost").json();
    let events = listed["events"].as_array().unwrap();
    events.iter().filter_map(|event| event["count"].as_u64()).sum()
}

fn is_ready(process: &Process) -> bool {
    process.ask_admin("/readyz").status == 200
}

fn with_small_disk(on_failure: &str, test: impl FnOnce(&SmallDisk, &Process)) {
    let place = Place::with(&format!("{ECHO}events: {{on_failure: {on_failure}}}\n"));
    let Some(disk) = SmallDisk::mount(place.data_dir(), "1m") else { return };
    let process = place.start(&[]);
    assert_eq!(chat(&process).status, 200, "the control");
    disk.fill();
    test(&disk, &process);
    process.terminate();
    verified(&place.data_dir());
}

#[test]
fn refuse_lets_nothing_through_and_recovers() {
    with_small_disk("refuse", |disk, process| {
        // Small writes still fit into the last page.
        wait_for("the disk to be full", || (chat(process).status == 503).then_some(()));
        assert_eq!(chat(process).code(), "events_unavailable");
        assert!(!is_ready(process));
        disk.make_room();
        wait_for("the log to go on", || is_ready(process).then_some(()));
        assert_eq!(chat(process).status, 200);
        wait_for("the loss to be recorded", || (lost(process) > 0).then_some(()));
    });
}

#[test]
fn allow_lets_everything_through_and_says_later_how_much_was_lost() {
    with_small_disk("allow", |disk, process| {
        wait_for("the disk to be full", || {
            assert_eq!(chat(process).status, 200);
            (!is_ready(process)).then_some(())
        });
        for _ in 0..5 {
            assert_eq!(chat(process).status, 200);
        }
        disk.make_room();
        wait_for("the log to go on", || is_ready(process).then_some(()));
        assert_eq!(chat(process).status, 200);
        wait_for("the loss to be recorded", || (lost(process) >= 5).then_some(()));
    });
}
