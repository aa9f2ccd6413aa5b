//! A log is followed to its end and beyond, whatever happens to it meanwhile.

use std::fs;
use std::path::Path;

use kt_store::event_log::{Batch, BatchSize, EventWriter, Follower, Options};
use serde_json::Value;

use crate::support::{event, lines, options, record, segments};

const ALL: BatchSize = BatchSize { entries: 1000, bytes: 1 << 20 };

/// All batches that there are at present.
fn drain(follower: &mut Follower, size: BatchSize) -> Vec<Batch> {
    std::iter::from_fn(|| follower.next(size).unwrap()).collect()
}

/// The ids of the events among the entries that there are at present.
fn followed(follower: &mut Follower) -> Vec<String> {
    let entries = drain(follower, ALL).into_iter().flat_map(|batch| batch.entries);
    let id = |line: String| {
        let entry: Value = serde_json::from_str(&line).unwrap();
        entry["event"]["id"].as_str().map(str::to_owned)
    };
    entries.filter_map(id).collect()
}

fn write(log: &Path, options: &Options, names: impl IntoIterator<Item = String>) {
    let writer = EventWriter::open(log, options).unwrap();
    for name in names {
        record(&writer, &event(&name)).unwrap();
    }
}

fn names(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("evt_{n}")).collect()
}

#[test]
fn every_event_comes_once_and_in_order_through_segments_and_lives() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { segment_bytes: 2000, ..options() };
    write(directory.path(), &small, names(0, 20));
    let mut follower = Follower::open(directory.path(), None).unwrap();
    assert_eq!(followed(&mut follower), names(0, 20));
    assert_eq!(followed(&mut follower), names(0, 0), "nothing new");
    write(directory.path(), &small, names(20, 40));
    assert!(segments(directory.path()).len() > 2, "the log has several segments");
    assert_eq!(followed(&mut follower), names(20, 40));
}

#[test]
fn batches_hold_no_more_than_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &options(), names(0, 10));
    let all: Vec<_> = lines(directory.path()).iter().map(|line| line.trim_end().to_owned()).collect();
    let sizes = |size| -> Vec<usize> {
        let mut follower = Follower::open(directory.path(), None).unwrap();
        let batches = drain(&mut follower, size);
        let entries: Vec<_> = batches.iter().flat_map(|batch| batch.entries.clone()).collect();
        assert_eq!(entries, all, "{size:?}: every line, as it stands in the log");
        batches.iter().map(|batch| batch.entries.len()).collect()
    };
    let (whole, rest) = (all.len() / 4, all.len() % 4);
    let fours = [vec![4; whole], vec![rest; usize::from(rest > 0)]].concat();
    assert_eq!(sizes(BatchSize { entries: 4, ..ALL }), fours);
    assert_eq!(sizes(BatchSize { bytes: 1, ..ALL }), vec![1; all.len()], "one may be longer than a batch");
    assert_eq!(sizes(ALL), [all.len()]);
}

#[test]
fn a_batch_tells_whether_more_stands_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &Options { segment_bytes: 2000, ..options() }, names(0, 20));
    assert!(segments(directory.path()).len() > 1, "the log has several segments");
    for size in [BatchSize { entries: 1, ..ALL }, BatchSize { bytes: 1, ..ALL }, ALL] {
        let mut follower = Follower::open(directory.path(), None).unwrap();
        let batches = drain(&mut follower, size);
        let (last, before) = batches.split_last().unwrap();
        assert!(before.iter().all(|batch| batch.has_more_behind) && !last.has_more_behind, "{size:?}");
    }
}

#[test]
fn another_life_goes_on_behind_the_entry_that_it_remembers() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &options(), names(0, 5));
    let mut first = Follower::open(directory.path(), None).unwrap();
    let head = drain(&mut first, ALL).pop().unwrap().head;
    write(directory.path(), &options(), names(5, 8));
    let mut second = Follower::open(directory.path(), Some(head)).unwrap();
    assert_eq!(followed(&mut second), names(5, 8));
}

#[test]
fn a_log_whose_end_was_lost_is_read_again_so_that_nothing_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &options(), names(0, 3));
    let length = fs::metadata(&segments(directory.path())[0]).unwrap().len();
    write(directory.path(), &options(), names(3, 9));
    let mut before = Follower::open(directory.path(), None).unwrap();
    let head = drain(&mut before, ALL).pop().unwrap().head;
    // What a machine without power forgets.
    let file = fs::OpenOptions::new().write(true).open(&segments(directory.path())[0]).unwrap();
    file.set_len(length).unwrap();
    write(directory.path(), &options(), names(10, 20));
    let expected = [names(0, 3), names(10, 20)].concat();
    let mut after = Follower::open(directory.path(), Some(head)).unwrap();
    assert_eq!(followed(&mut after), expected);
}

#[test]
fn what_a_writer_takes_back_before_it_is_on_disk_does_not_come() {
    let directory = tempfile::tempdir().unwrap();
    let ids = |batch: Option<Batch>| -> Vec<String> {
        let entries = batch.map(|batch| batch.entries).unwrap_or_default();
        let entries = entries.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.filter_map(|entry| entry["event"]["id"].as_str().map(str::to_owned)).collect()
    };
    write(directory.path(), &options(), names(0, 3));
    let length = fs::metadata(&segments(directory.path())[0]).unwrap().len();
    write(directory.path(), &options(), names(3, 6));
    let mut follower = Follower::open(directory.path(), None).unwrap();
    assert_eq!(follower.next_settled(ALL, || false).unwrap(), None, "who knows what of it stays");

    let mut disk_fails = true;
    let settle = || {
        if std::mem::take(&mut disk_fails) {
            let file = fs::OpenOptions::new().write(true).open(&segments(directory.path())[0]).unwrap();
            file.set_len(length).unwrap();
            write(directory.path(), &options(), names(10, 12));
        }
        true
    };
    let stays = [names(0, 3), names(10, 12)].concat();
    assert_eq!(ids(follower.next_settled(ALL, settle).unwrap()), stays);
    assert_eq!(follower.next_settled(ALL, || true).unwrap(), None);
    write(directory.path(), &options(), names(12, 14));
    let settle = || {
        write(directory.path(), &options(), names(14, 16));
        true
    };
    assert_eq!(ids(follower.next_settled(ALL, settle).unwrap()), names(12, 14), "the control");
    assert_eq!(ids(follower.next_settled(ALL, || true).unwrap()), names(14, 16));
}

#[test]
fn what_retention_removed_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { segment_bytes: 2000, ..options() };
    write(directory.path(), &small, names(0, 40));
    let mut follower = Follower::open(directory.path(), None).unwrap();
    let first = follower.next(BatchSize { entries: 1, ..ALL }).unwrap().unwrap();
    assert_eq!(first.entries.len(), 1);
    let all = segments(directory.path());
    fs::remove_file(&all[0]).unwrap();
    let left = followed(&mut follower);
    assert_eq!(left.last().unwrap(), "evt_39");
    assert!(left.len() < 39, "what is gone is gone");
}
