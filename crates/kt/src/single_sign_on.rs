//! Single sign-on as this deployment's configuration offers it.

use std::path::Path;

use kt_control::outbound::Outbound;
use kt_control::{GoogleClient, NameServers, Sso};
use kt_domain::deployment_config::{DeploymentConfig, GoogleSection};
use kt_domain::network::reach::Reach;
use kt_domain::sso::Protocol;

use crate::environment;
use crate::failure::Failure;

/// What the use cases need of it.
pub(crate) fn single_sign_on(config: &DeploymentConfig) -> Result<Sso, Failure> {
    let reach = if config.sso.allow_private { Reach::Private } else { Reach::Public };
    let outbound = Outbound::new(reach, config.sso.ca_file.as_deref().map(Path::new))
        .map_err(|why| Failure::invalid(format!("`sso.ca_file` cannot be used: {why}")))?;
    Ok(Sso {
        protocols: protocols(config),
        outbound,
        names: Box::new(NameServers::of_the_system()),
        google: config.auth.google.as_ref().map(google).transpose()?,
    })
}

/// The same for whoever asks no provider anything, over connections that reach none.
pub(crate) fn without_providers(config: &DeploymentConfig, outbound: Outbound) -> Sso {
    Sso {
        protocols: protocols(config),
        outbound,
        names: Box::new(NameServers::of_the_system()),
        google: None,
    }
}

fn protocols(config: &DeploymentConfig) -> Vec<Protocol> {
    config.features.sso.iter().copied().map(Into::into).collect()
}

fn google(section: &GoogleSection) -> Result<GoogleClient, Failure> {
    let name = &section.client_secret_ref.env;
    let client_secret = environment::variable(name).ok_or_else(|| {
        Failure::invalid(format!("`auth.google.client_secret_ref` names {name}, which is not set"))
    })?;
    Ok(GoogleClient {
        issuer: section.issuer.clone().unwrap_or_else(|| GoogleClient::ISSUER.to_owned()),
        client_id: section.client_id.clone(),
        client_secret,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: &str) -> Result<Sso, Failure> {
        single_sign_on(&serde_json::from_str(config).unwrap())
    }

    #[test]
    fn a_deployment_offers_what_its_features_say() {
        assert_eq!(of("{}").unwrap().protocols, [Protocol::Oidc, Protocol::Saml]);
        assert_eq!(of(r#"{"features":{"sso":["saml"]}}"#).unwrap().protocols, [Protocol::Saml]);
        assert_eq!(of(r#"{"features":{"sso":[]}}"#).unwrap().protocols, []);
    }

    #[test]
    fn providers_are_on_the_internet_unless_the_operator_says_otherwise() {
        assert_eq!(of("{}").unwrap().outbound.reach(), Reach::Public);
        assert_eq!(of(r#"{"sso":{"allow_private":true}}"#).unwrap().outbound.reach(), Reach::Private);
    }

    #[test]
    fn a_secret_that_is_not_there_is_said_at_the_start() {
        let config =
            r#"{"auth":{"google":{"client_id":"x","client_secret_ref":{"env":"KEEPTRUSTS_TEST_NOWHERE"}}}}"#;
        assert!(of(config).is_err());
    }
}
