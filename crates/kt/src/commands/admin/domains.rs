//! `kt admin domain …`: whose domains are whose, on the operator's word.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{OneOrganization, Scene};
use crate::failure::Failure;

/// The domains of mail addresses that organizations own.
#[derive(Subcommand)]
pub(crate) enum Domain {
    /// Count a domain as an organization's own, without a TXT record
    Verify(Verify),
    /// Take a domain away from an organization
    Remove(Remove),
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
    #[command(flatten)]
    organization: OneOrganization,
}

/// Take a domain away from an organization
///
/// For a domain that is another's by now, where no owner of the organization gives it up. Accounts that are linked stay so;
/// no others are by an address in it, and another organization can show that the domain is its own. A server that runs
/// follows with the next request.
#[derive(Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    scene: Scene,
    /// The domain, such as example.com
    domain: String,
    #[command(flatten)]
    organization: OneOrganization,
}

impl Domain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.run().await,
            Self::Remove(remove) => remove.run().await,
        }
    }
}

impl Verify {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let organization = self.organization.meant(&control, &ctx).await?;
        let claim = control.vouch_for_domain(&ctx, &organization, &self.domain).await?;
        let sentence = format!("{} belongs to {organization} from now on", claim.domain);
        let facts = json!({ "organization": organization, "domain": claim.domain });
        self.scene.tell(&sentence, &facts);
        Ok(())
    }
}

impl Remove {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let organization = self.organization.meant(&control, &ctx).await?;
        control.take_domain_away(&ctx, &organization, &self.domain).await?;
        let sentence = format!("{} no longer belongs to {organization}", self.domain);
        let facts = json!({ "organization": organization, "domain": self.domain });
        self.scene.tell(&sentence, &facts);
        Ok(())
    }
}
