//! A copy of a log, or of a time in it, that can be verified on its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use jiff::Timestamp;
use kt_domain::events::{Excerpt, Head, Kind, PublicKey, Record};

use super::error::{AtPath, LogError};
use super::lines::LinesBackwards;
use super::segments::{self, Segment};

/// Which part of a log is copied: whole stretches from one checkpoint to another, so that signatures prove all of it.
/// Both ends are widened, never narrowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// From the last checkpoint before this time on.
    pub since: Option<Timestamp>,
    /// Up to the first checkpoint after this time.
    pub until: Option<Timestamp>,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The first entry; 0 when there was none.
    pub first_seq: u64,
    /// The last entry.
    pub last_seq: u64,
    /// How many of the entries are events.
    pub events: u64,
}

/// Why an export was not finished.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The copy cannot be written.
    #[error("cannot write the export: {0}")]
    Output(#[from] io::Error),
}

/// Writes the part `span` of the log in `directory` to `output`, as JSON Lines. `progress` is told of the bytes as they
/// are read.
pub fn export(
    directory: &Path,
    span: Span,
    output: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    let segments = segments::list(directory)?;
    let Some(beginning) = find_beginning(&segments, span.since)? else { return Ok(Exported::default()) };
    if let Some(excerpt) = &beginning.excerpt {
        serde_json::to_writer(&mut *output, &serde_json::json!({ "excerpt": excerpt }))
            .map_err(io::Error::from)?;
        output.write_all(b"\n")?;
    }
    let mut exported = Exported::default();
    let ending = find_ending(&segments, span.until)?;
    for (index, segment) in segments.iter().enumerate().skip(beginning.segment) {
        let mut lines = Lines::open(segment)?;
        while let Some((line, record)) = lines.next()? {
            progress(line.len() as u64);
            if record.seq < beginning.first_seq {
                continue;
            }
            output.write_all(line)?;
            exported.add(&record);
            let is_late = |written| index >= ending && span.until.is_some_and(|until| written > until);
            if is_checkpoint(&record, is_late) {
                output.flush()?;
                return Ok(exported);
            }
        }
    }
    output.flush()?;
    Ok(exported)
}

impl Exported {
    fn add(&mut self, record: &Record<'_>) {
        if self.first_seq == 0 {
            self.first_seq = record.seq;
        }
        self.last_seq = record.seq;
        self.events += u64::from(record.kind == Kind::Event);
    }
}

/// Where an export begins.
struct Beginning {
    /// The index of its first segment.
    segment: usize,
    /// Its first entry.
    first_seq: u64,
    /// Its first line, unless it begins with a segment, which says the same.
    excerpt: Option<Excerpt>,
}

/// Behind the last checkpoint that was written before `since`; `None` when there is no log.
fn find_beginning(segments: &[Segment], since: Option<Timestamp>) -> Result<Option<Beginning>, LogError> {
    let Some(first) = segments.first() else { return Ok(None) };
    let whole = Beginning { segment: 0, first_seq: first.first_seq, excerpt: None };
    let Some(since) = since else { return Ok(Some(whole)) };
    let mut index = 0;
    while index + 1 < segments.len() && ends_before(&segments[index], since)? {
        index += 1;
    }
    let last_before = last_checkpoint_before(&segments[index], since)?;
    Ok(Some(match (last_before, segments[index].start()?) {
        (Some(head), Some(start)) => Beginning {
            segment: index,
            first_seq: head.seq + 1,
            excerpt: Some(Excerpt {
                first_seq: head.seq + 1,
                gateway_id: start.gateway_id,
                previous_hash: head.hash,
                public_key: PublicKey(start.public_key.0),
            }),
        },
        _ => Beginning { segment: index, first_seq: segments[index].first_seq, excerpt: None },
    }))
}

/// The index of the segment in which the export ends: the last that was begun by `until`. Later ones before it may belong to
/// a clock that was ahead.
fn find_ending(segments: &[Segment], until: Option<Timestamp>) -> Result<usize, LogError> {
    let Some(until) = until else { return Ok(segments.len()) };
    for (index, segment) in segments.iter().enumerate().rev() {
        let begun = segment.start()?.and_then(|start| start.timestamp.parse::<Timestamp>().ok());
        if begun.is_some_and(|begun| begun <= until) {
            return Ok(index);
        }
    }
    Ok(0)
}

/// Whether all of a segment that has ended is older than `since`, as its last entry, a checkpoint, says.
fn ends_before(segment: &Segment, since: Timestamp) -> Result<bool, LogError> {
    let mut lines = LinesBackwards::open(&segment.path).at(&segment.path)?;
    let last = lines.previous().at(&segment.path)?.and_then(Record::from_written);
    Ok(last.is_some_and(|last| is_checkpoint(&last, |written| written < since)))
}

fn last_checkpoint_before(segment: &Segment, since: Timestamp) -> Result<Option<Head>, LogError> {
    let mut lines = Lines::open(segment)?;
    let mut last = None;
    while let Some((_, record)) = lines.next()? {
        if is_checkpoint(&record, |written| written < since) {
            last = Some(record.head());
        }
    }
    Ok(last)
}

/// Whether `record` is a checkpoint written at a time that `fits`.
fn is_checkpoint(record: &Record<'_>, fits: impl Fn(Timestamp) -> bool) -> bool {
    record.checkpoint().and_then(|checkpoint| checkpoint.timestamp.parse().ok()).is_some_and(fits)
}

/// The complete lines of a segment that are entries. Anything else is copied by no export, and its absence is found
/// when the export is verified.
struct Lines<'a> {
    segment: &'a Segment,
    reader: BufReader<File>,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn open(segment: &'a Segment) -> Result<Self, LogError> {
        let file = File::open(&segment.path).at(&segment.path)?;
        Ok(Self { segment, reader: BufReader::with_capacity(256 << 10, file), line: Vec::new() })
    }

    fn next(&mut self) -> Result<Option<(&[u8], Record<'_>)>, LogError> {
        loop {
            self.line.clear();
            self.reader.read_until(b'\n', &mut self.line).at(&self.segment.path)?;
            if self.line.last() != Some(&b'\n') {
                return Ok(None);
            }
            if Record::from_written(&self.line).is_some() {
                break;
            }
        }
        Ok(Record::from_written(&self.line).map(|record| (self.line.as_slice(), record)))
    }
}
