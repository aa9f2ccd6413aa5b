//! What a provider publishes: where it is reached, and the keys that it signs with. Remembered for ten minutes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use kt_domain::ctx::Ctx;
use kt_domain::network::reach::Reach;
use kt_domain::sso::{OidcEndpoints, PublishedPart, is_web_address};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::Party;
use super::memory::{LEFT_ALONE, Memory, Outcome};
use crate::control::Control;
use crate::outbound::Outbound;
use crate::sso::fetch::{self, FetchError};

/// How long it is relied on.
const RELIED_ON: Duration = Duration::from_mins(10);

/// How often keys are asked for again because a token names one that is not known (STANDARDS OIDC-07).
const ASKED_AGAIN: Duration = Duration::from_mins(1);

/// How many keys of a provider are looked at.
const MOST_KEYS: usize = 100;

/// How many providers are remembered.
const MOST_PROVIDERS: usize = 10_000;

/// Where metadata stands below an issuer (OpenID Connect Discovery 1.0 section 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// What a provider publishes of itself.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) endpoints: OidcEndpoints,
    /// Whether it says that its answers name the issuer (RFC 9207 section 3).
    pub(crate) answers_name_issuer: bool,
    /// The scopes that it says it has.
    pub(crate) scopes: Vec<String>,
    /// The words for how somebody proves themselves (`acr`) that it says it can be asked for.
    pub(crate) words: Vec<String>,
}

/// What was found of providers a while ago, and which could not be asked a moment ago.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<HashMap<String, Arc<Provider>>>);

/// What is remembered of one of them.
#[derive(Default)]
struct Provider {
    published: Memory<Published>,
    keys: Memory<Vec<Jwk>>,
}

/// Why nothing is known of a provider.
#[derive(Debug, Error)]
pub(super) enum MetadataError {
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It could not be fetched a moment ago.
    #[error("{0} (tried a moment ago; it is tried again in {LEFT_ALONE:?} at the latest)")]
    Lately(String),
    /// It is no metadata.
    #[error("{0} holds no metadata of an OIDC provider: {1}")]
    NoMetadata(Url, String),
    /// It is of another issuer.
    #[error("the metadata is of the issuer `{0}`, not of `{1}`")]
    OtherIssuer(String, String),
    /// It leads to somewhere that is not asked.
    #[error("`{0}` of the metadata is no https address")]
    Address(&'static str),
    /// They are no keys.
    #[error("{0} holds no key set: {1}")]
    NoKeys(Url, String),
}

/// The members of a provider's metadata that are read.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    scopes_supported: Vec<String>,
    #[serde(default)]
    acr_values_supported: Vec<String>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Control {
    /// What a provider publishes of itself, or its settings say in its place.
    pub(super) async fn published(&self, ctx: &Ctx, party: &Party) -> Result<Published, MetadataError> {
        if let Some(endpoints) = &party.settings.endpoints {
            let endpoints = endpoints.clone();
            return Ok(Published {
                endpoints,
                answers_name_issuer: false,
                scopes: Vec::new(),
                words: Vec::new(),
            });
        }
        let ask = Box::pin(async {
            let issuer = &party.settings.issuer;
            let (found, published) = discover(&self.sso.outbound, issuer).await?;
            if found == *issuer {
                Ok(published)
            } else {
                Err(MetadataError::OtherIssuer(found, issuer.clone()))
            }
        });
        let provider = self.oidc.of(&party.key);
        let outcome = provider.published.recall(ctx.now, RELIED_ON, ask).await;
        self.settled(ctx, party, PublishedPart::Metadata, outcome).await
    }

    /// The keys that a provider signs with. Asked for anew where `again` says that a token names one that is not among those
    /// remembered, but not more often than once a minute.
    pub(super) async fn provider_keys(
        &self,
        ctx: &Ctx,
        party: &Party,
        again: bool,
    ) -> Result<Vec<Jwk>, MetadataError> {
        let published = self.published(ctx, party).await?;
        let relied_on = if again { ASKED_AGAIN } else { RELIED_ON };
        let provider = self.oidc.of(&party.key);
        let ask = Box::pin(fetch_keys(&self.sso.outbound, &published.endpoints.jwks));
        let outcome = provider.keys.recall(ctx.now, relied_on, ask).await;
        self.settled(ctx, party, PublishedPart::Keys, outcome).await
    }

    /// What was asked for just now is noted: a provider that cannot be asked is its organization's concern.
    async fn settled<T>(
        &self,
        ctx: &Ctx,
        party: &Party,
        part: PublishedPart,
        outcome: Outcome<T, MetadataError>,
    ) -> Result<T, MetadataError> {
        match outcome {
            Outcome::Known(known) => known.map_err(MetadataError::Lately),
            Outcome::Asked(asked) => {
                self.note_asked(ctx, party, part, asked.as_ref().err()).await;
                asked
            }
        }
    }
}

impl Remembered {
    fn of(&self, key: &str) -> Arc<Provider> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_PROVIDERS && !all.contains_key(key) {
            all.clear();
        }
        Arc::clone(all.entry(key.to_owned()).or_default())
    }
}

