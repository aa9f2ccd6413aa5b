//! `kt init`

use clap::Args;

use crate::failure::Failure;

/// `kt init`
#[derive(Args)]
pub(crate) struct Init {}

impl Init {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::failed("not built yet"))
    }
}
