//! `kt audit …`: who did what in the control plane, and the proof of it.

mod export;
mod tail;
mod verify;

use clap::Subcommand;
pub(crate) use export::WhichCopy;

use crate::failure::Failure;

/// Look at the audit log, copy it, prove copies of it.
#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Show the newest records, and those that come
    Tail(tail::Tail),
    /// Copy the audit log to a file
    Export(export::Export),
    /// Prove that nothing was changed, removed, inserted or reordered
    Verify(verify::Verify),
}

impl Audit {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Tail(tail) => tail.run(),
            Self::Export(export) => export.run(),
            Self::Verify(verify) => verify.run(),
        }
    }
}
