//! Events are written in time, so that they outlive the process, whatever the disk is at.

use std::fs::{self, File};
use std::process::Command;

use super::super::super::segments;
use super::super::super::verify::Expected;
use super::super::committer::TURN;
use super::*;

#[test]
fn events_outlive_the_process_while_the_disk_flushes_what_came_before() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
    let (sender, told) = mpsc::channel();
    let written = |count: usize| wait_until(|| events(directory.path()).len() == count);

    let hangs = disk.hang_flushes();
    let first = sender.clone();
    writer.record_then(&event("evt_first"), move |outcome| first.send(("first", outcome)).unwrap());
    written(1);
    writer.record(&event("evt_meanwhile")).unwrap();
    writer.record_then(&event("evt_last"), move |outcome| sender.send(("last", outcome)).unwrap());
    written(3);
    assert!(told.try_recv().is_err(), "nobody is told before the flush");
    drop(hangs);
    assert_eq!([told.recv().unwrap(), told.recv().unwrap()], [("first", Ok(())), ("last", Ok(()))]);
}

#[test]
fn events_outlive_the_process_however_long_one_flush_takes() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
    let hangs = disk.hang_flushes();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < 2 * TURN {
        count += 1;
        writer.record(&event(&format!("evt_{count}"))).unwrap();
        wait_until(|| events(directory.path()).len() == count);
    }
    drop(hangs);
}

#[test]
fn events_outlive_the_process_however_long_every_flush_takes() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
    let hangs = disk.hang_flushes();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < 3 * TURN {
        // Two for each flush, so that there is always more to flush.
        for _ in 0..2 {
            count += 1;
            writer.record(&event(&format!("evt_{count}"))).unwrap();
            wait_until(|| events(directory.path()).len() == count);
        }
        hangs.let_one_end();
    }
}

#[test]
fn a_turn_that_would_not_end_by_itself_ends_when_another_process_waits() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let options = options();
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options).unwrap();
    let hangs = disk.hang_flushes();
    writer.record(&event("evt")).unwrap();
    wait_until(|| events(directory.path()).len() == 1);
    thread::scope(|scope| {
        let other = scope.spawn(|| drop(EventWriter::open(directory.path(), &options).unwrap()));
        for count in 2.. {
            if other.is_finished() {
                break;
            }
            writer.record(&event("evt")).unwrap();
            // It is written, unless this is the last flush of the turn.
            let begun = Instant::now();
            while events(directory.path()).len() < count && begun.elapsed() < 4 * GATHERING {
                thread::sleep(Duration::from_millis(1));
            }
            hangs.let_one_end();
        }
    });
    drop(hangs);
    drop(writer);
    proven(directory.path(), &Expectations::default());
}

#[test]
fn events_outlive_the_process_while_the_disk_flushes_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let options = Options { checkpoint_interval: Duration::from_millis(300), ..options() };
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options).unwrap();
    let checkpoints = || {
        let segment = segments::list(directory.path()).unwrap().pop().unwrap();
        fs::read_to_string(segment.path).unwrap().matches("{\"checkpoint\":").count()
    };
    let before = checkpoints();
    record(&writer, "evt_covered").unwrap();
    let hangs = disk.hang_flushes();
    wait_until(|| checkpoints() > before);
    writer.record(&event("evt_meanwhile")).unwrap();
    wait_until(|| events(directory.path()).len() == 2);
    drop(hangs);
}

/// A pipe that keeps whoever opens it to write, until this is dropped.
struct Unread(PathBuf);

impl Drop for Unread {
    fn drop(&mut self) {
        let reader = File::open(&self.0).unwrap();
        fs::remove_file(&self.0).unwrap();
        drop(reader);
    }
}

#[test]
fn events_outlive_the_process_while_the_anchor_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let [log, anchor_file, pipe] = ["log", "anchor", "anchor.new"].map(|name| directory.path().join(name));
    let options = Options { checkpoint_entries: 1, anchor_file: Some(anchor_file.clone()), ..options() };
    let writer = EventWriter::open(&log, &options).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let unread = Unread(pipe);
    for count in 1..=3 {
        writer.record(&event("evt")).unwrap();
        wait_until(|| events(&log).len() == count);
    }
    drop(unread);
    drop(writer);
    let anchored = Expectations {
        entries: vec![Expected::from_anchor(&anchor_file).unwrap()],
        ..Expectations::default()
    };
    assert_eq!(
        proven(&log, &anchored).last_seq,
        anchored.entries[0].seq + 1,
        "the anchor is of the last checkpoint"
    );
}
