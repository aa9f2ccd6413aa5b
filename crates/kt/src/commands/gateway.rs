//! `kt gateway …`

use clap::Subcommand;

use crate::failure::Failure;

/// `kt gateway …`
#[derive(Subcommand)]
pub(crate) enum Gateway {
    /// Run
    Run,
}

impl Gateway {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::failed("not built yet"))
    }
}
