//! What a log holds after its writer was killed, and after its disk was full.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kt_domain::clock::SystemClock;
use kt_store::event_log::{EventWriter, Expectations, Options, RecordError, verify};

use crate::support::{event, ids, record};

const LOG: &str = "KT_TEST_LOG";

fn real_options() -> Options {
    Options {
        gateway_id: Some("gw_test".to_owned()),
        segment_bytes: 200_000,
        checkpoint_entries: 100,
        ..Options::new(Arc::new(SystemClock))
    }
}

/// The process that `kill_9_loses_no_acknowledged_event` kills: records events and names each that is acknowledged.
#[test]
#[ignore = "run by kill_9_loses_no_acknowledged_event, which ends it"]
fn writer_to_be_killed() {
    let log = std::env::vars().find(|(name, _)| name == LOG).expect("the directory is given").1;
    let writer = EventWriter::open(Path::new(&log), &real_options()).unwrap();
    for n in 0.. {
        let id = format!("evt_{}_{n}", std::process::id());
        for lazy in 0..20 {
            writer.record(&event(&format!("{id}_lazy_{lazy}"))).unwrap();
        }
        record(&writer, &event(&id)).unwrap();
        println!("acknowledged {id}");
    }
}

#[test]
fn kill_9_loses_no_acknowledged_event() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..50 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "events::surviving::writer_to_be_killed", "--ignored", "--nocapture"])
            .env(LOG, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let named = |line: String| line.split_once("acknowledged ").map(|(_, id)| id.to_owned());
        acknowledged.extend(output.by_ref().filter_map(named).take(1 + round % 7));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(output.filter_map(named));
    }

    drop(EventWriter::open(directory.path(), &real_options()).unwrap());
    let kept = ids(directory.path());
    let set: std::collections::HashSet<&String> = kept.iter().collect();
    assert_eq!(set.len(), kept.len(), "an event was recorded twice");
    assert!(acknowledged.len() >= 50);
    for id in &acknowledged {
        assert!(set.contains(id), "{id} was acknowledged and is gone");
    }
    let found = verify(&[directory.path().to_owned()], &Expectations::default(), &mut |_| {}).unwrap();
    assert!(found.valid, "{:?}", found.problem);
    assert_eq!(found.unproven(), 0);
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let mount = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(mount.path())
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: mounting a small tmpfs needs more rights than this user has");
        return;
    }
    let unmount = Unmount(mount.path());
    let log = mount.path().join("events");
    let ballast = mount.path().join("ballast");
    fs::write(&ballast, vec![0; 100_000]).unwrap();

    let writer = EventWriter::open(&log, &real_options()).unwrap();
    let mut kept = 0;
    let refused = loop {
        match record(&writer, &event(&format!("evt_{kept}"))) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, RecordError::Unwritable);
    assert!(!writer.is_writable());

    fs::remove_file(&ballast).unwrap();
    let start = Instant::now();
    while !writer.is_writable() {
        assert!(start.elapsed() < Duration::from_secs(20), "the writer did not go on");
        std::thread::sleep(Duration::from_millis(5));
    }
    record(&writer, &event("evt_after")).unwrap();
    drop(writer);
    // The one that met the full disk waited, and was written when there was room.
    let expected: Vec<String> =
        (0..=kept).map(|n| format!("evt_{n}")).chain(["evt_after".to_owned()]).collect();
    assert_eq!(ids(&log), expected);
    let found = verify(&[log], &Expectations::default(), &mut |_| {}).unwrap();
    assert!(found.valid, "{:?}", found.problem);
    drop(unmount);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}
