//! SAML 2.0: requests by redirect, responses by a form that the browser posts, and logout that the provider asks for.
//!
//! What a provider says is verified in [`kt_saml`]. Its answer comes in two steps. The form is posted from the provider's
//! site, and such a request carries no cookie but the one made for it; so the answer is verified there, bound to the browser
//! by that cookie, and kept under a ticket, with which the browser is sent on to an address of ours. There it is at home
//! again, with its session, and the way goes on as with every protocol.

mod logout;
mod own_key;
mod reading;
mod settings;

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::secret::{SecretDigest, Token};
use kt_domain::sso::{AttributeNames, ExternalIdentity, SamlSettings};
use kt_saml::{
    AuthnRequest, Certificate, Expected, IdentityProvider, ServiceProvider, Stage, VerifiedAssertion,
};
use kt_store::identity_providers::IdentityProvider as Provider;
use kt_store::sessions::{Federation, VouchedFor};
use kt_store::{once, organizations};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::errand::{AT_PROVIDER, BETWEEN_OURS, Departure, Errand, Origin, begun_otherwise};
use super::receive::{Disbelief, SsoOutcome};
use super::sso_refused;
use super::stray::Brought;
use super::trial::{Trail, WHO};
use crate::control::Control;

pub use logout::LogoutMessage;
pub use own_key::{OwnCertificate, OwnCertificates, OwnKeyStep};
pub use reading::SamlReading;
pub use settings::{NewSamlProvider, SamlPlace, SamlSource};

/// Where Entra ID tells how somebody signed in, besides the authentication context.
const METHODS: &str = "http://schemas.microsoft.com/claims/authnmethodsreferences";

/// What Entra ID sends in place of groups where there are more than it sends: where they could be asked for.
const MORE_GROUPS: &str = "http://schemas.microsoft.com/claims/groups.link";

/// What a response is compared with.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pledge {
    /// The ID of the request.
    request: String,
}

/// What came of a response, until the browser is back on an address of ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Landed {
    /// How many of [`STEPS`] it has passed.
    passed: usize,
    /// What the provider sent, once that is verified, for whoever tries it out.
    sent: Option<Value>,
    /// The whole response of a trial that was refused, sealed until it is shown.
    unverified: Option<String>,
    said: Result<ExternalIdentity, String>,
}

impl Landed {
    /// Whether a session that it would open is one of these.
    fn is_of(&self, which: VouchedFor<'_>) -> bool {
        self.said.as_ref().is_ok_and(|identity| {
            which.includes(&Federation {
                source: which.source.clone(),
                issuer: identity.issuer.clone(),
                subject: identity.subject.clone(),
                provider_session: identity.session.clone(),
                ends_by: None,
            })
        })
    }
}

/// What is looked at in a response, in order, and what it is when that is good. The first are the stages of [`kt_saml`].
const STEPS: [(&str, &str); 6] = [
    ("The response", "one assertion, and no failure"),
    ("The signature", "made with a configured certificate"),
    ("What it answers", "this request, from this provider, to this address"),
    ("The conditions", "for this service, in time"),
    ("How the person signed in", "said once, of one person"),
    ("The use of the assertion", "the first"),
];

/// How many steps a response has passed that was refused at this stage.
fn passed_before(stage: Stage) -> usize {
    match stage {
        Stage::Message => 0,
        Stage::Signature => 1,
        Stage::Answer => 2,
        Stage::Conditions => 3,
        Stage::Person => 4,
    }
}

/// What a browser posts from the provider's page.
pub struct SamlAnswer<'a> {
    /// Whose provider, by the address that it came in at: the organization's identifier.
    pub organization: &'a str,
    /// `RelayState`.
    pub relay_state: &'a str,
    /// `SAMLResponse`.
    pub response: &'a str,
    /// What the browser has kept since it began.
    pub browser: Option<&'a str>,
}

impl Control {
    pub(super) async fn depart_by_saml(
        &self,
        ctx: &Ctx,
        provider: &Provider,
        settings: &SamlSettings,
        errand: Errand,
        browser: Option<&str>,
    ) -> Result<Departure, Error> {
        let us = self.service_provider(&self.identifier_of(provider).await?);
        let them = identity_provider(settings)?;
        let key = if settings.sign_requests { Some(self.signing_key(provider, settings)?) } else { None };
        let state = self.new_token();
        // An XML name begins with no digit.
        let request = format!("_{}", self.new_token().expose());
        let asked = AuthnRequest {
            id: &request,
            identity_provider: &them,
            service_provider: &us,
            force_authentication: matches!(errand, Errand::Reauthenticate { .. }),
            now: ctx.now,
        };
        let to = Url::parse(&asked.address(state.expose(), key.as_ref())).map_err(Error::internal)?;
        let origin = Origin::of(provider, errand, ctx.now);
        let browser =
            self.keep_errand(ctx, (&state, AT_PROVIDER), origin, browser, Pledge { request }).await?;
        Ok(Departure { to, browser })
    }

