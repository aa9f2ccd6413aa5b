//! `kt admin mfa …`: let somebody back in who has lost their second factors.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Scene;
use crate::failure::Failure;

/// The second factors of an account.
#[derive(Subcommand)]
pub(crate) enum Mfa {
    /// Remove all second factors of an account, and end its sessions
    Reset(Reset),
}

impl Mfa {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Reset(reset) => reset.run().await,
        }
    }
}

/// Remove all second factors of an account, and end its sessions
///
/// For somebody whom no administrator can help: the only owner, or a member of several organizations. Their passkeys,
/// authenticator app and recovery codes stop working, and they are told by mail. Where a second factor is asked for,
/// they add one at their next sign-in.
#[derive(Args)]
pub(crate) struct Reset {
    #[command(flatten)]
    scene: Scene,
    /// The address of the account
    email: String,
    /// Why, for the record and for the mail: say how you know who asks
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Reset {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        control.reset_second_factors_of(&ctx, &self.email, &self.reason).await?;
        let sentence = format!("{} has no second factor now, and their sessions have ended", self.email);
        self.scene.tell(&sentence, &json!({ "email": self.email, "reason": self.reason }));
        Ok(())
    }
}
