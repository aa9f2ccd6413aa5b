//! A disk that is really full: requests are refused or let through, as configured, and the log goes on when there is
//! room again.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::process::{Place, Process};
use super::{ECHO, Http, verified, wait_for};

/// A small file system of its own, gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where that is not permitted.
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }

    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 1024]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Left to the machine's owner if it does not work.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

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

#[expect(clippy::print_stdout, reason = "whoever runs the tests is told what was left out")]
fn with_small_disk(on_failure: &str, test: impl FnOnce(&SmallDisk, &Process)) {
    let place = Place::with(&format!("{ECHO}events: {{on_failure: {on_failure}}}\n"));
    let Some(disk) = SmallDisk::mount(place.data_dir()) else {
        println!("skipped: a file system can be mounted by root only");
        return;
    };
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
