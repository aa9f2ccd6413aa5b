//! `kt admin ip-restrictions …`: from where an organization is reached, when its own rules keep everybody out.

use clap::{Args, Subcommand};
use kt_domain::network::console_rules::AppliesTo;
use serde_json::json;

use super::{OneOrganization, Scene};
use crate::commands::reading::printable;
use crate::failure::Failure;
use crate::output;

/// From where an organization is reached.
#[derive(Subcommand)]
pub(crate) enum IpRestrictions {
    /// Show the rules
    Show(Show),
    /// Let every address in again; the allow list is kept and not applied
    Disable(Disable),
}

/// Show the rules
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    scene: Scene,
    #[command(flatten)]
    organization: OneOrganization,
}

/// Let every address in again; the allow list is kept and not applied
///
/// The deny list is emptied; the audit log holds what it was. A server that runs follows within a second.
#[derive(Args)]
pub(crate) struct Disable {
    #[command(flatten)]
    scene: Scene,
    #[command(flatten)]
    organization: OneOrganization,
}

impl IpRestrictions {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Show(show) => show.run().await,
            Self::Disable(disable) => disable.run().await,
        }
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let organization = self.organization.meant(&control, &ctx).await?;
        let rules = control.ip_restrictions_of(&ctx, &organization).await?;
        if self.scene.json {
            output::line(json!(rules));
            return Ok(());
        }
        let allow = if rules.enforce_allowlist { "allow, applied" } else { "allow, not applied" };
        for (list, ranges) in [("deny", &rules.deny), (allow, &rules.allow)] {
            if ranges.is_empty() {
                output::line(format_args!("{list}: none"));
                continue;
            }
            output::line(format_args!("{list}:"));
            for range in ranges {
                output::line(printable(format!("  {}  {}", range.cidr, range.label).trim_end()));
            }
        }
        output::line(match rules.applies_to {
            AppliesTo::Console => "apply to: the console",
            AppliesTo::ConsoleAndApi => "apply to: the console and the API",
        });
        Ok(())
    }
}

impl Disable {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let organization = self.organization.meant(&control, &ctx).await?;
        control.lift_ip_restrictions(&ctx, &organization).await?;
        let sentence = format!("{organization} is reached from every address again");
        self.scene.tell(&sentence, &json!({ "organization": organization, "enforce_allowlist": false }));
        Ok(())
    }
}
