//! "Sign in with Google": the same flow, with the deployment's own client. It vouches for accounts that there are, with an
//! address in a domain that their organization has verified, and counts as one factor.

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::secret::SecretDigest;
use kt_domain::sso::{AttributeNames, ClientAuthentication, IdentitySource, OidcSettings};

use super::Party;
use crate::control::Control;
use crate::sso::errand::{Departure, Errand, Origin, SsoJourney};
use crate::sso::{GoogleClient, sso_unavailable};

impl Control {
    /// Whether this deployment has a client at Google.
    #[must_use]
    pub fn offers_google(&self) -> bool {
        self.sso.google.is_some()
    }

    /// The way to Google.
    pub async fn begin_google(&self, ctx: &Ctx, journey: SsoJourney<'_>) -> Result<Departure, Error> {
        let errand = Errand::SignIn {
            device: journey.device.as_deref().map(SecretDigest::of),
            return_to: journey.return_to.map(|page| page.as_str().to_owned()),
        };
        self.depart_to_google(ctx, errand, journey.browser).await
    }

    pub(in crate::sso) async fn depart_to_google(
        &self,
        ctx: &Ctx,
        errand: Errand,
        browser: Option<&str>,
    ) -> Result<Departure, Error> {
        let party = self.google_party()?;
        self.count_begun(ctx).await?;
        let origin = Origin {
            source: IdentitySource::Google,
            organization: None,
            version: 0,
            errand,
            begun_at: ctx.now,
        };
        self.depart_to(ctx, &party, origin, browser).await
    }

    pub(super) fn google_party(&self) -> Result<Party, Error> {
        let google = self.sso.google.as_ref().ok_or_else(sso_unavailable)?;
        Ok(Party {
            key: "google".to_owned(),
            provider: None,
            settings: OidcSettings {
                issuer: google.issuer.clone(),
                client_id: google.client_id.clone(),
                authentication: ClientAuthentication::ClientSecretBasic,
                endpoints: None,
            },
            secret: Some(google.client_secret.clone().into_bytes()),
            redirect_uri: self.console.page("/sso/google/callback"),
            attributes: AttributeNames::default(),
            wants_groups: false,
            wanted_words: Vec::new(),
            is_google: true,
        })
    }

    /// Whether this is Google's issuer, whoever has set it up: the deployment or an organization. Its documentation has no
    /// `prompt` that makes it ask again, and it tells no `auth_time` unless an application was approved for that.
    pub(in crate::sso) fn is_google(&self, issuer: &str) -> bool {
        issuer == GoogleClient::ISSUER
            || self.sso.google.as_ref().is_some_and(|google| google.issuer == issuer)
    }
}
