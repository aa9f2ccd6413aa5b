//! `kt admin user …`: let somebody back in.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Scene;
use crate::failure::Failure;
use crate::output;

/// Let somebody back in.
#[derive(Subcommand)]
pub(crate) enum User {
    /// Forget the wrong passwords that have locked an account
    Unlock(Unlock),
    /// Give somebody a password for one sign-in, at which they choose another
    SetTemporaryPassword(SetTemporaryPassword),
    /// Make a member an owner of their organization
    MakeOwner(MakeOwner),
}

impl User {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Unlock(unlock) => unlock.run().await,
            Self::SetTemporaryPassword(set) => set.run().await,
            Self::MakeOwner(make_owner) => make_owner.run().await,
        }
    }
}

/// Forget the wrong passwords that have locked an account
#[derive(Args)]
pub(crate) struct Unlock {
    #[command(flatten)]
    scene: Scene,
    /// The address of the account
    email: String,
}

impl Unlock {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let had_failed = control.unlock(&ctx, &self.email).await?;
        let sentence = if had_failed {
            format!("{} may try again", self.email)
        } else {
            format!("{} was not locked: no wrong password is counted", self.email)
        };
        self.scene.tell(&sentence, &json!({ "email": self.email, "had_failed": had_failed }));
        Ok(())
    }
}

/// Give somebody a password for one sign-in, at which they choose another
///
/// It is shown once. Everything issued to them before is ended, and they are told by mail, which does not hold it.
#[derive(Args)]
pub(crate) struct SetTemporaryPassword {
    #[command(flatten)]
    scene: Scene,
    /// The address of the account
    email: String,
}

impl SetTemporaryPassword {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let given = control.give_temporary_password(&ctx, &self.email).await?;
        let until = given.expires_at.to_string();
        let facts = json!({ "email": self.email, "password": given.password, "expires_at": until });
        self.scene.tell(&given.password, &facts);
        if !self.scene.json {
            output::complain(format_args!(
                "{} can sign in with it until {until}, and then chooses another",
                self.email
            ));
        }
        Ok(())
    }
}

/// Make a member an owner of their organization
///
/// For an organization whose owners are all gone. A suspended member becomes active.
#[derive(Args)]
pub(crate) struct MakeOwner {
    #[command(flatten)]
    scene: Scene,
    /// The address of the account
    email: String,
    /// The organization's identifier, where they belong to several
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
}

impl MakeOwner {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let organization = control.make_owner(&ctx, &self.email, self.organization.as_deref()).await?;
        let sentence = format!("{} is an owner of {organization}", self.email);
        self.scene.tell(&sentence, &json!({ "email": self.email, "organization": organization }));
        Ok(())
    }
}
