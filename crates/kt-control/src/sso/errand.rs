//! The way to a provider and back: what was begun is kept on the server, works once, and is bound to the browser that
//! began it (STANDARDS OIDC-01, SAML-09; ATTACKS I17, I25).

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, SessionId};
use kt_domain::lockout::network_of;
use kt_domain::return_to::ReturnTo;
use kt_domain::secret::{SecretDigest, Token};
use kt_domain::sso::{IdentitySource, Protocol, ProviderDetails};
use kt_store::identity_providers::{self, IdentityProvider};
use kt_store::once::{self, OneTime};
use kt_store::sessions::Federation;
use kt_store::{Tx, limits, sessions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::trial::{TestReport, Trail};
use super::{bond_of, sso_refused, sso_unavailable};
use crate::control::Control;
use crate::sign_in::Vouched;

/// What the records are kept as.
const PURPOSE: &str = "sso";

/// How long somebody may take at the provider.
pub(super) const AT_PROVIDER: Duration = Duration::from_mins(10);

/// How long a browser may take from an address of ours to the next.
pub(super) const BETWEEN_OURS: Duration = Duration::from_mins(1);

/// How many ways to providers one network may begin in a quarter of an hour, and documents for them read.
const BEGUN: i64 = 1000;
const WINDOW: Duration = Duration::from_mins(15);

/// Somebody who wants to sign in through a provider.
pub struct SsoJourney<'a> {
    /// Where they want to go afterwards.
    pub return_to: Option<&'a ReturnTo>,
    /// The secret of a device that has signed in before.
    pub device: Option<String>,
    /// What their browser keeps of an earlier way to a provider.
    pub browser: Option<&'a str>,
}

/// The way to a provider.
pub struct Departure {
    /// Where the browser goes.
    pub to: Url,
    /// What it has to keep until it comes back.
    pub browser: String,
}

/// How a trial of a provider begins.
pub enum Trial {
    /// At the provider.
    Begun(Departure),
    /// Not at all: the provider could not even be asked where it is. What was found is told at once.
    Over(TestReport),
}

/// What somebody is on the way for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Errand {
    /// To sign in at the console, on a device that is known by this where it has signed in before.
    SignIn { device: Option<SecretDigest>, return_to: Option<String> },
    /// To prove again who they are, in this session.
    Reauthenticate { session: SessionId, return_to: Option<String> },
    /// To try the provider out, in this session, without signing in.
    Test { session: SessionId },
}

/// Who comes back from where, and what for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Who is to vouch.
    pub(crate) source: IdentitySource,
    /// Whose provider that is; none for Google.
    pub(crate) organization: Option<OrganizationId>,
    /// The version of the provider's settings under which it was begun.
    pub(crate) version: i64,
    /// What for.
    pub(crate) errand: Errand,
    /// When it was begun.
    pub(crate) begun_at: Timestamp,
}

/// What is kept of a way to a provider.
#[derive(Serialize, Deserialize)]
struct Kept {
    origin: Origin,
    bond: SecretDigest,
    /// What its protocol compares the answer with, each in a form of its own.
    protocol: Value,
}

impl Origin {
    /// A way to an organization's provider.
    pub(crate) fn of(provider: &IdentityProvider, errand: Errand, now: Timestamp) -> Self {
        Self {
            source: IdentitySource::Provider(provider.id.clone()),
            organization: Some(provider.organization.clone()),
            version: provider.version,
            errand,
            begun_at: now,
        }
    }
}

impl Control {
    /// The way to the provider of the organization that people call so. One answer, `sso_unavailable`, where there is no such
    /// organization, no provider, or none that is turned on.
    pub async fn begin_sso(
        &self,
        ctx: &Ctx,
        organization: &str,
        journey: SsoJourney<'_>,
    ) -> Result<Departure, Error> {
        // First: whoever looks for organizations by their names is counted for those that there are not as well.
        self.count_begun(ctx).await?;
        let provider = identity_providers::enabled_at(&self.store, organization).await?;
        let provider = provider.filter(|provider| self.offers(provider.details.protocol()));
        let provider = provider.ok_or_else(sso_unavailable)?;
        let errand = Errand::SignIn {
            device: journey.device.as_deref().map(SecretDigest::of),
            return_to: journey.return_to.map(|page| page.as_str().to_owned()),
        };
        self.depart(ctx, &provider, errand, journey.browser).await
    }

