//! What a SAML provider publishes by now, beside what is believed of it. A new certificate counts once an owner has seen it, and
//! that one alone: what is taken over is what was shown.

use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::secret::SecretDigest;
use kt_domain::sso::{Protocol, SamlSettings};
use kt_store::identity_providers;

use crate::control::Control;
use crate::sso::domains::owners_organization;

/// What was read.
pub struct SamlReading {
    /// What is believed.
    pub present: SamlSettings,
    /// What stands at its address at this moment.
    pub published: SamlSettings,
    /// By this whoever has looked at it says that they mean it.
    pub seen: String,
    /// The version of the provider's settings beside which it was read.
    pub version: String,
}

impl SamlReading {
    /// Whether it differs from what is believed.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        let told = |settings: &SamlSettings| {
            let certificates: Vec<_> =
                settings.certificates.iter().map(|certificate| certificate.fingerprint.clone()).collect();
            let addresses = [Some(settings.sso_url.clone()), settings.logout_url.clone()];
            (settings.entity_id.clone(), addresses, settings.name_id_format.clone(), certificates)
        };
        told(&self.present) != told(&self.published)
    }
}

impl Control {
    /// Reads what the organization's provider publishes at the address that is kept. Nothing is changed by it.
    pub async fn read_saml_again(&self, ctx: &Ctx) -> Result<SamlReading, Error> {
        let organization = owners_organization(ctx)?;
        self.require_protocol(Protocol::Saml)?;
        let provider = identity_providers::of_protocol(&self.store, organization, Protocol::Saml).await?;
        let provider = provider.ok_or_else(|| Error::not_found("identity provider"))?;
        let present = provider.details.saml().ok_or_else(|| Error::not_found("identity provider"))?.clone();
        let published = self.published_again(ctx, &present).await?;
        let (seen, version) = (name_of(&published)?, provider.version.to_string());
        Ok(SamlReading { present, published, seen, version })
    }

    /// What the provider publishes, if that is still what was seen.
    pub(super) async fn seen_again(
        &self,
        ctx: &Ctx,
        kept: &SamlSettings,
        seen: &str,
    ) -> Result<SamlSettings, Error> {
        let published = self.published_again(ctx, kept).await?;
        if name_of(&published)? == seen {
            return Ok(published);
        }
        let message = "What the provider publishes has changed since you looked. Read it again.";
        Err(Error::new(ErrorKind::Conflict, "metadata_changed", message))
    }

    async fn published_again(&self, ctx: &Ctx, kept: &SamlSettings) -> Result<SamlSettings, Error> {
        let message = "No address of the provider's metadata is kept. Give one.";
        let address = kept.metadata_url.as_deref().ok_or_else(|| Error::invalid("metadata_url", message))?;
        self.published_at(ctx, address).await
    }
}

fn name_of(published: &SamlSettings) -> Result<String, Error> {
    let text = serde_json::to_string(published).map_err(Error::internal)?;
    Ok(SecretDigest::of(&text).to_string())
}
