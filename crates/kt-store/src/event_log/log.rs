//! The end of a log that grows: appends entries, many with one flush, and takes over where another process or an
//! earlier life of this one left off.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use kt_domain::clock::Clock;
use kt_domain::events::{Checkpoint, Entry, Head, Record, Removal, SegmentStart};

use super::disk::{Disk, LogFile, RealDisk, sync_directory};
use super::error::{AtPath, LogError};
use super::identity::Identity;
use super::lines::LinesBackwards;
use super::lock::{Held, Lock};
use super::segments::{self, Segment};
use super::tail::Tail;
use super::{Options, Retention, anchor, rfc_3339};

/// Lines are handed to the system, where they outlive the process, in pieces of about this size.
const PIECE: usize = 32 << 10;

/// A log that is appended to.
pub(super) struct Log {
    place: Place,
    lock: Lock,
    anchor_file: Option<PathBuf>,
    segment_bytes: u64,
    checkpoint_entries: u64,
    active: Active,
    /// Whether `active` was so when the lock was last held; otherwise it is read anew.
    is_known: bool,
    /// Whether another process may have appended since the last checkpoint of this one: the anchor knows nothing of that.
    others_appended: bool,
    /// Set while lines that failed to be flushed could not be cut off again: nobody may append behind them.
    stuck: Option<Held>,
    buffer: Vec<u8>,
}

/// Where the log is and whose it is.
struct Place {
    directory: PathBuf,
    identity: Identity,
    clock: Arc<dyn Clock>,
    disk: Box<dyn Disk>,
    retention: Retention,
}

/// The segment that is appended to.
struct Active {
    file: Arc<dyn LogFile>,
    segment: Segment,
    /// The end of what was written.
    tail: Tail,
    /// How many bytes of it are known to be on disk.
    flushed: u64,
    /// The last checkpoint that is not known to be on disk.
    checkpoint: Option<Checkpoint>,
}

/// A flush of all that was written before it began.
#[derive(Clone, Copy)]
pub(super) struct Flush {
    length: u64,
}

/// What a flush asks of the disk; it may be done by another thread.
pub(super) struct FlushWork {
    file: Arc<dyn LogFile>,
    checkpoint: Option<Checkpoint>,
    anchor_file: Option<PathBuf>,
}

impl Log {
    /// Opens the log in `directory`, or begins one. Refuses a log whose end is not as it was written, and one that does
    /// not hold what the anchor was signed for.
    pub(super) fn open(disk: Box<dyn Disk>, directory: &Path, options: &Options) -> Result<Self, LogError> {
        let mut log = Self::open_with(disk, directory, options, Place::find_end)?;
        // So that a log is never without one, and what an earlier life left uncovered is covered.
        log.append_checkpoint()?;
        Ok(log)
    }

    /// The same, and appends nothing: a gateway that writes at the same time signs its entries itself.
    pub(super) fn open_as_it_is(directory: &Path, options: &Options) -> Result<Self, LogError> {
        Self::open_with(Box::new(RealDisk), directory, options, Place::find_end)
    }

    /// Opens a log whose end is damaged, to go on in a new segment behind it; the damage stays as it is.
    pub(super) fn open_behind_damage(directory: &Path, options: &Options) -> Result<Self, LogError> {
        let mut log = Self::open_with(Box::new(RealDisk), directory, options, Place::begin_behind_damage)?;
        log.append_checkpoint()?;
        Ok(log)
    }

    fn open_with(
        disk: Box<dyn Disk>,
        directory: &Path,
        options: &Options,
        find_end: impl Fn(&Place) -> Result<Active, LogError>,
    ) -> Result<Self, LogError> {
        segments::make_directory(directory)?;
        let lock = Lock::open(directory)?;
        let held = lock.hold()?;
        let place = Place {
            directory: directory.to_owned(),
            identity: Identity::open(directory, options.gateway_id.as_deref())?,
            clock: Arc::clone(&options.clock),
            disk,
            retention: options.retention,
        };
        if let Some(anchor_file) = &options.anchor_file {
            anchor::check(anchor_file, directory, &place.identity.public_key)?;
        }
        let active = find_end(&place)?;
        drop(held);
        Ok(Self {
            place,
            lock,
            anchor_file: options.anchor_file.clone(),
            segment_bytes: options.segment_bytes,
            checkpoint_entries: options.checkpoint_entries,
            active,
            is_known: true,
            others_appended: false,
            stuck: None,
            buffer: Vec::new(),
        })
    }

