//! `kt audit …`: who did what in the control plane, and the proof of it.

mod verify;

use clap::Subcommand;

use crate::failure::Failure;

/// Prove copies of the audit log.
#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Prove that nothing was changed, removed, inserted or reordered
    Verify(verify::Verify),
}

impl Audit {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.run(),
        }
    }
}
