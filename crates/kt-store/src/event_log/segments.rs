//! The segments of a log: files named by the number of their first entry.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use kt_domain::events::{Record, SegmentStart};

use super::error::{AtPath, LogError};

/// Longer than any line that is written: event texts come from requests, whose heads are bounded far below.
pub(super) const LINE_LIMIT: u64 = 4 << 20;

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// The number of its first entry.
    pub(super) first_seq: u64,
    /// Where it is.
    pub(super) path: PathBuf,
}

impl Segment {
    /// The segment of `directory` that begins with entry `first_seq`.
    pub(super) fn new(directory: &Path, first_seq: u64) -> Self {
        Self { first_seq, path: directory.join(format!("{first_seq:020}.jsonl")) }
    }

    /// What its first entry says; `None` when that is missing or something else.
    pub(super) fn start(&self) -> Result<Option<SegmentStart>, LogError> {
        let mut line = Vec::new();
        let file = File::open(&self.path).at(&self.path)?;
        BufReader::new(file).take(LINE_LIMIT).read_until(b'\n', &mut line).at(&self.path)?;
        Ok(Record::from_written(&line).and_then(|record| record.segment_start()))
    }
}

/// The segments of the log in `directory`, first to last.
pub(super) fn list(directory: &Path) -> Result<Vec<Segment>, LogError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory).at(directory)? {
        let path = entry.at(directory)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(first_seq) =
            name.and_then(|name| name.strip_suffix(".jsonl")).and_then(|n| n.parse().ok())
        {
            segments.push(Segment { first_seq, path });
        }
    }
    segments.sort();
    Ok(segments)
}

/// Makes `directory`, open to its owner alone, unless it is there.
pub(super) fn make_directory(directory: &Path) -> Result<(), LogError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.at(directory),
    }
}
