//! What a writer does while its disk fails, hangs, and comes back.

mod outliving;

use std::io;
use std::path::Path;
use std::sync::mpsc;

use kt_domain::clock::SystemClock;
use kt_domain::events::{EventType, Verdict};

use super::super::disk::LogFile;
use super::super::query::{EventQuery, query};
use super::super::verify::{Expectations, Expected, Verification, verify};
use super::*;

/// What the disk does wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Half of what is appended arrives, then the disk is full.
    append: bool,
    /// What was appended does not reach the disk.
    sync: bool,
    /// Nothing can be cut off.
    cut: bool,
}

/// The real disk, with faults that can be switched on. Holding the lock makes it hang.
#[derive(Clone, Default)]
struct FaultyDisk(Arc<Mutex<Faults>>, Arc<Flushes>);

/// The flushes of a disk.
#[derive(Default)]
struct Flushes {
    /// How many more may end; `None` while all may.
    left: Mutex<Option<usize>>,
    changed: Condvar,
}

/// While it lives, flushes hang.
struct Hanging(Arc<Flushes>);

impl Flushes {
    fn end_one(&self) {
        let left = self.left.lock().unwrap();
        let mut left = self.changed.wait_while(left, |left| *left == Some(0)).unwrap();
        *left = left.map(|left| left - 1);
        self.changed.notify_all();
    }

    fn set(&self, left: Option<usize>) {
        *self.left.lock().unwrap() = left;
        self.changed.notify_all();
    }
}

impl Hanging {
    /// Lets the next one end, and waits until it does.
    fn let_one_end(&self) {
        self.0.set(Some(1));
        let left = self.0.left.lock().unwrap();
        drop(self.0.changed.wait_while(left, |left| *left == Some(1)).unwrap());
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

struct FaultyFile {
    file: Arc<dyn LogFile>,
    disk: FaultyDisk,
}

impl FaultyDisk {
    fn set(&self, faults: Faults) {
        *self.0.lock().unwrap() = faults;
    }

    fn hang_flushes(&self) -> Hanging {
        self.1.set(Some(0));
        Hanging(Arc::clone(&self.1))
    }

    fn wrap(&self, file: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        Arc::new(FaultyFile { file, disk: self.clone() })
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.wrap(RealDisk.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.wrap(RealDisk.create(path)?))
    }
}

impl LogFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if self.disk.0.lock().unwrap().append {
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.1.end_one();
        if self.disk.0.lock().unwrap().sync {
            return Err(io::Error::other("input/output error"));
        }
        self.file.sync()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        if self.disk.0.lock().unwrap().cut {
            return Err(io::Error::other("input/output error"));
        }
        self.file.cut(length)
    }
}

fn event(id: &str) -> Event {
    let timestamp = "2026-03-15T12:00:00.000Z".to_owned();
    let mut event = Event::new(EventType::Decision, id.to_owned(), timestamp, "gw_test".into());
    event.verdict = Some(Verdict::Allow);
    event
}

fn record(writer: &EventWriter, id: &str) -> Result<(), RecordError> {
    let (sender, receiver) = mpsc::channel();
    writer.record_then(&event(id), move |outcome| sender.send(outcome).unwrap());
    receiver.recv().unwrap()
}

fn events(directory: &Path) -> Vec<Event> {
    let all = EventQuery { limit: 1000, ..EventQuery::default() };
    let page = query(directory, &all).unwrap();
    page.events.iter().rev().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn names_in(directory: &Path) -> Vec<String> {
    events(directory).into_iter().map(|event| event.id).collect()
}

/// Proves the log in `directory`.
fn proven(directory: &Path, expected: &Expectations) -> Verification {
    let found = verify(&[directory.to_owned()], expected, &mut |_| {}).unwrap();
    assert!(found.valid, "{:?}", found.problem);
    found
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came to be so");
        thread::sleep(Duration::from_millis(1));
    }
}

fn options() -> Options {
    Options { gateway_id: Some("gw_test".to_owned()), ..Options::new(Arc::new(SystemClock)) }
}

#[test]
fn events_are_kept_while_the_disk_fails_and_written_once_when_it_is_well() {
    let cases = [
        Faults { append: true, ..Faults::default() },
        Faults { sync: true, ..Faults::default() },
        Faults { append: true, cut: true, ..Faults::default() },
        Faults { sync: true, cut: true, ..Faults::default() },
    ];
    for faults in cases {
        let directory = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
        record(&writer, "evt_before").unwrap();

        disk.set(faults);
        assert_eq!(record(&writer, "evt_kept"), Err(RecordError::Unwritable), "{faults:?}");
        assert!(!writer.is_writable());
        assert_eq!(
            record(&writer, "evt_urgent"),
            Err(RecordError::Unwritable),
            "nobody waits for such a disk"
        );
        assert_eq!(writer.record(&event("evt_lazy")), Ok(()));
        assert_eq!(writer.sync(), Err(RecordError::Unwritable));

        disk.set(Faults::default());
        wait_until(|| writer.is_writable());
        record(&writer, "evt_after").unwrap();
        drop(writer);
        let names = ["evt_before", "evt_kept", "evt_urgent", "evt_lazy", "evt_after"];
        assert_eq!(names_in(directory.path()), names, "{faults:?}");
        proven(directory.path(), &Expectations::default());
    }
}

#[test]
fn a_queue_holds_no_more_than_it_may_and_counts_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let options = Options { queue_capacity: 100, ..options() };
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options).unwrap();

    let hangs = disk.0.lock().unwrap();
    writer.record_then(&event("evt_taken"), |_| {});
    wait_until(|| writer.shared.queue().events.is_empty());
    let outcomes: Vec<_> = (0..150).map(|n| writer.record(&event(&format!("evt_{n}")))).collect();
    drop(hangs);

    assert!(outcomes[..99].iter().all(Result::is_ok));
    assert!(outcomes[99..].iter().all(|outcome| *outcome == Err(RecordError::Full)));
    drop(writer);
    let found = events(directory.path());
    assert_eq!(found.len(), 100 + 1);
    let lost = found.last().unwrap();
    assert_eq!((lost.event_type, lost.count), (EventType::EventsLost, Some(51)));
}

