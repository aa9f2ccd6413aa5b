//! `kt policy …`: checks gateway configurations.

mod lint;

use clap::Subcommand;
use kt_domain::policy_config::json_schema;

use crate::failure::Failure;
use crate::output;

/// What to do with configurations.
#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Say everything that is wrong with a configuration, and where
    Lint(lint::Lint),
    /// Print the JSON Schema of configurations, for editors
    Schema,
}

impl Policy {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Lint(lint) => lint.run(),
            Self::Schema => {
                output::line(format_args!("{:#}", json_schema()));
                Ok(())
            }
        }
    }
}
