//! The anchor: the newest signed checkpoint in a file apart from the log, by which a log that was set back or cut is
//! recognised.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use kt_domain::events::{Checkpoint, PublicKey, Record};

use super::disk::replace_file;
use super::error::{AtPath, LogError};
use super::lines::LinesBackwards;
use super::segments;
use crate::checkpoint_key::is_signed_with;

/// Makes `path` hold `checkpoint`.
pub(super) fn write(path: &Path, checkpoint: &Checkpoint) -> Result<(), LogError> {
    let mut text = serde_json::to_vec(checkpoint).unwrap_or_default();
    text.push(b'\n');
    replace_file(path, &text).at(path)
}

/// The checkpoint in `path`; `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Checkpoint>, LogError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| LogError::Unusable {
            path: path.to_owned(),
            problem: format!("is no anchor file (a signed checkpoint): {error}"),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at(path),
    }
}

/// Refuses a log in `directory` that does not hold the entry which the anchor in `path` was signed for.
pub(super) fn check(path: &Path, directory: &Path, key: &PublicKey) -> Result<(), LogError> {
    let Some(anchor) = read(path)? else { return Ok(()) };
    if !is_signed_with(&anchor, key) {
        let whose = if segments::list(directory)?.is_empty() {
            format!(
                "was signed for a log that is not in {}. Put that log back from a copy, or, to begin a new one, move the                  anchor file away",
                directory.display()
            )
        } else {
            "was signed with another key than the one of this log".to_owned()
        };
        let problem = format!("{whose}. Give each gateway an anchor file of its own");
        return Err(LogError::Unusable { path: path.to_owned(), problem });
    }
    let found = match find(directory, anchor.seq)? {
        Found::Entry(hash) if hash == anchor.hash => return Ok(()),
        // Retention may remove what an old anchor was signed for.
        Found::Removed => return Ok(()),
        Found::Entry(hash) => format!("the log's entry {} has hash {hash}", anchor.seq),
        Found::Beyond(last) => format!("the log ends with entry {last}"),
    };
    Err(LogError::SetBack { anchor: path.to_owned(), seq: anchor.seq, hash: anchor.hash, found })
}

enum Found {
    Entry(kt_domain::events::Hash),
    Removed,
    Beyond(u64),
}

fn find(directory: &Path, seq: u64) -> Result<Found, LogError> {
    let segments = segments::list(directory)?;
    if segments.is_empty() {
        return Ok(Found::Beyond(0));
    }
    let Some(segment) = segments.iter().rfind(|segment| segment.first_seq <= seq) else {
        return Ok(Found::Removed);
    };
    let mut lines = LinesBackwards::open(&segment.path).at(&segment.path)?;
    let mut last = segment.first_seq.saturating_sub(1);
    while let Some(line) = lines.previous().at(&segment.path)? {
        let Some(record) = Record::from_written(line) else { continue };
        if record.seq == seq {
            return Ok(Found::Entry(record.hash));
        }
        last = last.max(record.seq);
    }
    Ok(Found::Beyond(last))
}
