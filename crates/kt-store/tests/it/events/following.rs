//! A log is followed to its end and beyond, whatever happens to it meanwhile.

use std::fs;
use std::path::Path;

use kt_store::event_log::{Batch, BatchSize, EventWriter, Follower, Options};
use serde_json::Value;

use crate::support::{event, options, record, segments};

const ALL: BatchSize = BatchSize { events: 1000, bytes: 1 << 20 };

/// The ids of the events in all batches that there are at present.
fn drain(follower: &mut Follower, size: BatchSize) -> (Vec<Vec<String>>, Option<Batch>) {
    let (mut batches, mut last) = (Vec::new(), None);
    while let Some(batch) = follower.next(size).unwrap() {
        let id = |text: &String| {
            serde_json::from_str::<Value>(text).unwrap()["id"].as_str().unwrap().to_owned()
        };
        batches.push(batch.events.iter().map(id).collect());
        last = Some(batch);
    }
    (batches, last)
}

fn followed(follower: &mut Follower) -> Vec<String> {
    drain(follower, ALL).0.concat()
}

fn write(log: &Path, options: &Options, names: impl IntoIterator<Item = String>) {
    let writer = EventWriter::open(log, options).unwrap();
    for name in names {
        record(&writer, event(&name)).unwrap();
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
    let sizes = |size| -> Vec<usize> {
        let mut follower = Follower::open(directory.path(), None).unwrap();
        let sizes = drain(&mut follower, size).0.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes.iter().sum::<usize>(), 10, "{size:?}");
        sizes.into_iter().filter(|size| *size > 0).collect()
    };
    assert_eq!(sizes(BatchSize { events: 4, ..ALL }), [4, 4, 2]);
    assert_eq!(sizes(BatchSize { bytes: 1, ..ALL }), [1; 10], "one event may be longer than a batch");
    assert_eq!(sizes(ALL), [10]);
}

#[test]
fn another_life_goes_on_behind_the_entry_that_it_remembers() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &options(), names(0, 5));
    let mut first = Follower::open(directory.path(), None).unwrap();
    let head = drain(&mut first, ALL).1.unwrap().head;
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
    let head = drain(&mut before, ALL).1.unwrap().head;
    // What a machine without power forgets.
    let file = fs::OpenOptions::new().write(true).open(&segments(directory.path())[0]).unwrap();
    file.set_len(length).unwrap();
    write(directory.path(), &options(), names(10, 20));
    let expected = [names(0, 3), names(10, 20)].concat();
    let mut after = Follower::open(directory.path(), Some(head)).unwrap();
    assert_eq!(followed(&mut after), expected);
}

#[test]
fn what_retention_removed_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { segment_bytes: 2000, ..options() };
    write(directory.path(), &small, names(0, 40));
    let mut follower = Follower::open(directory.path(), None).unwrap();
    let first = follower.next(BatchSize { events: 1, ..ALL }).unwrap().unwrap();
    assert_eq!(first.events.len(), 1);
    let all = segments(directory.path());
    fs::remove_file(&all[0]).unwrap();
    let left = followed(&mut follower);
    assert_eq!(left.last().unwrap(), "evt_39");
    assert!(left.len() < 39, "what is gone is gone");
}
