//! Proves a log, or an export of one, offline: that nothing in it was changed, removed, inserted or reordered, and how
//! far signed checkpoints vouch for that.

mod diagnose;
mod records;
mod report;
mod walk;

use std::path::{Path, PathBuf};

use kt_domain::events::{Checkpoint, Hash, PublicKey};

use super::error::LogError;
use super::{anchor, segments};
pub use records::Place;
use records::Records;
pub use report::{Beginning, LogKind, Problem, Tampering, Verification};
use walk::{Break, Walk};

/// What a log is held against, from outside it.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// The key that the gateway signs with; without it, the key that the log names is taken.
    pub public_key: Option<PublicKey>,
    /// Entries that the log must hold: without one, the cutting of its end cannot be told.
    pub entries: Vec<Expected>,
}

/// An entry that a log must hold.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// The anchor's checkpoint, when it came from one.
    pub anchor: Option<Checkpoint>,
}

impl Expected {
    /// The entry that the anchor file at `path` was signed for.
    pub fn from_anchor(path: &Path) -> Result<Self, LogError> {
        let checkpoint = anchor::read(path)?.ok_or_else(|| LogError::Unusable {
            path: path.to_owned(),
            problem: "does not exist".to_owned(),
        })?;
        Ok(Self { seq: checkpoint.seq, hash: checkpoint.hash, anchor: Some(checkpoint) })
    }
}

/// Verifies the log or export in `paths`, read one after the other; a directory stands for its segments. `progress` is
/// told of the bytes as they are read.
pub fn verify(
    paths: &[PathBuf],
    expectations: &Expectations,
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, LogError> {
    let files = files(paths)?;
    let mut records = Records::new(files.paths, progress);
    let mut walk = Walk::new(expectations, files.is_live);
    while let Some((place, item)) = records.next()? {
        let problem = match walk.step(&place, item) {
            Ok(()) => continue,
            Err(Break::Known(problem)) => problem,
            Err(Break::Unlinked(head, record)) => diagnose::unlinked(head, &record, place, &mut records)?,
        };
        return Ok(walk.failed(problem));
    }
    Ok(walk.finish())
}

struct Files {
    paths: Vec<PathBuf>,
    /// Whether a gateway may be writing to the last one.
    is_live: bool,
}

fn files(paths: &[PathBuf]) -> Result<Files, LogError> {
    let mut files = Files { paths: Vec::new(), is_live: false };
    for path in paths {
        files.is_live = path.is_dir();
        if !files.is_live {
            files.paths.push(path.clone());
            continue;
        }
        let found = segments::list(path)?;
        if found.is_empty() {
            let problem = "holds no event log: there are no .jsonl files in it".to_owned();
            return Err(LogError::Unusable { path: path.clone(), problem });
        }
        files.paths.extend(found.into_iter().map(|segment| segment.path));
    }
    Ok(files)
}
