//! Single sign-on: set up, gone through, and lied to.

mod away;
mod canary;
mod domains;
mod freshness;
mod google;
mod lies;
mod own_factors;
mod page;
mod people;
pub(crate) mod provider;
mod saml;
mod saml_provider;
mod settings;
mod strays;
mod under_way;
mod way;

use serde_json::{Value, json};

use self::provider::Provider;
use crate::harness::{Answer, TestApi};

/// Who `acme` is to its provider, and how it proves that. The secret has what RFC 6749 section 2.3.1 wants encoded.
const CLIENT: &str = "keeptrusts";
const SECRET: &str = "secret: of/the+client";

impl TestApi {
    /// A provider of `acme` that is turned on, with these settings besides; `acme.example` is a domain of `acme`.
    pub(crate) async fn with_provider(&self, settings: Value) -> Provider {
        let provider = Provider::start(&self.clock).await;
        let made = self.put_provider(&self.owner().await, &provider, settings).await;
        assert_eq!(made.status, 200, "{}", made.json);
        self.control.vouch_for_domain(&self.operator(), "acme", "acme.example").await.unwrap();
        provider
    }

    /// Sets the provider of `acme` with these settings.
    async fn put_provider(&self, owner: &Answer, provider: &Provider, settings: Value) -> Answer {
        let body = json!({
            "enabled": true, "issuer": provider.issuer(), "client_id": CLIENT, "client_secret": SECRET,
            "settings": settings,
        });
        self.put("/v1/organization/sso/oidc", body).bearer(owner.access_token()).send().await
    }
}
