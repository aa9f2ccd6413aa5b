//! What a server alone uses of its configuration. Commands of the operator do without: they have to work when it is away.

use std::path::Path;

use kt_control::outbound::Outbound;
use kt_control::{ConfiguredJwtKey, SharedCounts, Sso};
use kt_domain::deployment_config::DeploymentConfig;
use kt_domain::network::reach::Reach;

use crate::failure::Failure;
use crate::jwt_keys::jwt_keys;
use crate::single_sign_on::{single_sign_on, without_providers};

/// Keys for access tokens, and what is reached elsewhere.
pub(super) struct ServerParts {
    pub(super) jwt_keys: Option<Vec<ConfiguredJwtKey>>,
    pub(super) shared_counts: Option<SharedCounts>,
    pub(super) providers: Outbound,
    pub(super) sso: Sso,
}

impl ServerParts {
    /// As the configuration says.
    pub(super) fn of(config: &DeploymentConfig, serves_gateway: bool) -> Result<Self, Failure> {
        Ok(Self {
            jwt_keys: jwt_keys(config)?,
            shared_counts: shared_counts(config)?,
            providers: providers(config, serves_gateway)?,
            sso: single_sign_on(config)?,
        })
    }

    /// For whoever issues no token and reaches nobody: no file and no variable is read for it.
    pub(super) fn unused(config: &DeploymentConfig) -> Result<Self, Failure> {
        Ok(Self {
            // That the configuration names keys counts still: none is made in the database.
            jwt_keys: (!config.auth.jwt.keys.is_empty()).then(Vec::new),
            shared_counts: None,
            providers: reaching(Reach::Public)?,
            sso: without_providers(config, reaching(Reach::Public)?),
        })
    }
}

/// Connections as far as that, to whoever has a certificate of a known authority.
pub(super) fn reaching(reach: Reach) -> Result<Outbound, Failure> {
    Outbound::new(reach, None).map_err(|why| Failure::failed(why.to_string()))
}

/// Where uses are counted together with other processes, if the configuration names a place.
pub(crate) fn shared_counts(config: &DeploymentConfig) -> Result<Option<SharedCounts>, Failure> {
    let counts = config.redis.url.as_deref().map(SharedCounts::new).transpose();
    counts.map_err(|error| Failure::invalid(format!("`redis.url` cannot be used: {error}")))
}

/// What reaches providers that somebody tries. Where a gateway runs on this machine, it reaches what that does.
pub(crate) fn providers(config: &DeploymentConfig, serves_gateway: bool) -> Result<Outbound, Failure> {
    let allow_private = config.providers.allow_private.unwrap_or(serves_gateway);
    let reach = if allow_private { Reach::Private } else { Reach::Public };
    let authorities = config.providers.ca_file.as_deref().map(Path::new);
    Outbound::new(reach, authorities)
        .map_err(|why| Failure::invalid(format!("`providers.ca_file` cannot be used: {why}")))
}