#[test]
fn what_is_written_and_not_on_disk_takes_room_too() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let options = Options { queue_capacity: 3, ..options() };
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options).unwrap();
    let hangs = disk.hang_flushes();
    for n in 1..=3 {
        writer.record(&event(&format!("evt_{n}"))).unwrap();
        wait_until(|| events(directory.path()).len() == n);
    }
    assert_eq!(writer.record(&event("evt_4")), Err(RecordError::Full));
    drop(hangs);
    wait_until(|| writer.is_writable());
    assert_eq!(writer.record(&event("evt_5")), Ok(()));
}

#[test]
fn half_of_the_room_is_for_what_has_begun_before_the_disk_failed() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let options = Options { queue_capacity: 100, ..options() };
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options).unwrap();
    let hangs = disk.0.lock().unwrap();
    let names: Vec<String> = (1..=100).map(|n| format!("evt_{n}")).collect();
    for (before, name) in names.iter().enumerate() {
        assert_eq!(writer.is_writable(), before <= 50, "{before} wait");
        writer.record(&event(name)).unwrap();
    }
    drop(hangs);
    wait_until(|| writer.is_writable());
    writer.sync().unwrap();
    assert_eq!(names_in(directory.path()), names, "nothing is lost");
}

/// That nothing new is to begin while the disk hangs, as it does until `hangs` is dropped, and nobody waits for it without end.
fn assert_stalls<T>(writer: &EventWriter, hangs: T) {
    writer.record(&event("evt")).unwrap();
    wait_until(|| !writer.is_writable());
    assert_eq!(writer.sync_within(Duration::from_millis(1)), Err(RecordError::Unwritable));
    drop(hangs);
    wait_until(|| writer.is_writable());
}

#[test]
fn a_disk_that_hangs_counts_as_one_that_refuses_until_it_answers() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let options = Options { stalled_after: Duration::from_millis(20), ..options() };
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options).unwrap();
    assert_stalls(&writer, disk.hang_flushes());
    assert_stalls(&writer, disk.0.lock().unwrap());
    writer.sync().unwrap();
    assert_eq!(events(directory.path()).len(), 2, "nothing is lost");
}

#[test]
fn a_writer_that_is_closed_writes_what_waited_while_the_disk_failed() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
    disk.set(Faults { append: true, ..Faults::default() });
    assert_eq!(record(&writer, "evt_met"), Err(RecordError::Unwritable));
    writer.record(&event("evt_waited")).unwrap();
    disk.set(Faults::default());
    drop(writer);
    assert_eq!(names_in(directory.path()), ["evt_met", "evt_waited"]);
}

#[test]
fn a_flood_leaves_no_room_behind() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
    let hangs = disk.0.lock().unwrap();
    writer.record_then(&event("evt_taken"), |_| {});
    wait_until(|| writer.shared.queue().events.is_empty());
    for n in 0..50_000 {
        writer.record(&event(&format!("evt_{n}"))).unwrap();
    }
    drop(hangs);
    // Two turns, for the two queues that take turns.
    for _ in 0..3 {
        record(&writer, "evt_after").unwrap();
    }
    assert!(writer.shared.queue().events.room() <= 4 << 20);
}

