//! OIDC: the authorization code flow with PKCE, and logout through the back channel.
//!
//! The checks are those of OpenID Connect Core 1.0, RFC 9700 and RFC 9207. What a provider publishes is fetched and
//! remembered in [`metadata`], its signatures are verified in [`jws`], and what its claims must say is a pure rule of
//! [`kt_domain::sso::id_token`].

mod away;
mod claims;
mod exchange;
mod google;
mod jws;
mod logout;
mod memory;
mod metadata;
mod settings;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::IdentityProviderId;
use kt_domain::secret::{SecretDigest, Token};
use kt_domain::sso::id_token::{TokenContext, check_id_token};
use kt_domain::sso::{AttributeNames, ExternalIdentity, OidcSettings};
use kt_store::identity_providers::IdentityProvider;
use kt_store::organizations;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::errand::{AT_PROVIDER, Departure, Errand, Origin, begun_otherwise};
use super::receive::{Disbelief, SsoOutcome};
use super::sso_refused;
use super::stray::Brought;
use super::trial::Trail;
use crate::control::Control;

use claims::{add_told, identity, is_missing};
use exchange::ExchangeError;
use metadata::Published;
pub(crate) use metadata::Remembered;
pub use settings::{NewOidcProvider, OidcPlace};

/// What we ask for: who somebody is, their address and their name (STANDARDS OIDC-11).
const SCOPE: &str = "openid email profile";

/// What we ask for besides where groups decide something and the provider says that it has such a scope: Okta sends groups to
/// those alone who ask for them.
const GROUPS_SCOPE: &str = "groups";

/// The first step of a trial.
const METADATA: &str = "The provider's metadata";

/// What an answer is compared with.
#[derive(Serialize, Deserialize)]
struct Pledge {
    /// The issuer that was set when the way was begun.
    issuer: String,
    /// The digest of what the ID token must repeat.
    nonce: SecretDigest,
    /// What proves to the provider that whoever exchanges the code has asked for it, sealed.
    verifier: String,
}

/// What a verifier is sealed for: this one flow.
fn verifier_place(nonce: &SecretDigest) -> String {
    format!("sso_verifiers/{nonce}")
}

/// What a browser brings back from a provider.
pub struct OidcAnswer<'a> {
    /// Whose provider, by the address that it came back to: the organization's identifier, or none for Google.
    pub organization: Option<&'a str>,
    /// `state`.
    pub state: &'a str,
    /// `code`.
    pub code: Option<&'a str>,
    /// `iss`.
    pub issuer: Option<&'a str>,
    /// `error`.
    pub error: Option<&'a str>,
    /// `error_description`: shown to whoever tries the provider out, and to nobody else.
    pub error_description: Option<&'a str>,
    /// What the browser has kept since it began.
    pub browser: Option<&'a str>,
}

/// A provider and who we are to it, as the flow needs them.
struct Party {
    /// What is remembered of it is kept under this.
    key: String,
    /// Which provider of an organization it is, in which version; none for Google.
    provider: Option<(IdentityProviderId, i64)>,
    settings: OidcSettings,
    secret: Option<Vec<u8>>,
    redirect_uri: Url,
    attributes: AttributeNames,
    /// Whether groups decide something.
    wants_groups: bool,
    /// By which words it is to say that two factors were used, where it has to.
    wanted_words: Vec<String>,
    /// Whether it is Google.
    is_google: bool,
}

impl Control {
    pub(super) async fn depart_by_oidc(
        &self,
        ctx: &Ctx,
        provider: &IdentityProvider,
        settings: &OidcSettings,
        errand: Errand,
        browser: Option<&str>,
    ) -> Result<Departure, Error> {
        let party = self.party_of(provider, settings).await?;
        let origin = Origin::of(provider, errand, ctx.now);
        self.depart_to(ctx, &party, origin, browser).await
    }