    /// Verifies what a browser posts, and gives the ticket with which it goes on at [`Self::receive_saml`]. Refused with
    /// `sso_refused` where this browser did not ask for it.
    pub async fn land_saml(&self, ctx: &Ctx, answer: SamlAnswer<'_>) -> Result<Token, Error> {
        let taken = self.take_errand::<Pledge>(ctx, answer.relay_state, answer.browser).await;
        let (origin, pledge) =
            self.recording_strays(ctx, Some(answer.organization), Brought::Answer, taken).await?;
        let asked = self.saml_asked(&origin, answer.organization).await;
        let (provider, settings) = self.recording_refusal(ctx, &origin, asked).await?;
        let must_ask = matches!(origin.errand, Errand::Reauthenticate { .. });
        let expected = Expected {
            identity_provider: &identity_provider(&settings)?,
            service_provider: &self.service_provider(answer.organization),
            request: &pledge.request,
            authenticated_since: must_ask.then_some(origin.begun_at),
            now: ctx.now,
        };
        let ticket = self.new_token();
        let landed = match kt_saml::verify_in_stages(answer.response, &expected) {
            Ok(assertion) => {
                let is_first = self.use_up(&provider, &assertion).await?;
                landed(&provider, &settings, &assertion, is_first)
            }
            Err(refused) => Landed {
                passed: passed_before(refused.stage),
                sent: None,
                unverified: self.sealed_for_trial(&origin, &ticket.digest(), answer.response)?,
                said: Err(refused.why.to_string()),
            },
        };
        self.keep_errand(ctx, (&ticket, BETWEEN_OURS), origin, answer.browser, landed).await?;
        Ok(ticket)
    }

    /// Somebody goes on whose answer was verified. Whatever was wrong with it is `sso_refused`.
    pub async fn receive_saml(
        &self,
        ctx: &Ctx,
        ticket: &str,
        browser: Option<&str>,
    ) -> Result<SsoOutcome, Error> {
        let taken = self.take_errand::<Landed>(ctx, ticket, browser).await;
        let (origin, landed) = self.recording_strays(ctx, None, Brought::Answer, taken).await?;
        let mut trail = Trail::default();
        trail.passed("The answer came back to the browser that asked", "");
        for (step, good) in STEPS.iter().take(landed.passed) {
            trail.passed(step, *good);
        }
        if let Some(sent) = landed.sent {
            trail.sent("Assertion", sent);
        }
        if let Some(sealed) = landed.unverified {
            let opened = self.seal.open(&trial_place(&SecretDigest::of(ticket)), &sealed)?;
            trail.sent("Response, not verified", String::from_utf8_lossy(&opened).into());
        }
        // What follows them all is whom it names.
        let step = STEPS.get(landed.passed).map_or(WHO, |(step, _)| *step);
        let verified = landed.said.map_err(|why| Disbelief { step, why });
        self.receive(ctx, origin, trail, verified).await
    }

    /// The whole of a response, where somebody tries the provider out: what it says helps whoever looks for the mistake. What
    /// refuses a sign-in is kept nowhere.
    fn sealed_for_trial(
        &self,
        origin: &Origin,
        ticket: &SecretDigest,
        response: &str,
    ) -> Result<Option<String>, Error> {
        if !matches!(origin.errand, Errand::Test { .. }) {
            return Ok(None);
        }
        let Some(text) = kt_saml::unverified_response(response) else { return Ok(None) };
        self.draw(|random| self.seal.seal(&trial_place(ticket), text.as_bytes(), random)).map(Some)
    }

    /// An assertion counts once (SAML profiles, section 4.1.4.5): whether this is the first time.
    async fn use_up(&self, provider: &Provider, assertion: &VerifiedAssertion) -> Result<bool, Error> {
        let tx = self.store.begin_write().await?;
        let scope = format!("saml/{}", provider.id);
        let is_first = once::claim(&tx, &scope, &assertion.id, assertion.remember_until).await?;
        tx.commit().await?;
        Ok(is_first)
    }

    /// Who was asked, as it is at this moment, if the answer came back to the address of its organization.
    async fn saml_asked(
        &self,
        origin: &Origin,
        organization: &str,
    ) -> Result<(Provider, SamlSettings), Error> {
        let provider = self.provider_again(&self.store, origin).await?.ok_or_else(begun_otherwise)?;
        let settings = provider.details.saml().ok_or_else(begun_otherwise)?.clone();
        if self.identifier_of(&provider).await? != organization {
            let why = "the answer came back to the address of another organization";
            return Err(sso_refused().with_private(why));
        }
        Ok((provider, settings))
    }

    async fn identifier_of(&self, provider: &Provider) -> Result<String, Error> {
        let organization = organizations::find(&self.store, &provider.organization).await?;
        Ok(organization.ok_or_else(|| Error::not_found("organization"))?.identifier)
    }