#[test]
fn many_that_wait_share_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
    let (sender, receiver) = mpsc::channel();
    let hangs = disk.0.lock().unwrap();
    for n in 0..100 {
        let sender = sender.clone();
        writer.record_then(&event(&format!("evt_{n}")), move |outcome| sender.send(outcome).unwrap());
    }
    assert!(receiver.try_recv().is_err(), "nobody is told before the flush");
    drop(hangs);
    for _ in 0..100 {
        assert_eq!(receiver.recv().unwrap(), Ok(()));
    }
}

#[test]
fn what_was_written_during_a_flush_that_fails_is_written_again_once() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
    let names = || names_in(directory.path());

    let hangs = disk.hang_flushes();
    for (count, name) in ["evt_1", "evt_2", "evt_3"].into_iter().enumerate() {
        writer.record(&event(name)).unwrap();
        wait_until(|| names().len() == count + 1);
    }
    disk.set(Faults { sync: true, ..Faults::default() });
    drop(hangs);
    wait_until(|| !writer.is_writable());
    disk.set(Faults::default());
    wait_until(|| writer.is_writable());
    assert_eq!(names(), ["evt_1", "evt_2", "evt_3"]);
    drop(writer);
    proven(directory.path(), &Expectations::default());
}

#[test]
fn a_checkpoint_that_falls_due_during_the_last_flush_is_flushed_too() {
    let directory = tempfile::tempdir().unwrap();
    let (log, anchor) = (directory.path().join("events"), directory.path().join("anchor"));
    let disk = FaultyDisk::default();
    let options = Options {
        checkpoint_interval: Duration::from_millis(1),
        anchor_file: Some(anchor.clone()),
        ..options()
    };
    let writer = EventWriter::open_on(Box::new(disk.clone()), &log, &options).unwrap();
    let begun = Expected::from_anchor(&anchor).unwrap();
    let hangs = disk.hang_flushes();
    writer.record(&event("evt_1")).unwrap();
    let last_seq =
        || verify(std::slice::from_ref(&log), &Expectations::default(), &mut |_| {}).unwrap().last_seq;
    // The checkpoint that proved the beginning, the event, and the one that proves it.
    wait_until(|| last_seq() == begun.seq + 3);
    drop(hangs);
    wait_until(|| Expected::from_anchor(&anchor).unwrap().seq == begun.seq + 2);
}

#[test]
fn a_log_whose_disk_fails_to_the_end_is_not_closed_whole() {
    for (faults, is_whole) in [(Faults::default(), true), (Faults { sync: true, ..Faults::default() }, false)]
    {
        let directory = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let writer = EventWriter::open_on(Box::new(disk.clone()), directory.path(), &options()).unwrap();
        record(&writer, "evt_before").unwrap();
        disk.set(faults);
        writer.record(&event("evt_last")).unwrap();
        assert!(!writer.is_closed_whole());
        writer.close();
        assert_eq!(writer.is_closed_whole(), is_whole, "{faults:?}");
    }
}

#[test]
fn an_anchor_that_could_not_be_moved_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let [former, other] = ["former", "other"].map(|name| directory.path().join(name));
    let (log, disk) = (directory.path().join("events"), FaultyDisk::default());
    let options = Options { anchor_file: Some(former.clone()), ..options() };
    let writer = EventWriter::open_on(Box::new(disk.clone()), &log, &options).unwrap();
    record(&writer, "evt_before").unwrap();
    disk.set(Faults { sync: true, ..Faults::default() });
    writer.move_anchor(Some(other.clone()));
    // Whatever comes of it, the move was tried before.
    let _ = writer.sync();
    disk.set(Faults::default());
    wait_until(|| writer.is_writable());
    record(&writer, "evt_after").unwrap();
    writer.close();
    assert!(!other.exists());
    let anchor = Expected::from_anchor(&former).unwrap();
    let found = proven(&log, &Expectations { public_key: None, entries: vec![anchor.clone()] });
    assert_eq!(found.last_seq, anchor.seq + 1, "it has gone along");
}

#[test]
fn a_closed_writer_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let writer = EventWriter::open(directory.path(), &options()).unwrap();
    writer.shared.queue().is_closing = true;
    assert_eq!(record(&writer, "evt_late"), Err(RecordError::Closed));
}

#[test]
fn events_gather_until_somebody_waits_or_there_are_enough() {
    let mut queue = Queue::default();
    for n in 1..GROUP {
        queue.events.push(format!("evt_{n}").as_bytes());
        assert!(!queue.is_urgent(), "{n} events");
    }
    queue.waiting.push(Box::new(|_| {}));
    assert!(queue.is_urgent());
    queue.waiting.clear();
    queue.events.push(b"evt_last");
    assert!(queue.is_urgent());
}