    /// The provider's own page, with all that it needs to know, and what is kept here until its answer comes.
    async fn depart_to(
        &self,
        ctx: &Ctx,
        party: &Party,
        origin: Origin,
        browser: Option<&str>,
    ) -> Result<Departure, Error> {
        let published = self.published(ctx, party).await.map_err(|why| unreachable_provider(&why))?;
        let (state, nonce, verifier) = (self.new_token(), self.new_token(), self.new_token());
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()));
        let must_ask = matches!(origin.errand, Errand::Reauthenticate { .. });
        let mut to = Url::parse(&published.endpoints.authorization).map_err(Error::internal)?;
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &party.settings.client_id)
            .append_pair("redirect_uri", party.redirect_uri.as_str())
            .append_pair("scope", &scope(party, &published))
            .append_pair("state", state.expose())
            .append_pair("nonce", nonce.expose())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if must_ask {
            to.query_pairs_mut().append_pair("prompt", "login").append_pair("max_age", "0");
        }
        let words = agreed_words(party, &published);
        if !words.is_empty() {
            to.query_pairs_mut().append_pair("acr_values", &words.join(" "));
        }
        let pledge = self.pledge(party, &nonce, &verifier)?;
        let browser = self.keep_errand(ctx, (&state, AT_PROVIDER), origin, browser, pledge).await?;
        Ok(Departure { to, browser })
    }

    fn pledge(&self, party: &Party, nonce: &Token, verifier: &Token) -> Result<Pledge, Error> {
        let nonce = nonce.digest();
        let (place, verifier) = (verifier_place(&nonce), verifier.expose().as_bytes());
        let verifier = self.draw(|random| self.seal.seal(&place, verifier, random))?;
        Ok(Pledge { issuer: party.settings.issuer.clone(), nonce, verifier })
    }

    /// Somebody comes back from a provider. Whatever is wrong with what they bring is `sso_refused`.
    pub async fn receive_oidc(&self, ctx: &Ctx, answer: OidcAnswer<'_>) -> Result<SsoOutcome, Error> {
        let taken = self.take_errand::<Pledge>(ctx, answer.state, answer.browser).await;
        let (origin, pledge) =
            self.recording_strays(ctx, answer.organization, Brought::Answer, taken).await?;
        let party = self.party_asked(&origin, &answer).await;
        let party = self.recording_refusal(ctx, &origin, party).await?;
        let mut trail = Trail::default();
        trail.passed("The answer came back to the browser that asked", "");
        let verified = match self.believe(ctx, &party, &pledge, &answer, &mut trail).await {
            Ok(identity) => Ok(identity),
            Err(Failed::Disbelieved(disbelief)) => Err(disbelief),
            Err(Failed::Broken(error)) => return Err(error),
        };
        self.receive(ctx, origin, trail, verified).await
    }

    /// Each provider has an address of its own that its answers come back to (RFC 9700 section 4.4.2.2).
    async fn require_own_address(&self, origin: &Origin, answer: &OidcAnswer<'_>) -> Result<(), Error> {
        let expected = match &origin.organization {
            Some(id) => organizations::find(&self.store, id).await?.map(|found| found.identifier),
            None => None,
        };
        if expected.as_deref() == answer.organization {
            return Ok(());
        }
        Err(sso_refused().with_private("the answer came back to the address of another provider"))
    }

    /// Who was asked, as it is at this moment, if the answer came back to its address.
    async fn party_asked(&self, origin: &Origin, answer: &OidcAnswer<'_>) -> Result<Party, Error> {
        self.require_own_address(origin, answer).await?;
        match self.provider_again(&self.store, origin).await? {
            None => self.google_party(),
            Some(provider) => {
                let settings = provider.details.oidc().ok_or_else(begun_otherwise)?;
                self.party_of(&provider, settings).await
            }
        }
    }

    async fn party_of(&self, provider: &IdentityProvider, settings: &OidcSettings) -> Result<Party, Error> {
        let organization = organizations::find(&self.store, &provider.organization).await?;
        let organization = organization.ok_or_else(|| Error::not_found("organization"))?;
        Ok(Party {
            key: format!("{}/{}", provider.id, provider.version),
            provider: Some((provider.id.clone(), provider.version)),
            settings: settings.clone(),
            secret: self.secret_of(provider)?,
            redirect_uri: self.oidc_address(&organization.identifier, "callback"),
            attributes: provider.settings.attributes.clone(),
            wants_groups: !provider.settings.group_roles.is_empty(),
            wanted_words: if provider.settings.require_mfa {
                provider.settings.mfa_values.clone()
            } else {
                Vec::new()
            },
            is_google: self.is_google(&settings.issuer),
        })
    }

    /// Whether a provider can be asked where it is, which is the first step of every way to it.
    pub(super) async fn look_at_metadata(
        &self,
        ctx: &Ctx,
        provider: &IdentityProvider,
        settings: &OidcSettings,
    ) -> Result<Result<(), Disbelief>, Error> {
        let party = self.party_of(provider, settings).await?;
        let published = self.published(ctx, &party).await;
        Ok(published.map(|_| ()).map_err(|why| disbelief(METADATA, why.to_string())))
    }

    /// Somebody, if everything that the answer leads to can be believed.
    async fn believe(
        &self,
        ctx: &Ctx,
        party: &Party,
        pledge: &Pledge,
        answer: &OidcAnswer<'_>,
        trail: &mut Trail,
    ) -> Result<ExternalIdentity, Failed> {
        let published =
            self.published(ctx, party).await.map_err(|why| disbelief(METADATA, why.to_string()))?;
        trail.passed(METADATA, party.settings.issuer.clone());
        if let Some(error) = answer.error {
            let told = json!({ "error": error, "error_description": answer.error_description });
            trail.sent("Answer, not verified", told);
        }
        let code =
            check_answer(party, pledge, &published, answer).map_err(|why| disbelief("The answer", why))?;
        trail.passed("The answer", "a code, from the issuer that was asked");
        let opened = self.seal.open(&verifier_place(&pledge.nonce), &pledge.verifier)?;
        let tokens = self.exchange(party, &published, code, &String::from_utf8_lossy(&opened)).await;
        if let Err(ExchangeError::Refused { error, description: Some(description), .. }) = &tokens {
            let told = json!({ "error": error, "error_description": description });
            trail.sent("Answer to the code, not verified", told);
        }
        let tokens = tokens.map_err(|why| disbelief("The exchange of the code", why.to_string()))?;
        trail.passed("The exchange of the code", "an ID token was given for it");
        let verified = self.verify_jws(ctx, party, &tokens.id_token, None).await;
        if verified.is_err()
            && let Some(unverified) = jws::unverified(&tokens.id_token)
        {
            trail.sent("ID token, not verified", unverified);
        }
        let verified = verified.map_err(|why| disbelief("The signature of the ID token", why.to_string()))?;
        trail.passed("The signature of the ID token", verified.algorithm);
        trail.sent("ID token", Value::Object(verified.claims.clone()));
        let context = TokenContext {
            issuer: &party.settings.issuer,
            client_id: &party.settings.client_id,
            now: ctx.now,
        };
        check_id_token(&verified.claims, context, &pledge.nonce)
            .map_err(|why| disbelief("What the ID token says", why.to_string()))?;
        jws::check_access_token_hash(&verified, tokens.access_token.as_deref())
            .map_err(|why| disbelief("What the ID token says", why.to_string()))?;
        trail.passed("What the ID token says", "issuer, audience, times and nonce are right");
        let mut claims = verified.claims;
        if is_missing(party, &claims)
            && let Some(userinfo) = &published.endpoints.userinfo
            && let Some(access_token) = &tokens.access_token
        {
            let told = self.userinfo(userinfo, access_token, &claims).await;
            let told = told.map_err(|why| disbelief("What the provider tells besides", why.to_string()))?;
            trail.sent("UserInfo", Value::Object(told.clone()));
            trail.passed("What the provider tells besides", "of the same subject");
            add_told(&party.attributes, &mut claims, told);
        }
        Ok(identity(party, &claims))
    }

    /// An address of the console that belongs to the OIDC provider of an organization.
    pub(crate) fn oidc_address(&self, identifier: &str, part: &str) -> Url {
        let mut url = self.console.page("/sso/oidc");
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(identifier).push(part);
        }
        url
    }
}

