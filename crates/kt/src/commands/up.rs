//! `kt up`

use clap::Args;

use crate::failure::Failure;

/// `kt up`
#[derive(Args)]
pub(crate) struct Up {}

impl Up {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::failed("not built yet"))
    }
}
