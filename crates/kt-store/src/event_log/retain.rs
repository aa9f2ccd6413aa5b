//! Removing what need not be kept any longer: whole segments from the beginning of a log, and a signed entry that says
//! so. Nothing that is immutable goes before its time.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use kt_domain::events::{Head, Record, Removal, RemovalReason, SegmentStart};

use super::Options;
use super::disk::sync_directory;
use super::error::{AtPath, LogError};
use super::lines::LinesBackwards;
use super::log::Log;
use super::rfc_3339;
use super::segments::{self, Segment};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many segments.
    pub segments: usize,
    /// How many entries of the chain.
    pub entries: u64,
    /// Whether a segment was old enough to be asked for, and immutable.
    pub kept_immutable: bool,
}

/// Removes every segment at the beginning of the log in `directory` whose retention has ended: the days that it was
/// written under, or those of `options` when they are more.
pub fn retain(directory: &Path, options: &Options) -> Result<Removed, LogError> {
    let now = options.clock.now();
    remove_while(directory, options, RemovalReason::Retention, |finished| {
        let days = finished.start.retention_days.max(options.retention.days);
        if is_older(finished.written, days, now) { Verdict::Remove } else { Verdict::Keep }
    })
}

/// Removes every segment at the beginning of the log in `directory` that was finished before `before`, unless it was
/// written immutable and its retention has not ended.
pub fn purge(directory: &Path, options: &Options, before: Timestamp) -> Result<Removed, LogError> {
    let now = options.clock.now();
    remove_while(directory, options, RemovalReason::Purge, |finished| {
        let is_protected =
            finished.start.immutable && !is_older(finished.written, finished.start.retention_days, now);
        match (finished.written < before, is_protected) {
            (false, _) => Verdict::Keep,
            (true, false) => Verdict::Remove,
            (true, true) => Verdict::Protected,
        }
    })
}

enum Verdict {
    Remove,
    Keep,
    Protected,
}

/// A segment that nothing is appended to any more.
struct Finished {
    start: SegmentStart,
    /// When its last checkpoint was written: its events are older.
    written: Timestamp,
    /// Its last entry.
    end: Head,
}

fn is_older(written: Timestamp, days: u32, now: Timestamp) -> bool {
    now.duration_since(written) > SignedDuration::from_hours(24 * i64::from(days))
}

fn remove_while(
    directory: &Path,
    options: &Options,
    reason: RemovalReason,
    judge: impl Fn(&Finished) -> Verdict,
) -> Result<Removed, LogError> {
    let mut log = Log::open_as_it_is(directory, options)?;
    log.end_stale_segment()?;
    let mut all = segments::list(directory)?;
    // The last one is appended to.
    all.pop();
    let mut removed = Removed::default();
    let mut last: Option<Head> = None;
    for segment in &all {
        let Some(finished) = finished(segment)? else { break };
        match judge(&finished) {
            Verdict::Remove => last = Some(finished.end),
            Verdict::Keep => break,
            Verdict::Protected => {
                removed.kept_immutable = true;
                break;
            }
        }
        removed.segments += 1;
    }
    let (Some(last), Some(first)) = (last, all.first()) else { return Ok(removed) };
    removed.entries = last.seq + 1 - first.first_seq;
    log.append_removal(&Removal {
        first_kept: last.seq + 1,
        first_removed: first.first_seq,
        previous_hash: last.hash,
        reason,
        timestamp: rfc_3339(options.clock.now()),
    })?;
    // The statement comes first: a crash in between leaves more than it says, never less.
    for segment in &all[..removed.segments] {
        fs::remove_file(&segment.path).at(&segment.path)?;
    }
    sync_directory(directory).at(directory)?;
    Ok(removed)
}

/// What is known of a finished segment; `None` when it does not end with a checkpoint, as a damaged one may.
fn finished(segment: &Segment) -> Result<Option<Finished>, LogError> {
    let start = segment.start()?;
    let mut lines = LinesBackwards::open(&segment.path).at(&segment.path)?;
    let last = lines.previous().at(&segment.path)?.and_then(Record::from_written);
    let Some((start, last)) = start.zip(last) else { return Ok(None) };
    let written = last.checkpoint().and_then(|checkpoint| checkpoint.timestamp.parse().ok());
    Ok(written.map(|written| Finished { start, written, end: last.head() }))
}
