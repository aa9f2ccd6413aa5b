//! `kt policy …`: checks gateway configurations.

mod lint;
mod test;

use clap::Subcommand;
use kt_domain::policy_config::json_schema;

use crate::failure::Failure;
use crate::output;

/// What to do with configurations.
#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Say everything that is wrong with a configuration, and where
    Lint(lint::Lint),
    /// Try the policies of a configuration out on cases, offline
    ///
    /// Ends with 0 when all cases are as expected, 1 when one is not, and 2 when a file is not valid. Moderation services
    /// are not asked.
    Test(test::Test),
    /// Print the JSON Schema of configurations, for editors
    Schema,
}

impl Policy {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Lint(lint) => lint.run(),
            Self::Test(test) => test.run(),
            Self::Schema => {
                output::line(format_args!("{:#}", json_schema()));
                Ok(())
            }
        }
    }
}