    /// The way back to the provider through which the session was opened that asks, to prove again who its holder is.
    pub async fn begin_sso_reauthentication(
        &self,
        ctx: &Ctx,
        journey: SsoJourney<'_>,
    ) -> Result<Departure, Error> {
        let person = ctx.require_person()?;
        self.count_begun(ctx).await?;
        let live = sessions::find(&self.store, &person.session).await?;
        let federation = live.and_then(|live| live.federation).ok_or_else(not_through_provider)?;
        if !self.can_ask_again(&federation) {
            return Err(cannot_ask_again());
        }
        let errand = Errand::Reauthenticate {
            session: person.session.clone(),
            return_to: journey.return_to.map(|page| page.as_str().to_owned()),
        };
        match federation.source {
            IdentitySource::Google => self.depart_to_google(ctx, errand, journey.browser).await,
            IdentitySource::Provider(id) => {
                let provider = identity_providers::find(&self.store, &id).await?;
                let provider = provider
                    .filter(|provider| provider.enabled && self.offers(provider.details.protocol()))
                    .ok_or_else(sso_unavailable)?;
                self.depart(ctx, &provider, errand, journey.browser).await
            }
        }
    }

    /// Whether whoever vouched for a session can be asked to let its holder prove again who they are.
    pub(crate) fn can_ask_again(&self, federation: &Federation) -> bool {
        !self.is_google(&federation.issuer)
    }

    /// The way to the organization's provider of this protocol, turned on or not, to try it out.
    pub async fn begin_sso_test(
        &self,
        ctx: &Ctx,
        protocol: Protocol,
        browser: Option<&str>,
    ) -> Result<Trial, Error> {
        let organization = ctx.require(Permission::ChangeSettings)?;
        self.require_protocol(protocol)?;
        let session = ctx.require_person()?.session.clone();
        self.count_begun(ctx).await?;
        let provider = identity_providers::of_protocol(&self.store, organization, protocol).await?;
        let provider = provider.ok_or_else(|| Error::not_found("identity provider"))?;
        let errand = Errand::Test { session };
        if let ProviderDetails::Oidc(settings) = &provider.details
            && let Err(disbelief) = self.look_at_metadata(ctx, &provider, settings).await?
        {
            let origin = Origin::of(&provider, errand, ctx.now);
            let report = self.report(ctx, &origin, Trail::default(), Err(disbelief)).await?;
            return Ok(Trial::Over(report));
        }
        self.depart(ctx, &provider, errand, browser).await.map(Trial::Begun)
    }

    async fn depart(
        &self,
        ctx: &Ctx,
        provider: &IdentityProvider,
        errand: Errand,
        browser: Option<&str>,
    ) -> Result<Departure, Error> {
        match &provider.details {
            ProviderDetails::Oidc(settings) => {
                self.depart_by_oidc(ctx, provider, settings, errand, browser).await
            }
            ProviderDetails::Saml(settings) => {
                self.depart_by_saml(ctx, provider, settings, errand, browser).await
            }
        }
    }

    /// Counts the ways that are begun from a network, before anything is asked of a provider.
    pub(crate) async fn count_begun(&self, ctx: &Ctx) -> Result<(), Error> {
        let Some(network) = ctx.client.ip.map(network_of) else { return Ok(()) };
        let tx = self.store.begin_write().await?;
        let begun = limits::count(&tx, &format!("sso_begun/{network}"), WINDOW, ctx.now).await?;
        tx.commit().await?;
        if begun > BEGUN {
            let message = "Too many sign-ins from your network. Wait a quarter of an hour, then try again.";
            let refusal = Error::new(ErrorKind::TooManyRequests, "too_many_attempts", message);
            return Err(refusal.with_retry_after(WINDOW));
        }
        Ok(())
    }

    /// Keeps what was begun, under `state`, for so long; what the browser has to keep. It keeps one secret for all ways that it
    /// begins at the same time, in several tabs.
    pub(crate) async fn keep_errand<P: Serialize>(
        &self,
        ctx: &Ctx,
        (state, lifetime): (&Token, Duration),
        origin: Origin,
        browser: Option<&str>,
        protocol: P,
    ) -> Result<String, Error> {
        let browser = match browser.filter(|kept| kept.len() == BROWSER_SECRET) {
            Some(kept) => kept.to_owned(),
            None => self.new_token().expose().to_owned(),
        };
        let tx = self.store.begin_write().await?;
        let subject = origin.source.to_string();
        let protocol = serde_json::to_value(protocol).map_err(Error::internal)?;
        let kept = Kept { origin, bond: bond_of(&browser), protocol };
        let record = OneTime {
            digest: state.digest(),
            purpose: PURPOSE,
            subject: &subject,
            epoch: None,
            data: &kept,
            created_at: ctx.now,
            expires_at: ctx.now + lifetime,
        };
        once::issue(&tx, &record).await?;
        tx.commit().await?;
        Ok(browser)
    }

