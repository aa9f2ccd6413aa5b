//! `kt events …`: look at what gateways recorded, copy it, prove it, shorten it.

mod export;
mod follow;
mod prune;
mod source;
mod text;
pub(crate) mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use kt_domain::clock::SystemClock;
use kt_store::event_log::{LogError, Options, Retention};

use crate::failure::Failure;

/// Follow, export and verify recorded events.
#[derive(Subcommand)]
pub(crate) enum Events {
    /// Show the newest events, and those that come
    Tail(follow::Tail),
    /// Copy events to a file
    ///
    /// Of a gateway's data directory, the copy is what `kt events verify` proves anywhere. Of an admin listener or a control
    /// plane, it is the events one a line, the newest first.
    Export(export::Export),
    /// Prove that nothing was changed, removed, inserted or reordered
    Verify(verify::Verify),
    /// Remove events whose retention has ended
    Prune(prune::Prune),
    /// Go on recording behind a damaged end of the log; the damage stays visible
    Repair(prune::Repair),
}

impl Events {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Tail(tail) => tail.run(),
            Self::Export(export) => export.run(),
            Self::Verify(verify) => verify.run(),
            Self::Prune(prune) => prune.run(),
            Self::Repair(repair) => repair.run(),
        }
    }
}

/// Where a gateway keeps its data, unless something else is said.
const DATA_DIR: &str = "./keeptrusts-data";

/// Where a gateway keeps its events.
#[derive(Args)]
struct DataDir {
    /// The gateway's data directory
    #[arg(long, value_name = "DIR", env = "KEEPTRUSTS_DATA_DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
}

impl DataDir {
    /// The directory of the event log, which must exist.
    fn events(&self) -> Result<PathBuf, Failure> {
        events_in(&self.data_dir)
    }
}

/// The event log in a gateway's data directory, which must exist.
fn events_in(data_dir: &Path) -> Result<PathBuf, Failure> {
    let events = data_dir.join("events");
    if events.is_dir() {
        return Ok(events);
    }
    Err(Failure::failed(format!(
        "there are no events in {}. Name the data directory of a gateway with --data-dir, or sign in to a control plane \
         with `kt auth login`",
        data_dir.display()
    )))
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::failed(error.to_string())
    }
}

/// Options for changing the log in `directory` without changing how long it is kept.
fn options_of(directory: &Path) -> Result<Options, Failure> {
    let retention = Retention::of(directory)?.unwrap_or_default();
    Ok(Options { retention, ..Options::new(Arc::new(SystemClock)) })
}