    /// The gateway whose log it is.
    pub(super) fn gateway_id(&self) -> &Arc<str> {
        &self.place.identity.gateway_id
    }

    /// Changes how long events are kept from now on.
    pub(super) fn set_retention(&mut self, retention: Retention) {
        self.place.retention = retention;
    }

    /// Keeps the anchor in another file from now on, or in none, and writes a checkpoint into it at once. Refuses a file that
    /// holds the anchor of another log, and changes nothing when the checkpoint cannot be written.
    pub(super) fn move_anchor(&mut self, to: Option<PathBuf>) -> Result<(), LogError> {
        if to == self.anchor_file {
            return Ok(());
        }
        if let Some(path) = &to {
            anchor::check(path, &self.place.directory, &self.place.identity.public_key)?;
        }
        let former = std::mem::replace(&mut self.anchor_file, to);
        let moved = self.locked(|log| log.write(None, true));
        if moved.is_err() {
            self.anchor_file = former;
        }
        moved
    }

    /// Whether there are entries that no checkpoint covers, or none of which the anchor may know.
    pub(super) fn is_uncovered(&self) -> bool {
        self.others_appended || self.active.tail.head.seq > self.active.tail.covered
    }

    /// Calls `work`, which writes events and has them flushed, while no other process appends. On an error, what was not
    /// flushed is no longer in the log.
    pub(super) fn append(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        self.locked(|log| {
            if log.is_full() {
                log.begin_next_segment()?;
            }
            work(log)
        })
    }

    /// Whether an [`append`](Self::append) should end soon: another process waits to append, or the next events belong in a new
    /// segment.
    pub(super) fn should_end_append(&self) -> bool {
        self.is_full() || self.lock.is_awaited()
    }