    /// Uses up what was begun under `state`. Refused where it was used, has expired, or was begun by another browser: for
    /// that one it stays as it is.
    pub(crate) async fn take_errand<P: DeserializeOwned>(
        &self,
        ctx: &Ctx,
        state: &str,
        browser: Option<&str>,
    ) -> Result<(Origin, P), Error> {
        let digest = SecretDigest::of(state);
        let tx = self.store.begin_write().await?;
        let kept = once::consume::<Kept>(&tx, PURPOSE, &digest, ctx.now).await?;
        let kept =
            kept.ok_or_else(|| sso_refused().with_private("the state is unknown, used or too old"))?.data;
        if browser.map(bond_of) != Some(kept.bond) {
            return Err(sso_refused().with_private("another browser began this"));
        }
        let protocol = serde_json::from_value(kept.protocol).map_err(|_| begun_otherwise())?;
        tx.commit().await?;
        Ok((kept.origin, protocol))
    }

    /// Ends what is kept of ways to a source of which its protocol keeps something that `ends` says is over.
    pub(crate) async fn end_errands<P: DeserializeOwned>(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        source: &IdentitySource,
        ends: impl Fn(P) -> bool,
    ) -> Result<(), Error> {
        for (state, kept) in once::of_subject::<Kept>(tx, PURPOSE, &source.to_string(), ctx.now).await? {
            if serde_json::from_value(kept.protocol).is_ok_and(&ends) {
                once::consume::<Kept>(tx, PURPOSE, &state, ctx.now).await?;
            }
        }
        Ok(())
    }

    /// Whether a source vouches still: its provider is there, turned on and offered, and as it was where the version is told.
    pub(crate) async fn still_vouches(
        &self,
        source: &impl kt_store::Source,
        vouched: &Vouched,
    ) -> Result<bool, Error> {
        let IdentitySource::Provider(id) = &vouched.federation.source else {
            return Ok(self.offers_google());
        };
        let provider = identity_providers::find(source, id).await?;
        Ok(provider.is_some_and(|provider| {
            provider.enabled
                && self.offers(provider.details.protocol())
                && vouched.version.is_none_or(|version| version == provider.version)
        }))
    }

    /// Whether the deployment still offers what has vouched for a session.
    pub(crate) async fn still_offers(
        &self,
        source: &impl kt_store::Source,
        vouches: &IdentitySource,
    ) -> Result<bool, Error> {
        let IdentitySource::Provider(id) = vouches else { return Ok(self.offers_google()) };
        if Protocol::ALL.iter().all(|protocol| self.offers(*protocol)) {
            return Ok(true);
        }
        let provider = identity_providers::find(source, id).await?;
        Ok(provider.is_some_and(|provider| self.offers(provider.details.protocol())))
    }

    /// The provider of somebody who comes back, as it is at this moment. Refused where it was turned off, removed or changed
    /// since; a test also reaches one that is turned off.
    pub(crate) async fn provider_again(
        &self,
        tx: &impl kt_store::Source,
        origin: &Origin,
    ) -> Result<Option<IdentityProvider>, Error> {
        let IdentitySource::Provider(id) = &origin.source else { return Ok(None) };
        let is_test = matches!(origin.errand, Errand::Test { .. });
        let provider = identity_providers::find(tx, id).await?.filter(|provider| {
            provider.version == origin.version
                && (provider.enabled || is_test)
                && self.offers(provider.details.protocol())
        });
        let changed = || sso_refused().with_private("the provider was changed or turned off meanwhile");
        provider.map(Some).ok_or_else(changed)
    }
}

/// The length of what a browser keeps: a token.
const BROWSER_SECRET: usize = 43;

/// An answer in the words of one protocol to what was asked in those of another.
pub(crate) fn begun_otherwise() -> Error {
    sso_refused().with_private("it was begun by another protocol")
}

fn cannot_ask_again() -> Error {
    let message = "Your identity provider cannot be asked again who you are. Confirm with a second factor of your own, or sign \
                   in with your password.";
    Error::new(ErrorKind::Conflict, "provider_cannot_ask", message)
}

fn not_through_provider() -> Error {
    let message =
        "This session was not opened through an identity provider. Confirm with your password or passkey.";
    Error::new(ErrorKind::Conflict, "not_through_provider", message)
}
