//! `kt admin sso …`: when an organization's identity provider lets nobody in.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{OneOrganization, Scene};
use crate::failure::Failure;

/// Single sign-on.
#[derive(Subcommand)]
pub(crate) enum Sso {
    /// Let members sign in past their identity provider again
    DisableRequired(DisableRequired),
}

/// Let members sign in past their identity provider again
///
/// The provider stays as it is; it is no longer the only way in. A server that runs follows with the next request.
#[derive(Args)]
pub(crate) struct DisableRequired {
    #[command(flatten)]
    scene: Scene,
    #[command(flatten)]
    organization: OneOrganization,
}

impl Sso {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self::DisableRequired(command) = self;
        let (control, ctx) = command.scene.open().await?;
        let organization = &command.organization.meant(&control, &ctx).await?;
        let was_required = control.disable_required_sso(&ctx, organization).await?;
        let sentence = if was_required {
            format!("members of {organization} can sign in past their identity provider again")
        } else {
            format!("{organization} has no identity provider that is required; nothing was changed")
        };
        let facts = json!({ "organization": organization, "was_required": was_required });
        command.scene.tell(&sentence, &facts);
        Ok(())
    }
}
