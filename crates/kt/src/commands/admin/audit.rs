//! `kt admin audit …`: what was done to the deployment itself, and the proof of it.

use clap::{Args, Subcommand};

use super::by_the_operator;
use crate::commands::audit::WhichCopy;
use crate::commands::server::Place;
use crate::failure::Failure;

/// The deployment's own audit log.
#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Copy it to a file
    Export(Export),
}

/// Copy the deployment's own audit log to a file
///
/// It holds what operators do with `kt admin`, and what belongs to no organization, or to none that can be told, such as tries to
/// sign in with an address that nobody has where there are several organizations. Taking a copy is itself recorded. A copy as
/// `jsonl` can be proven anywhere with `kt audit verify`.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    copy: WhichCopy,
}

impl Export {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let control = self.place.settings().open().await?;
        let WhichCopy { format, since, until, .. } = self.copy;
        let mut copy = control.export_deployment_audit(&by_the_operator(), format, since, until).await?;
        let mut file = self.copy.open()?;
        while let Some(part) = control.next_part(&mut copy).await? {
            file.add(&part)?;
        }
        file.finish()
    }
}
