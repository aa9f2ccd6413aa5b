//! `kt admin domain …`: whose domains are whose, on the operator's word.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Scene;
use crate::failure::Failure;

/// The domains of mail addresses that organizations own.
#[derive(Subcommand)]
pub(crate) enum Domain {
    /// Count a domain as an organization's own, without a TXT record
    Verify(Verify),
}

/// Count a domain as an organization's own, without a TXT record
///
/// Whoever answers for a domain decides who signs in with an address in it. Make sure that the organization does.
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    scene: Scene,
    /// The domain, such as example.com
    domain: String,
    /// The organization's identifier
    #[arg(long, value_name = "NAME", default_value = "default")]
    organization: String,
}

impl Domain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self::Verify(verify) = self;
        let (control, ctx) = verify.scene.open().await?;
        let claim = control.vouch_for_domain(&ctx, &verify.organization, &verify.domain).await?;
        let sentence = format!("{} belongs to {} from now on", claim.domain, verify.organization);
        let facts = json!({ "organization": verify.organization, "domain": claim.domain });
        verify.scene.tell(&sentence, &facts);
        Ok(())
    }
}
