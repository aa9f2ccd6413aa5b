//! `kt admin organization …`: more than one organization in a deployment.

use clap::{Args, Subcommand};
use kt_control::NewOrganization;
use serde_json::json;

use super::Scene;
use crate::failure::Failure;
use crate::output;

/// More than one organization.
#[derive(Subcommand)]
pub(crate) enum Organization {
    /// Make a further organization with its first owner
    Create(Create),
}

impl Organization {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run().await,
        }
    }
}

/// Make a further organization with its first owner
///
/// Somebody who has an account owns it with that; for somebody else one is made, and a temporary password is shown once.
#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    scene: Scene,
    /// Its identifier, as people type it at sign-in: small letters, digits and hyphens
    identifier: String,
    /// Its name. Default: the identifier
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The address of its first owner
    #[arg(long, value_name = "EMAIL")]
    owner: String,
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let new = NewOrganization {
            name: self.name.unwrap_or_else(|| self.identifier.clone()),
            identifier: self.identifier.clone(),
            owner: self.owner.clone(),
        };
        let added = control.add_organization(&ctx, new).await?;
        let password = added.temporary_password.as_ref().map(|temporary| &temporary.password);
        let facts = json!({ "id": added.organization, "identifier": self.identifier, "owner": self.owner, "password": password });
        self.scene.tell(&format!("{} is owned by {}", self.identifier, self.owner), &facts);
        if let Some(temporary) = added.temporary_password.filter(|_| !self.scene.json) {
            output::line(&temporary.password);
            output::complain(format_args!(
                "{} is new here, signs in with this until {}, and then chooses another",
                self.owner, temporary.expires_at
            ));
        }
        Ok(())
    }
}
