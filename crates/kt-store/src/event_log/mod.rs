//! The event log of a gateway, on its own disk: an append-only hash chain in segments of JSON Lines.
//!
//! [`EventWriter`] appends, in groups that share one flush; the other functions read, prove, copy and shorten a log,
//! with no writer needed. `docs/reference/event-log-format.md` describes the files.

mod anchor;
mod bodies;
mod disk;
mod error;
mod export;
mod follow;
mod identity;
mod lines;
mod lock;
mod log;
mod query;
mod retain;
mod segments;
mod tail;
mod verify;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::clock::Clock;

use error::AtPath;
pub use error::LogError;
pub use export::{ExportError, Exported, Span, export};
pub use follow::{Batch, BatchSize, Follower};
use log::Log;
pub use query::{EventFilter, EventQuery, Page, QueryProblem, query};
pub use retain::{Removed, purge, retain};
pub use verify::{
    Beginning, Expectations, Expected, LogKind, Place, Problem, Tampering, Verification, verify,
};
pub use writer::{EventWriter, RecordError};

/// How a log is kept.
#[derive(Clone)]
pub struct Options {
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The gateway's name; without one, the name that the log already has, or a random one.
    pub gateway_id: Option<String>,
    /// A file that always holds the newest signed checkpoint; a log that was set back or cut is recognised by it.
    pub anchor_file: Option<PathBuf>,
    /// How long events are kept.
    pub retention: Retention,
    /// How many events may wait for the disk; more are refused.
    pub queue_capacity: usize,
    /// How long the disk may take for one write or flush before it counts as one that takes no events.
    pub stalled_after: Duration,
    /// How large a segment may become before the next one is begun.
    pub segment_bytes: u64,
    /// A checkpoint is signed at the latest after this many entries…
    pub checkpoint_entries: u64,
    /// …and at the latest this long after the first entry that no checkpoint covers.
    pub checkpoint_interval: Duration,
}

impl Options {
    /// What suits a gateway.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            gateway_id: None,
            anchor_file: None,
            retention: Retention::default(),
            queue_capacity: 65_536,
            stalled_after: Duration::from_secs(5),
            segment_bytes: 64 << 20,
            checkpoint_entries: 10_000,
            checkpoint_interval: Duration::from_secs(10),
        }
    }
}

/// How long events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how many days.
    pub days: u32,
    /// Whether nothing may remove them earlier.
    pub immutable: bool,
}

impl Default for Retention {
    /// That of an `audit-logger` with nothing else stated.
    fn default() -> Self {
        Self { days: 365, immutable: true }
    }
}

impl Retention {
    /// What the log in `directory` is kept under at present; `None` when there is no log.
    pub fn of(directory: &Path) -> Result<Option<Self>, LogError> {
        let Some(segment) = segments::list(directory)?.pop() else { return Ok(None) };
        let start = segment.start()?;
        Ok(start.map(|start| Self { days: start.retention_days, immutable: start.immutable }))
    }
}

/// Goes on with a log whose end is damaged, in a new segment. What was damaged stays, and `verify` keeps finding it;
/// the segments from then on can be verified by themselves.
pub fn repair(directory: &Path, options: &Options) -> Result<(), LogError> {
    Log::open_behind_damage(directory, options).map(drop)
}

/// How many bytes the log or export at `path` has.
pub fn size(path: &Path) -> Result<u64, LogError> {
    let paths = if path.is_dir() {
        segments::list(path)?.into_iter().map(|segment| segment.path).collect()
    } else {
        vec![path.to_owned()]
    };
    let mut bytes = 0;
    for path in paths {
        bytes += fs::metadata(&path).at(&path)?.len();
    }
    Ok(bytes)
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc_3339(timestamp: Timestamp) -> String {
    format!("{timestamp:.3}")
}
