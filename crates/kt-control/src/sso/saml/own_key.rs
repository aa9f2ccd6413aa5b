//! Our own key for what we say to an organization's SAML provider, and the one that is to take its place. A provider that reads
//! our metadata meanwhile knows both, so that nobody feels the change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::sso::{Protocol, ProviderDetails, SamlSettings, ends_soon};
use kt_saml::{Certificate, SigningKey};
use kt_store::identity_providers::{self, IdentityProvider as Provider};

use crate::control::Control;
use crate::sso::domains::owners_organization;
use crate::sso::{ProviderChange, ProviderView};
use crate::version::Expected;

/// What is done to our own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnKeyStep {
    /// Makes the next one, in place of a next one that there may be already.
    Make,
    /// Puts the next one in place of the present one.
    Use,
}

/// A certificate of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    /// Its SHA-256 fingerprint.
    pub fingerprint: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// By what a provider knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificates {
    /// That of the key that signs.
    pub present: OwnCertificate,
    /// That of the key that is to take its place.
    pub next: Option<OwnCertificate>,
}

impl OwnCertificates {
    /// Those that are kept for a provider.
    pub fn of(settings: &SamlSettings) -> Result<Self, Error> {
        let mut all = certificates(settings)?.into_iter().map(|certificate| OwnCertificate {
            fingerprint: certificate.fingerprint(),
            not_after: certificate.not_after,
        });
        let present = all.next().ok_or_else(no_key)?;
        Ok(Self { present, next: all.next() })
    }

    /// When the key ends that signs, if that is so near, or past, that somebody has to act.
    #[must_use]
    pub fn ends_soon(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.present.not_after).filter(|end| ends_soon(*end, now))
    }
}

impl Control {
    /// Makes the next key, or puts it in place of the present one. Refused with `no_next_key` where there is none.
    pub async fn change_saml_key(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        step: OwnKeyStep,
    ) -> Result<ProviderView, Error> {
        let organization = owners_organization(ctx)?;
        self.require_protocol(Protocol::Saml)?;
        let provider = identity_providers::of_protocol(&self.store, organization, Protocol::Saml).await?;
        let provider = provider.ok_or_else(|| Error::not_found("identity provider"))?;
        let version = provider.version.to_string();
        expected.check(&version)?;
        let kept = provider.details.saml().ok_or_else(|| Error::not_found("identity provider"))?.clone();
        let keys = self.kept_keys(&provider)?;
        let (secret, details) = match (step, keys.as_slice(), kept.next_certificate.clone()) {
            (OwnKeyStep::Make, [present, ..], _) => {
                let (next, certificate) = self.new_signing_key(ctx).await?;
                (format!("{present} {next}"), SamlSettings { next_certificate: Some(certificate), ..kept })
            }
            (OwnKeyStep::Use, [_, next], Some(own_certificate)) => {
                (next.clone(), SamlSettings { own_certificate, next_certificate: None, ..kept })
            }
            (OwnKeyStep::Use, ..) => return Err(no_next_key()),
            (OwnKeyStep::Make, ..) => return Err(no_key()),
        };
        let change = ProviderChange {
            details: Some(ProviderDetails::Saml(details)),
            secret: Some(secret),
            ..ProviderChange::default()
        };
        // Certificates and keys belong together: a change in between is not overwritten.
        self.change_identity_provider(ctx, &Expected::OneOf(vec![version]), Protocol::Saml, change).await
    }

    /// A new key of our own, as it is kept, and its certificate.
    pub(super) async fn new_signing_key(&self, ctx: &Ctx) -> Result<(String, String), Error> {
        let name = self.console.page("/").host_str().unwrap_or("keeptrusts").to_owned();
        let now = ctx.now;
        // Searching for two primes takes a while.
        let made = tokio::task::spawn_blocking(move || SigningKey::generate(&name, now)).await;
        let key = made.map_err(Error::internal)?.map_err(Error::internal)?;
        Ok((STANDARD.encode(key.pkcs8()), key.certificate().to_base64()))
    }

    /// The key that signs what we say to this provider.
    pub(super) fn signing_key(
        &self,
        provider: &Provider,
        settings: &SamlSettings,
    ) -> Result<SigningKey, Error> {
        let keys = self.kept_keys(provider)?;
        let pkcs8 = STANDARD.decode(keys.first().ok_or_else(no_key)?).map_err(Error::internal)?;
        let certificate = STANDARD.decode(&settings.own_certificate).map_err(Error::internal)?;
        SigningKey::from_parts(pkcs8, certificate).map_err(Error::internal)
    }

    /// The key that signs, and behind it the next one if there is one: they are sealed together, with a blank in between.
    fn kept_keys(&self, provider: &Provider) -> Result<Vec<String>, Error> {
        let opened = self.secret_of(provider)?.ok_or_else(no_key)?;
        let text = String::from_utf8(opened).map_err(Error::internal)?;
        Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
    }
}

/// What a provider may know us by: the certificate of the key that signs, and that of the next one.
pub(super) fn certificates(settings: &SamlSettings) -> Result<Vec<Certificate>, Error> {
    let all = std::iter::once(&settings.own_certificate).chain(&settings.next_certificate);
    all.map(|text| Certificate::from_text(text).map_err(Error::internal)).collect()
}

fn no_key() -> Error {
    Error::internal("a SAML provider has no key of ours")
}

fn no_next_key() -> Error {
    let message = "There is no next key. Make one, let the provider read our metadata, then use it.";
    Error::new(ErrorKind::Conflict, "no_next_key", message)
}
