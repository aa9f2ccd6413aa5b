//! The entries of a log in order, in batches, for delivery elsewhere.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use kt_domain::events::{Head, Record};

use super::error::{AtPath, LogError};
use super::segments::{self, Segment};

/// Reads a log that may still be written, without any lock.
///
/// Where it goes on is named by an entry's number and hash. A log that is no longer the one that was followed (its end
/// was lost with a machine's power) is read again from the beginning of the segment: nothing is left out, and what was
/// read before comes once more.
pub struct Follower {
    directory: PathBuf,
    place: Option<Place>,
}

/// Entries that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Each an entry's line, as it stands in the log.
    pub entries: Vec<String>,
    /// The last of them: where to go on from.
    pub head: Head,
}

/// How much a batch holds at most.
#[derive(Clone, Copy, Debug)]
pub struct BatchSize {
    /// Entries.
    pub entries: usize,
    /// Bytes of their lines; one entry may be longer.
    pub bytes: usize,
}

/// A byte of a segment at which a line begins.
struct Place {
    segment: Segment,
    offset: u64,
}

impl Follower {
    /// Follows the log in `directory` from behind the entry `after`, or from its beginning.
    pub fn open(directory: &Path, after: Option<Head>) -> Result<Self, LogError> {
        let segments = segments::list(directory)?;
        let place = match after {
            None => None,
            Some(head) => {
                let holder = segments.into_iter().rev().find(|segment| segment.first_seq <= head.seq);
                holder.map(|segment| behind(segment, head)).transpose()?
            }
        };
        Ok(Self { directory: directory.to_owned(), place })
    }

    /// The entries that come next; `None` when there is nothing new.
    pub fn next(&mut self, size: BatchSize) -> Result<Option<Batch>, LogError> {
        loop {
            let Some(place) = self.place.take().map_or_else(|| self.beginning(), |place| Ok(Some(place)))?
            else {
                return Ok(None);
            };
            let Some(Read { batch, offset }) = read(&place, size)? else {
                // Retention took the segment; what is left begins behind it.
                continue;
            };
            self.place = Some(Place { offset, segment: place.segment.clone() });
            if batch.is_some() {
                return Ok(batch);
            }
            match self.segment_behind(&place.segment)? {
                Some(segment) => self.place = Some(Place { segment, offset: 0 }),
                None => return Ok(None),
            }
        }
    }

    fn beginning(&self) -> Result<Option<Place>, LogError> {
        let first = segments::list(&self.directory)?.into_iter().next();
        Ok(first.map(|segment| Place { segment, offset: 0 }))
    }

    fn segment_behind(&self, last: &Segment) -> Result<Option<Segment>, LogError> {
        let mut segments = segments::list(&self.directory)?.into_iter();
        Ok(segments.find(|segment| segment.first_seq > last.first_seq))
    }
}

/// The place behind the entry `head` of `segment`, or its beginning when it holds no such entry.
fn behind(segment: Segment, head: Head) -> Result<Place, LogError> {
    let mut lines = BufReader::new(File::open(&segment.path).at(&segment.path)?);
    let (mut line, mut offset) = (Vec::new(), 0);
    while read_line(&mut lines, &mut line).at(&segment.path)? {
        offset += line.len() as u64;
        if Record::from_written(&line).is_some_and(|record| record.head() == head) {
            return Ok(Place { segment, offset });
        }
    }
    Ok(Place { segment, offset: 0 })
}

struct Read {
    /// `None` when nothing stands behind the place.
    batch: Option<Batch>,
    /// Behind what was read.
    offset: u64,
}

/// What stands at `place`; `None` when its segment is gone.
fn read(place: &Place, size: BatchSize) -> Result<Option<Read>, LogError> {
    let path = &place.segment.path;
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.at(path)?,
    };
    // A writer that could not finish a line takes it back. Should it have taken back more, all is read anew.
    let is_shorter = file.metadata().at(path)?.len() < place.offset;
    let mut offset = if is_shorter { 0 } else { place.offset };
    file.seek(SeekFrom::Start(offset)).at(path)?;
    let mut lines = BufReader::with_capacity(256 << 10, file);
    let (mut line, mut bytes) = (Vec::new(), 0);
    let mut batch: Option<Batch> = None;
    while read_line(&mut lines, &mut line).at(path)? {
        // A damaged line is for `verify` to report; it must not hide the others.
        if let Some(record) = Record::from_written(&line) {
            let batch = batch.get_or_insert_with(|| Batch { entries: Vec::new(), head: record.head() });
            bytes += line.len();
            if !batch.entries.is_empty() && bytes > size.bytes {
                break;
            }
            batch.entries.push(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
            batch.head = record.head();
        }
        offset += line.len() as u64;
        if batch.as_ref().is_some_and(|batch| batch.entries.len() >= size.entries) {
            break;
        }
    }
    Ok(Some(Read { batch, offset }))
}

/// Reads a complete line; `false` where there is none yet.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    lines.read_until(b'\n', line)?;
    Ok(line.last() == Some(&b'\n'))
}