/// The issuer that an address names: the address itself, or what its metadata stands below.
pub(super) fn issuer_of(address: &str) -> &str {
    address.strip_suffix(WELL_KNOWN).unwrap_or(address)
}

/// Reads the metadata of an issuer: it must be that issuer's own, and lead to https addresses alone. Also gives the issuer as
/// it writes itself, which may end in a slash that nobody types.
pub(super) async fn discover(
    outbound: &Outbound,
    issuer: &str,
) -> Result<(String, Published), MetadataError> {
    let (document, private) = (read_metadata(outbound, issuer).await?, outbound.reach() == Reach::Private);
    let addresses = [
        ("authorization_endpoint", Some(&document.authorization_endpoint)),
        ("token_endpoint", Some(&document.token_endpoint)),
        ("jwks_uri", Some(&document.jwks_uri)),
        ("userinfo_endpoint", document.userinfo_endpoint.as_ref()),
    ];
    for (name, address) in addresses {
        if address.is_some_and(|address| !is_web_address(address, private)) {
            return Err(MetadataError::Address(name));
        }
    }
    let endpoints = OidcEndpoints {
        authorization: document.authorization_endpoint,
        token: document.token_endpoint,
        jwks: document.jwks_uri,
        userinfo: document.userinfo_endpoint,
    };
    let published = Published {
        endpoints,
        answers_name_issuer: document.authorization_response_iss_parameter_supported,
        scopes: document.scopes_supported,
        words: document.acr_values_supported,
    };
    Ok((document.issuer, published))
}

async fn read_metadata(outbound: &Outbound, issuer: &str) -> Result<Document, MetadataError> {
    let address = format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'));
    let url =
        Url::parse(&address).map_err(|_| MetadataError::OtherIssuer(String::new(), issuer.to_owned()))?;
    let body = fetch::get(outbound, &url, &[("accept", "application/json".to_owned())]).await?;
    let document: Document =
        serde_json::from_slice(&body).map_err(|why| MetadataError::NoMetadata(url, why.to_string()))?;
    if document.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
        return Err(MetadataError::OtherIssuer(document.issuer, issuer.to_owned()));
    }
    Ok(document)
}

/// A key that is not understood is none of those that anything is verified with.
async fn fetch_keys(outbound: &Outbound, address: &str) -> Result<Vec<Jwk>, MetadataError> {
    let url = Url::parse(address).map_err(|_| MetadataError::Address("jwks_uri"))?;
    let body = fetch::get(outbound, &url, &[("accept", "application/json".to_owned())]).await?;
    let set: KeySet =
        serde_json::from_slice(&body).map_err(|why| MetadataError::NoKeys(url, why.to_string()))?;
    Ok(set.keys.into_iter().take(MOST_KEYS).filter_map(|key| serde_json::from_value(key).ok()).collect())
}

/// Whether settings lead to where the deployment lets connections go.
pub(super) fn is_private(outbound: &Outbound) -> bool {
    outbound.reach() == Reach::Private
}