    /// We, as the provider of an organization sees us.
    fn service_provider(&self, identifier: &str) -> ServiceProvider {
        let address = |part| self.saml_address(identifier, part).into();
        ServiceProvider {
            entity_id: address("metadata"),
            acs_url: address("acs"),
            logout_url: address("logout"),
        }
    }

    /// An address of the console that belongs to the SAML provider of an organization.
    fn saml_address(&self, identifier: &str, part: &str) -> Url {
        let mut url = self.console.page("/sso/saml");
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(identifier).push(part);
        }
        url
    }
}

/// What the response of a trial is sealed for: the one ticket with which it is shown.
fn trial_place(ticket: &SecretDigest) -> String {
    format!("sso_trials/{ticket}")
}

/// The provider as the verification needs it.
fn identity_provider(settings: &SamlSettings) -> Result<IdentityProvider, Error> {
    let certificates = kept_certificates(settings)?;
    let (entity, logout) = (&settings.entity_id, settings.logout_url.as_deref());
    let provider =
        IdentityProvider::new(entity, &settings.sso_url, logout, certificates).map_err(Error::internal)?;
    Ok(IdentityProvider { name_id_format: settings.name_id_format.clone(), ..provider })
}

/// Whose signatures are the provider's own.
fn kept_certificates(settings: &SamlSettings) -> Result<Vec<Certificate>, Error> {
    let certificates = settings.certificates.iter().map(|kept| Certificate::from_text(&kept.certificate));
    certificates.collect::<Result<_, _>>().map_err(Error::internal)
}

/// What came of an assertion that is verified, and that is used for the first time or not.
fn landed(
    provider: &Provider,
    settings: &SamlSettings,
    assertion: &VerifiedAssertion,
    is_first: bool,
) -> Landed {
    let (passed, said) = if is_first {
        (STEPS.len(), identity(&provider.settings.attributes, settings, assertion))
    } else {
        (STEPS.len() - 1, Err("the assertion was used before".to_owned()))
    };
    Landed { passed, sent: Some(as_sent(assertion)), unverified: None, said }
}

fn identity(
    names: &AttributeNames,
    settings: &SamlSettings,
    assertion: &VerifiedAssertion,
) -> Result<ExternalIdentity, String> {
    let first = |name: &str| assertion.values(name).next().map(str::to_owned);
    let name_as_email = || assertion.subject.is_email().then(|| assertion.subject.value.clone());
    let is_sent = |name: &str| {
        assertion.attributes.iter().any(|it| it.name == name || it.friendly_name.as_deref() == Some(name))
    };
    let groups = || assertion.values(&names.groups).map(str::to_owned).collect();
    let are_too_many = !is_sent(&names.groups) && is_sent(MORE_GROUPS);
    let context = assertion.authentication_context.clone();
    Ok(ExternalIdentity {
        issuer: assertion.issuer.clone(),
        subject: subject(settings, assertion)?,
        email: first(&names.email).or_else(name_as_email),
        // SAML has no word for it; an organization says so for its provider (`trust_email`).
        email_verified: false,
        name: first(&names.name),
        // Providers leave the attribute out where somebody is in no group.
        groups: (!are_too_many).then(groups),
        authenticated_at: Some(assertion.authenticated_at),
        methods: context.into_iter().chain(assertion.values(METHODS).map(str::to_owned)).collect(),
        session: assertion.session_index.clone(),
        ends_by: assertion.session_ends_at,
    })
}

/// The name that stays with somebody (STANDARDS SAML-13).
fn subject(settings: &SamlSettings, assertion: &VerifiedAssertion) -> Result<String, String> {
    let Some(name) = &settings.subject_attribute else {
        return if assertion.subject.is_transient() {
            Err("the provider names the person anew at every sign-in (a transient NameID): have it send a persistent \
                 one, or choose an attribute that tells people apart"
                .to_owned())
        } else {
            Ok(assertion.subject.value.clone())
        };
    };
    let mut values = assertion.values(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.to_owned()),
        (None, _) => Err(format!("the attribute {name}, which tells people apart, was not sent")),
        _ => Err(format!("the attribute {name}, which tells people apart, has several values")),
    }
}

/// What an assertion says, for people to read.
fn as_sent(assertion: &VerifiedAssertion) -> Value {
    let attributes: Map<String, Value> =
        assertion.attributes.iter().map(|it| (it.name.clone(), json!(it.values))).collect();
    json!({
        "issuer": assertion.issuer,
        "name_id": assertion.subject.value,
        "name_id_format": assertion.subject.format,
        "attributes": attributes,
        "authenticated_at": assertion.authenticated_at,
        "authentication_context": assertion.authentication_context,
        "session_index": assertion.session_index,
        "session_ends_at": assertion.session_ends_at,
    })
}