    /// Writes `events`, and a checkpoint when it is time for one or there are enough entries for one: they outlive the process
    /// from now on, and a loss of power once they are flushed.
    pub(super) fn write_events<'a>(
        &mut self,
        events: impl ExactSizeIterator<Item = &'a [u8]>,
        is_time: bool,
    ) -> Result<(), LogError> {
        let uncovered = self.active.tail.head.seq - self.active.tail.covered + events.len() as u64;
        let with_checkpoint =
            uncovered >= self.checkpoint_entries || (is_time && (uncovered > 0 || self.others_appended));
        self.write_lines(events, with_checkpoint)
    }

    /// Begins a flush of what was written: its work is to be done by the caller, or by another thread.
    pub(super) fn begin_flush(&mut self) -> (Flush, FlushWork) {
        let Active { file, tail, checkpoint, .. } = &mut self.active;
        let work = FlushWork {
            file: Arc::clone(file),
            checkpoint: checkpoint.take(),
            anchor_file: self.anchor_file.clone(),
        };
        (Flush { length: tail.length }, work)
    }

    /// Whether more was written than is on disk.
    pub(super) fn is_unflushed(&self) -> bool {
        self.active.tail.length > self.active.flushed
    }

    /// Ends a flush with what came of its work.
    pub(super) fn end_flush(&mut self, flush: Flush, outcome: io::Result<()>) -> Result<(), LogError> {
        outcome.at(&self.active.segment.path)?;
        self.active.flushed = flush.length;
        Ok(())
    }

    /// Appends a checkpoint, when there are entries that none covers.
    pub(super) fn append_checkpoint(&mut self) -> Result<(), LogError> {
        self.locked(|log| if log.is_uncovered() { log.write(None, true) } else { Ok(()) })
    }

    /// Appends `removal`, signed by a checkpoint.
    pub(super) fn append_removal(&mut self, removal: &Removal) -> Result<(), LogError> {
        self.locked(|log| log.write(Some(Entry::Removal(removal)), true))
    }

    /// Ends the segment when the next events would go into a new one, so that its own can be removed in time.
    pub(super) fn end_stale_segment(&mut self) -> Result<(), LogError> {
        self.locked(|log| if log.is_full() { log.begin_next_segment() } else { Ok(()) })
    }

    /// Calls `work` with the lock held and the log's end known. When it fails, what was not flushed is cut off again.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, LogError>) -> Result<T, LogError> {
        let held = match self.stuck.take() {
            Some(held) => self.cut_off_failed(held)?,
            None => self.lock.hold()?,
        };
        self.catch_up()?;
        let result = work(self);
        if result.is_err() {
            // After a failed flush the system's copy of the file in memory may differ from the disk: it is read anew.
            self.is_known = false;
            // What failed here is tried again before the next entry; `result` already carries the reason.
            let _ = self.cut_off_failed(held);
        }
        result
    }

    /// Cuts the segment to what is known to be on disk. Keeps the lock when that fails.
    fn cut_off_failed(&mut self, held: Held) -> Result<Held, LogError> {
        let Active { file, segment, flushed, .. } = &self.active;
        match file.cut(*flushed).at(&segment.path) {
            Ok(()) => Ok(held),
            Err(error) => {
                self.stuck = Some(held);
                Err(error)
            }
        }
    }

    /// Finds the log's end again when somebody else may have appended.
    fn catch_up(&mut self) -> Result<(), LogError> {
        let length = self.active.file.length().at(&self.active.segment.path)?;
        if !self.is_known || length != self.active.tail.length {
            self.active = self.place.find_end()?;
            self.is_known = true;
            self.others_appended = true;
        }
        Ok(())
    }

    /// Whether the next events belong into a new segment: this one is large, of another day, or kept for another time, or the
    /// clock was set back. So what stands before a checkpoint in the same segment is older than it, and a search by time
    /// can pass over it.
    fn is_full(&self) -> bool {
        let Tail { start, length, stated_at, .. } = &self.active.tail;
        let now = self.place.clock.now();
        let today = rfc_3339(now);
        let retention = Retention { days: start.retention_days, immutable: start.immutable };
        *length >= self.segment_bytes
            || start.timestamp.get(..10) != today.get(..10)
            || retention != self.place.retention
            || now < *stated_at
    }

    /// Ends the segment with a checkpoint, even behind another one: by the new line, a process that appends to the
    /// same log notices that the segment has ended.
    fn begin_next_segment(&mut self) -> Result<(), LogError> {
        self.write(None, true)?;
        self.active = self.place.begin_segment(self.active.tail.head)?;
        Ok(())
    }

    /// Appends `entry`, and behind it a checkpoint if wanted, and flushes.
    fn write(&mut self, entry: Option<Entry<'_>>, with_checkpoint: bool) -> Result<(), LogError> {
        let body = entry.map(|entry| entry.open_body()).transpose();
        let body = body.map_err(io::Error::from).at(&self.active.segment.path)?;
        self.write_lines(body.iter().map(Vec::as_slice), with_checkpoint)?;
        let (flush, work) = self.begin_flush();
        self.end_flush(flush, work.run())
    }

    /// Appends the entries that have these bodies, and behind them a checkpoint if wanted.
    fn write_lines<'a>(
        &mut self,
        bodies: impl Iterator<Item = &'a [u8]>,
        with_checkpoint: bool,
    ) -> Result<(), LogError> {
        let Active { file, segment, tail, checkpoint, .. } = &mut self.active;
        let mut lines = Lines { file: &**file, buffer: &mut self.buffer, head: tail.head, written: 0 };
        lines.buffer.clear();
        for body in bodies {
            lines.add(body).at(&segment.path)?;
        }
        if with_checkpoint {
            // That of a clock which was set back would be older than what it proves.
            let now = self.place.clock.now().max(tail.stated_at);
            let new = self.place.identity.checkpoint(lines.head, now);
            let body = Entry::Checkpoint(&new).open_body().map_err(io::Error::from);
            body.and_then(|body| lines.add(&body)).at(&segment.path)?;
            tail.covered = lines.head.seq;
            tail.stated_at = now;
            self.others_appended = false;
            *checkpoint = Some(new);
        }
        lines.hand_over().at(&segment.path)?;
        tail.length += lines.written;
        tail.head = lines.head;
        Ok(())
    }
}

impl FlushWork {
    /// Flushes the file, and then tells the outside of its checkpoint, so that a log that is cut or set back later is
    /// recognised.
    pub(super) fn run(&self) -> io::Result<()> {
        self.file.sync()?;
        if let Some(checkpoint) = &self.checkpoint {
            tracing::info!(seq = checkpoint.seq, hash = %checkpoint.hash, "event log checkpoint");
            self.write_anchor(checkpoint);
        }
        Ok(())
    }

    fn write_anchor(&self, checkpoint: &Checkpoint) {
        let Some(path) = &self.anchor_file else { return };
        if let Err(error) = anchor::write(path, checkpoint) {
            tracing::warn!(%error, "the anchor file was not written; it still holds an older checkpoint");
        }
    }
}