/// Why there is nobody.
enum Failed {
    /// Something that came from the provider is wrong.
    Disbelieved(Disbelief),
    /// Something of ours failed.
    Broken(Error),
}

impl From<Disbelief> for Failed {
    fn from(disbelief: Disbelief) -> Self {
        Self::Disbelieved(disbelief)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

fn disbelief(step: &'static str, why: impl Into<String>) -> Disbelief {
    Disbelief { step, why: why.into() }
}

/// The code, if the answer is one of the issuer that was asked (RFC 9207 section 2.4): looked at before the code is sent
/// anywhere.
fn check_answer<'a>(
    party: &Party,
    pledge: &Pledge,
    published: &Published,
    answer: &OidcAnswer<'a>,
) -> Result<&'a str, String> {
    if pledge.issuer != party.settings.issuer {
        return Err("another issuer was set meanwhile".to_owned());
    }
    match answer.issuer {
        Some(issuer) if issuer != pledge.issuer => {
            return Err("`iss` names another issuer than the one that was asked".to_owned());
        }
        None if published.answers_name_issuer => {
            return Err("`iss` is missing, which this provider says it sends".to_owned());
        }
        _ => {}
    }
    if let Some(error) = answer.error {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let word: String = error.chars().filter(is_plain).take(64).collect();
        return Err(format!("the provider answered `{word}`"));
    }
    answer.code.filter(|code| !code.is_empty()).ok_or_else(|| "there is no code in it".to_owned())
}

/// What the provider is asked for.
fn scope(party: &Party, published: &Published) -> String {
    if party.wants_groups && published.scopes.iter().any(|scope| scope == GROUPS_SCOPE) {
        format!("{SCOPE} {GROUPS_SCOPE}")
    } else {
        SCOPE.to_owned()
    }
}

/// Of the words for two factors those that the provider says it can be asked for (OpenID Connect Core 1.0 section 3.1.2.1).
/// Some refuse whom they are sent with another one.
fn agreed_words<'a>(party: &'a Party, published: &Published) -> Vec<&'a str> {
    let wanted = party.wanted_words.iter();
    wanted.filter(|word| published.words.contains(word)).map(String::as_str).collect()
}

fn unreachable_provider(why: &impl std::fmt::Display) -> Error {
    let message = "Your identity provider cannot be reached at this moment. Try again in a minute; if it stays, tell an \
                   administrator of your organization.";
    Error::new(ErrorKind::Unavailable, "identity_provider_unreachable", message).with_private(why)
}
