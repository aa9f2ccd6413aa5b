//! What can be wrong with a log, said so that its operator knows what to do.

use std::io;
use std::path::{Path, PathBuf};

use kt_domain::events::Hash;

/// Why a log cannot be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The end of the log is not as it was written.
    #[error(
        "the event log is damaged: {problem} ({}). Nothing is appended, so that the damage stays visible. Find out \
         what happened with `kt events verify`, keep a copy, then run `kt events repair` to go on behind it",
        path.display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The log does not hold what was once signed.
    #[error(
        "the event log was set back or cut: {} holds a signed checkpoint for entry {seq} with hash {hash}, and {found}. \
         Restore the newest copy of the log. If its loss is accepted, move the anchor file away and start again",
        anchor.display()
    )]
    SetBack {
        /// The anchor file.
        anchor: PathBuf,
        /// The entry that was signed.
        seq: u64,
        /// The hash it had.
        hash: Hash,
        /// What the log holds instead.
        found: String,
    },
    /// A file beside the segments is not what it should be.
    #[error("{} {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Another process does not let go of the log.
    #[error("another process has held {} for more than 2 seconds", .0.display())]
    Held(PathBuf),
}

/// Names the file that an operation failed on.
pub(super) trait AtPath<T> {
    fn at(self, path: &Path) -> Result<T, LogError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io { path: path.to_owned(), source })
    }
}
