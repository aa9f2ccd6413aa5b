//! `kt policy …`

use clap::Subcommand;

use crate::failure::Failure;

/// `kt policy …`
#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Lint
    Lint,
}

impl Policy {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::failed("not built yet"))
    }
}
