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
    /// Whether more stood behind them when they were read.
    pub has_more_behind: bool,
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
#[derive(Clone)]
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

    /// The entries that come next; `None` when there is nothing new. After an error it goes on from where it was.
    pub fn next(&mut self, size: BatchSize) -> Result<Option<Batch>, LogError> {
        self.next_by(size, segments::list)
    }

    /// The entries that come next and stay: they stood in the log before `settle`, which answers whether everything that was
    /// written before it is on disk for good, and after it. `None` also when it is not. What a writer whose disk failed
    /// meanwhile has cut off, and perhaps replaced, is not among them.
    pub fn next_settled(
        &mut self,
        size: BatchSize,
        mut settle: impl FnMut() -> bool,
    ) -> Result<Option<Batch>, LogError> {
        loop {
            let before = self.place.clone();
            let Some(seen) = self.next(size)? else { return Ok(None) };
            let behind = std::mem::replace(&mut self.place, before.clone());
            if !settle() {
                return Ok(None);
            }
            let now = self.next(size)?;
            if now.is_some_and(|now| now.entries.starts_with(&seen.entries)) {
                self.place = behind;
                return Ok(Some(seen));
            }
            self.place = before;
        }
    }

    fn next_by(
        &mut self,
        size: BatchSize,
        list: impl Fn(&Path) -> Result<Vec<Segment>, LogError>,
    ) -> Result<Option<Batch>, LogError> {
        loop {
            let Some(place) = self.place.clone().map_or_else(|| self.beginning(), |place| Ok(Some(place)))?
            else {
                return Ok(None);
            };
            // Listed before it is read: of a segment that another one follows, all is there.
            let behind =
                list(&self.directory)?.into_iter().find(|next| next.first_seq > place.segment.first_seq);
            let Some(Read { batch, offset }) = read(&place, size)? else {
                // Retention took the segment; what is left begins behind it.
                self.place = None;
                continue;
            };
            self.place = Some(Place { offset, segment: place.segment });
            if let Some(mut batch) = batch {
                batch.has_more_behind |= behind.is_some();
                return Ok(Some(batch));
            }
            let Some(segment) = behind else { return Ok(None) };
            self.place = Some(Place { segment, offset: 0 });
        }
    }

    fn beginning(&self) -> Result<Option<Place>, LogError> {
        let first = segments::list(&self.directory)?.into_iter().next();
        Ok(first.map(|segment| Place { segment, offset: 0 }))
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
            let head = record.head();
            let batch =
                batch.get_or_insert_with(|| Batch { entries: Vec::new(), head, has_more_behind: false });
            bytes += line.len();
            let holds_no_more = batch.entries.len() >= size.entries || bytes > size.bytes;
            if !batch.entries.is_empty() && holds_no_more {
                batch.has_more_behind = true;
                break;
            }
            batch.entries.push(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
            batch.head = head;
        }
        offset += line.len() as u64;
    }
    Ok(Some(Read { batch, offset }))
}

/// Reads a complete line; `false` where there is none yet.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    lines.read_until(b'\n', line)?;
    Ok(line.last() == Some(&b'\n'))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use kt_domain::clock::SystemClock;
    use kt_domain::events::{Event, EventType};

    use super::super::{EventWriter, Options};
    use super::*;

    const ALL: BatchSize = BatchSize { entries: 1000, bytes: 1 << 20 };

    fn entries(follower: &mut Follower) -> Vec<String> {
        std::iter::from_fn(|| follower.next(ALL).unwrap()).flat_map(|batch| batch.entries).collect()
    }

    #[test]
    fn what_is_appended_just_before_a_segment_ends_is_not_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 1500, ..Options::new(Arc::new(SystemClock)) };
        let writer = EventWriter::open(directory.path(), &options).unwrap();
        for n in 0..10 {
            let time = "2026-03-15T14:22:31.000Z".to_owned();
            let id = format!("evt_{n}");
            writer.record(&Event::new(EventType::Decision, id, time, "gw_test".into())).unwrap();
            writer.sync().unwrap();
        }
        writer.close();
        let all = entries(&mut Follower::open(directory.path(), None).unwrap());
        let segments = segments::list(directory.path()).unwrap();
        assert!(segments.len() > 1);

        // As it is before the first segment gets its last entries and ends.
        let whole = fs::read_to_string(&segments[0].path).unwrap();
        let cut = whole.lines().take(3).map(|line| line.len() + 1).sum();
        fs::write(&segments[0].path, &whole[..cut]).unwrap();
        let mut follower = Follower::open(directory.path(), None).unwrap();
        let mut read = follower.next(ALL).unwrap().unwrap().entries;
        assert_eq!(read, all[..3]);
        let ends_now = |directory: &Path| {
            fs::write(&segments[0].path, &whole).unwrap();
            segments::list(directory)
        };
        read.extend(follower.next_by(ALL, ends_now).unwrap().unwrap().entries);
        read.extend(entries(&mut follower));
        assert_eq!(read, all);
    }

    #[test]
    fn an_error_loses_no_place() {
        let directory = tempfile::tempdir().unwrap();
        let writer = EventWriter::open(directory.path(), &Options::new(Arc::new(SystemClock))).unwrap();
        writer.close();
        let mut follower = Follower::open(directory.path(), None).unwrap();
        let all = entries(&mut follower);
        let fails = |path: &Path| Err(std::io::Error::from(ErrorKind::PermissionDenied)).at(path);
        assert!(follower.next_by(ALL, fails).is_err());
        assert_eq!(entries(&mut follower), Vec::<String>::new(), "nothing comes once more");
        assert!(!all.is_empty(), "the control");
    }
}
