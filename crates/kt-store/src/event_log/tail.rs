//! The end of a log as it is found: how far its chain has come, checked from the last checkpoint on.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use jiff::Timestamp;
use kt_domain::events::{Head, Kind, Record, SegmentStart};

use super::error::{AtPath, LogError};
use super::identity::Identity;
use super::lines::LinesBackwards;
use super::segments::{LINE_LIMIT, Segment};
use crate::checkpoint_key::is_signed_with;

/// How far a segment has come.
pub(super) struct Tail {
    /// Its last entry.
    pub(super) head: Head,
    /// The number of its last checkpoint; of the entry before the segment when there is none.
    pub(super) covered: u64,
    /// When its last checkpoint was written; when it was begun, if there is none.
    pub(super) stated_at: Timestamp,
    /// The bytes of its complete lines. What stands behind them was never acknowledged.
    pub(super) length: u64,
    /// Its first entry.
    pub(super) start: SegmentStart,
}

impl Tail {
    /// Reads the end of `segment`; `None` when not even its first line is complete.
    pub(super) fn read(segment: &Segment, identity: &Identity) -> Result<Option<Self>, LogError> {
        let damaged = |problem: String| LogError::Damaged { path: segment.path.clone(), problem };
        let mut lines = LinesBackwards::open(&segment.path).at(&segment.path)?;
        let length = lines.position();
        if length == 0 {
            return Ok(None);
        }
        let start = segment
            .start()?
            .filter(|start| {
                start.public_key == identity.public_key && start.gateway_id == identity.gateway_id
            })
            .ok_or_else(|| damaged("its first line does not begin a segment of this gateway".to_owned()))?;
        let begin = loop {
            match lines.previous().at(&segment.path)?.map(Record::from_written) {
                Some(Some(record)) if record.kind != Kind::Checkpoint => {}
                Some(Some(_)) | None => break lines.position(),
                Some(None) => return Err(damaged("a line is not an entry".to_owned())),
            }
        };
        let walked = walk(segment, begin, length, identity)?.map_err(damaged)?;
        let Walked { head, covered, stated_at } = walked;
        Ok(Some(Self { head, covered, stated_at, length, start }))
    }
}

struct Walked {
    head: Head,
    covered: u64,
    stated_at: Timestamp,
}

/// Follows the chain through the lines from `begin`, which are a checkpoint or the segment's first line, to `end`.
fn walk(
    segment: &Segment,
    begin: u64,
    end: u64,
    identity: &Identity,
) -> Result<Result<Walked, String>, LogError> {
    let mut file = File::open(&segment.path).at(&segment.path)?;
    file.seek(SeekFrom::Start(begin)).at(&segment.path)?;
    let mut reader = BufReader::new(file.take(end - begin));
    let mut line = Vec::new();
    let mut walked: Option<Walked> = None;
    while reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line).at(&segment.path)? > 0 {
        let Some(record) = Record::from_written(&line) else {
            return Ok(Err("a line is not an entry".to_owned()));
        };
        let before = match &walked {
            Some(walked) => Some(walked.head),
            None => head_before(&record, identity),
        };
        if !before.is_some_and(|head| head.is_followed_by(&record)) {
            return Ok(Err(format!("entry {} does not follow from what stands before it", record.seq)));
        }
        let covered = match &walked {
            _ if record.kind == Kind::Checkpoint => record.seq,
            Some(walked) => walked.covered,
            None => record.seq - 1,
        };
        let stated_at = match (stated_at(&record), &walked) {
            (Some(stated_at), _) => stated_at,
            (None, Some(walked)) => walked.stated_at,
            (None, None) => return Ok(Err(format!("entry {} does not say when it was written", record.seq))),
        };
        walked = Some(Walked { head: record.head(), covered, stated_at });
        line.clear();
    }
    Ok(walked.ok_or_else(|| "it has no entries".to_owned()))
}

/// The time that a checkpoint or the beginning of a segment states.
fn stated_at(record: &Record<'_>) -> Option<Timestamp> {
    let checkpoint = record.checkpoint().map(|checkpoint| checkpoint.timestamp);
    let stated = checkpoint.or_else(|| record.segment_start().map(|start| start.timestamp));
    stated.and_then(|stated| stated.parse().ok())
}

/// What the record states of the entry before it, when the record can be trusted to begin with.
fn head_before(record: &Record<'_>, identity: &Identity) -> Option<Head> {
    if let Some(checkpoint) = record.checkpoint() {
        return is_signed_with(&checkpoint, &identity.public_key)
            .then_some(Head { seq: checkpoint.seq, hash: checkpoint.hash });
    }
    let start = record.segment_start()?;
    Some(Head { seq: record.seq.checked_sub(1)?, hash: start.previous_hash })
}
