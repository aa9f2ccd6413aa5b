//! `kt events …`

use clap::Subcommand;

use crate::failure::Failure;

/// `kt events …`
#[derive(Subcommand)]
pub(crate) enum Events {
    /// Verify
    Verify,
}

impl Events {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::failed("not built yet"))
    }
}