impl Active {
    /// All of which is on disk.
    fn new(file: Arc<dyn LogFile>, segment: Segment, tail: Tail) -> Self {
        Self { file, segment, flushed: tail.length, tail, checkpoint: None }
    }
}

/// Lines on their way to the system.
struct Lines<'a> {
    file: &'a dyn LogFile,
    buffer: &'a mut Vec<u8>,
    head: Head,
    written: u64,
}

impl Lines<'_> {
    fn add(&mut self, body: &[u8]) -> io::Result<()> {
        self.head.append_body(body, self.buffer);
        if self.buffer.len() >= PIECE { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        self.file.append(self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Place {
    /// The end of the log; begins the log when there is none.
    fn find_end(&self) -> Result<Active, LogError> {
        loop {
            let Some(segment) = segments::list(&self.directory)?.pop() else {
                return self.begin_segment(self.identity.genesis());
            };
            match Tail::read(&segment, &self.identity)? {
                Some(tail) => return self.take_over(segment, tail),
                None => remove_unborn(&segment)?,
            }
        }
    }

    /// A new segment behind the last entry that can still be read.
    fn begin_behind_damage(&self) -> Result<Active, LogError> {
        let Err(LogError::Damaged { path, .. }) = self.find_end() else {
            return Err(LogError::Unusable {
                path: self.directory.clone(),
                problem: "holds a log whose end is not damaged: there is nothing to repair".to_owned(),
            });
        };
        let mut lines = LinesBackwards::open(&path).at(&path)?;
        while let Some(line) = lines.previous().at(&path)? {
            if let Some(record) = Record::from_written(line) {
                return self.begin_segment(record.head());
            }
        }
        Err(LogError::Unusable {
            path,
            problem: "has no readable entry. Move it away, keep it, and start again".to_owned(),
        })
    }

    /// Opens `segment` for appending behind `tail`; an unfinished line there was never acknowledged and is cut off.
    fn take_over(&self, segment: Segment, tail: Tail) -> Result<Active, LogError> {
        let file = self.disk.open(&segment.path).at(&segment.path)?;
        let length = file.length().at(&segment.path)?;
        if length != tail.length {
            let bytes = length.saturating_sub(tail.length);
            tracing::warn!(path = %segment.path.display(), bytes, "cut an unfinished line off the event log");
            file.cut(tail.length).at(&segment.path)?;
        }
        file.sync().at(&segment.path)?;
        Ok(Active::new(file, segment, tail))
    }

    /// Begins the segment that follows `head`.
    fn begin_segment(&self, head: Head) -> Result<Active, LogError> {
        let segment = Segment::new(&self.directory, head.seq + 1);
        let begun = self.write_segment_start(&segment, head);
        if begun.is_err() {
            // Without its first line the file says nothing; it is also removed when it is found later.
            let _ = fs::remove_file(&segment.path);
        }
        begun
    }

    fn write_segment_start(&self, segment: &Segment, before: Head) -> Result<Active, LogError> {
        let now = self.clock.now();
        let start = self.segment_start(before, now);
        let file = self.disk.create(&segment.path).at(&segment.path)?;
        let mut head = before;
        let mut line = Vec::new();
        head.append(&Entry::Segment(&start), &mut line).map_err(io::Error::from).at(&segment.path)?;
        file.append(&line).and_then(|()| file.sync()).at(&segment.path)?;
        sync_directory(&self.directory).at(&self.directory)?;
        let tail = Tail { head, covered: before.seq, stated_at: now, length: line.len() as u64, start };
        Ok(Active::new(file, segment.clone(), tail))
    }

    fn segment_start(&self, before: Head, now: Timestamp) -> SegmentStart {
        SegmentStart {
            gateway_id: Arc::clone(&self.identity.gateway_id),
            immutable: self.retention.immutable,
            previous_hash: before.hash,
            public_key: self.identity.public_key,
            retention_days: self.retention.days,
            timestamp: rfc_3339(now),
        }
    }
}

/// Removes a segment whose first line was never finished: the process ended while it was made.
fn remove_unborn(segment: &Segment) -> Result<(), LogError> {
    tracing::warn!(path = %segment.path.display(), "removed a segment of the event log that was never begun");
    fs::remove_file(&segment.path).at(&segment.path)
}
