//! What a gateway says of itself, and how much of it is taken.

use kt_domain::actor::Actor;
use kt_domain::configurations::{ConfigurationSource, RefusedConfiguration};
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::gateways::{ShownConfiguration, TargetReport};
use kt_domain::id::{ApiKeyId, OrganizationId};
use kt_domain::public_url::PublicUrl;
use kt_store::gateways::Gateway;

/// The longest reason for a refusal that is kept.
const MOST_REASON: usize = 4000;

/// The longest name, and the longest version.
const MOST_CHARACTERS: usize = 64;

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReport {
    /// The name that its events carry.
    pub id: String,
    /// Which version of Keeptrusts it runs.
    pub software_version: String,
    /// The configuration that it has in force; [`NO_CONFIGURATION`] while it has none.
    pub config_version: String,
    /// Where it is reached, if it is known.
    pub address: Option<String>,
    /// The places that it forwards to.
    pub targets: Vec<TargetReport>,
    /// Where it has it from.
    pub config_source: ConfigurationSource,
    /// What people may see of a configuration from its own files, where it was asked for that.
    pub configuration: Option<ShownConfiguration>,
    /// The version that it was told to run last and could not, if that is so.
    pub refused: Option<RefusedConfiguration>,
    /// Whether it takes no new requests.
    pub is_draining: bool,
    /// Whether it counts limits and budgets in a Redis or Valkey with others, and not by itself.
    pub shares_counts: bool,
}

/// What a gateway reports that has no configuration yet.
pub const NO_CONFIGURATION: &str = "none";

/// Who asks for news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// The gateway.
    pub gateway: String,
    /// Where it has its configuration from.
    pub source: ConfigurationSource,
    /// The version of it that it has in force.
    pub config_version: String,
}

impl GatewayReport {
    /// Who asks for news with this report.
    #[must_use]
    pub fn asking(&self) -> Asking {
        Asking {
            gateway: self.id.clone(),
            source: self.config_source,
            config_version: self.config_version.clone(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        check_word("gateway_id", &self.id)?;
        check_word("software_version", &self.software_version)?;
        check_word("config_version", &self.config_version)?;
        if let Some(address) = &self.address {
            PublicUrl::parse(address).map_err(|why| Error::invalid("address", why.to_string()))?;
        }
        self.configuration.as_ref().map_or(Ok(()), ShownConfiguration::check)?;
        TargetReport::check_all(&self.targets)
    }

    fn refused(&self) -> Option<RefusedConfiguration> {
        let refused = self.refused.clone()?;
        Some(RefusedConfiguration { reason: refused.reason.chars().take(MOST_REASON).collect(), ..refused })
    }

    pub(super) fn into_gateway(
        self,
        ctx: &Ctx,
        organization: OrganizationId,
        known: Option<&Gateway>,
    ) -> Gateway {
        let refused = self.refused();
        Gateway {
            id: self.id,
            organization,
            key: key_of(&ctx.actor),
            refused,
            software_version: self.software_version,
            config_version: self.config_version,
            address: self.address,
            targets: self.targets,
            config_source: self.config_source,
            is_draining: self.is_draining,
            shares_counts: self.shares_counts,
            ip: ctx.client.ip,
            enrolled_at: known.map_or(ctx.now, |known| known.enrolled_at),
            seen_at: ctx.now,
        }
    }
}

fn check_word(param: &'static str, text: &str) -> Result<(), Error> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-@".contains(c);
    if (1..=MOST_CHARACTERS).contains(&text.len()) && text.chars().all(is_plain) {
        return Ok(());
    }
    Err(Error::invalid(
        param,
        format!("Use 1 to {MOST_CHARACTERS} letters, digits, `.`, `_`, `+`, `-` and `@`."),
    ))
}

fn key_of(actor: &Actor) -> Option<ApiKeyId> {
    match actor {
        Actor::Program(program) => Some(program.key.clone()),
        _ => None,
    }
}
