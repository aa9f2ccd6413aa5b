//! An organization's SAML provider as its owners set it up, and what the provider has to know about us.

use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::network::reach::Reach;
use kt_domain::sso::{
    Protocol, ProviderDetails, ProviderSettings, SamlCertificate, SamlSettings, is_web_address,
};
use kt_saml::{Certificate, IdentityProvider, MetadataError};
use kt_store::identity_providers;
use kt_store::organizations;
use url::Url;

use super::kept_certificates;
use super::own_key::certificates;
use crate::control::Control;
use crate::sso::domains::owners_organization;
use crate::sso::{ProviderChange, ProviderView, fetch};
use crate::version::Expected;

/// A SAML provider as it is to be.
pub struct NewSamlProvider {
    /// Whether people come in through it; as it is with `None`.
    pub enabled: Option<bool>,
    /// What both protocols share; as it is with `None`.
    pub settings: Option<ProviderSettings>,
    /// How it is described.
    pub source: SamlSource,
    /// The attribute that tells people apart, where that is not their `NameID`: as it is with `None`, none where it is empty.
    pub subject_attribute: Option<String>,
    /// Whether our requests are signed: as it is with `None`, and at first if the provider wants that.
    pub sign_requests: Option<bool>,
}

/// How a provider is described.
pub enum SamlSource {
    /// As it is kept.
    Kept,
    /// The same, and the address of its metadata is forgotten.
    KeptWithoutAddress,
    /// By what it publishes at an address. It is read now.
    Address(String),
    /// By what it publishes at the address that is kept, if that is still what somebody has seen
    /// ([`SamlReading::seen`](super::SamlReading::seen)).
    Seen(String),
    /// By what it publishes, pasted.
    Document(String),
    /// By hand.
    Values {
        /// Its name.
        entity_id: String,
        /// Where people are sent.
        sso_url: String,
        /// Where answers to requests to log out go.
        logout_url: Option<String>,
        /// Its certificates, in PEM form, one after the other; empty for those that are kept of the provider of this name.
        certificates: String,
    },
}

/// What a provider has to know about us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamlPlace {
    /// Our name, where our metadata is as well.
    pub entity_id: String,
    /// Where it has browsers post its responses.
    pub acs_url: String,
    /// Where it sends requests to log out.
    pub logout_url: String,
}

impl Control {
    /// Puts a SAML provider in place of the present one. Metadata at an address are read now: refused with
    /// [`kt_domain::error::ErrorKind::Invalid`] and what is wrong where that cannot be done.
    pub async fn put_saml_provider(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        new: NewSamlProvider,
    ) -> Result<ProviderView, Error> {
        let organization = owners_organization(ctx)?;
        self.require_protocol(Protocol::Saml)?;
        let kept = identity_providers::of_protocol(&self.store, organization, Protocol::Saml).await?;
        let kept = kept.as_ref().and_then(|kept| kept.details.saml());
        let is_new = kept.is_none();
        let described = self.described(ctx, new.source, kept).await?;
        let (secret, own_certificate) = if let Some(kept) = kept {
            (None, kept.own_certificate.clone())
        } else {
            let (key, certificate) = self.new_signing_key(ctx).await?;
            (Some(key), certificate)
        };
        let next_certificate = kept.and_then(|kept| kept.next_certificate.clone());
        let details = SamlSettings {
            sign_requests: new
                .sign_requests
                .unwrap_or_else(|| kept.map_or(described.sign_requests, |kept| kept.sign_requests)),
            subject_attribute: match new.subject_attribute {
                Some(name) => Some(name).filter(|name| !name.is_empty()),
                None => kept.and_then(|kept| kept.subject_attribute.clone()),
            },
            own_certificate,
            next_certificate,
            ..described
        };
        details.validate(self.sso.outbound.reach() == Reach::Private)?;
        let change = ProviderChange {
            enabled: new.enabled,
            settings: new.settings.or_else(|| is_new.then(at_first)),
            details: Some(ProviderDetails::Saml(details)),
            secret,
        };
        self.change_identity_provider(ctx, expected, Protocol::Saml, change).await
    }

    /// The provider as it is described, before what is ours to decide.
    async fn described(
        &self,
        ctx: &Ctx,
        source: SamlSource,
        kept: Option<&SamlSettings>,
    ) -> Result<SamlSettings, Error> {
        let present = || {
            let message =
                "Give the address of the provider's metadata, paste them, or write its values by hand.";
            kept.cloned().ok_or_else(|| Error::invalid("metadata_url", message))
        };
        let provider = match source {
            SamlSource::Kept => return present(),
            SamlSource::KeptWithoutAddress => return Ok(SamlSettings { metadata_url: None, ..present()? }),
            SamlSource::Address(address) => return self.published_at(ctx, address.trim()).await,
            SamlSource::Seen(seen) => return self.seen_again(ctx, &present()?, &seen).await,
            SamlSource::Document(document) => {
                let provider = IdentityProvider::from_metadata(document.as_bytes(), ctx.now);
                provider.map_err(|why| Error::invalid("metadata", why.to_string()))?
            }
            SamlSource::Values { entity_id, sso_url, logout_url, certificates } => {
                let same = kept.filter(|kept| kept.entity_id == entity_id.trim());
                let certificates = match same {
                    Some(kept) if certificates.trim().is_empty() => kept_certificates(kept)?,
                    _ => Certificate::all_in(&certificates)
                        .map_err(|why| Error::invalid("certificates", why.to_string()))?,
                };
                let logout = logout_url.as_deref().filter(|address| !address.trim().is_empty());
                let provider = IdentityProvider::new(&entity_id, &sso_url, logout, certificates);
                let provider = provider.map_err(|why| by_hand(&why, &sso_url))?;
                let name_id_format = same.and_then(|kept| kept.name_id_format.clone());
                IdentityProvider { name_id_format, ..provider }
            }
        };
        Ok(settings_of(&provider, None))
    }

    /// What a provider publishes at an address at this moment.
    pub(super) async fn published_at(&self, ctx: &Ctx, address: &str) -> Result<SamlSettings, Error> {
        let document = self.fetched_metadata(address).await?;
        let provider = IdentityProvider::from_metadata(&document, ctx.now);
        let provider = provider.map_err(|why| Error::invalid("metadata_url", why.to_string()))?;
        Ok(settings_of(&provider, Some(address.to_owned())))
    }

    async fn fetched_metadata(&self, address: &str) -> Result<Vec<u8>, Error> {
        let is_private = self.sso.outbound.reach() == Reach::Private;
        let url = Url::parse(address).ok().filter(|_| is_web_address(address, is_private));
        let url = url.ok_or_else(|| {
            Error::invalid(
                "metadata_url",
                "Write an https address of the provider, without user name and without `#`.",
            )
        })?;
        let fetched = fetch::get(&self.sso.outbound, &url, &[]).await;
        fetched.map_err(|why| Error::invalid("metadata_url", why.to_string()))
    }

    /// What the organization's SAML provider has to know about us; known before there is one.
    pub async fn saml_place(&self, ctx: &Ctx) -> Result<SamlPlace, Error> {
        let id = ctx.require(Permission::ReadSettings)?;
        let organization = organizations::find(&self.store, id).await?;
        let identifier = organization.ok_or_else(|| Error::not_found("organization"))?.identifier;
        let us = self.service_provider(&identifier);
        Ok(SamlPlace { entity_id: us.entity_id, acs_url: us.acs_url, logout_url: us.logout_url })
    }

    /// What we publish for the provider of the organization that people call so. There is such a document for every name, so
    /// that it does not tell which organizations there are. It does tell where SAML is set up: our key is in it from then on,
    /// which the provider has to know before anybody comes in, and the next one beside it while there is one. So whoever looks
    /// for names is counted here as they are where sign-ins begin.
    pub async fn saml_metadata(&self, ctx: &Ctx, identifier: &str) -> Result<String, Error> {
        self.require_protocol(Protocol::Saml)?;
        self.count_begun(ctx).await?;
        let organization = organizations::by_identifier(&self.store, identifier).await?;
        let provider = match &organization {
            Some(found) => identity_providers::of_protocol(&self.store, &found.id, Protocol::Saml).await?,
            None => None,
        };
        let settings = provider.as_ref().and_then(|provider| provider.details.saml());
        let keys = settings.map(certificates).transpose()?.unwrap_or_default();
        let signs = settings.is_some_and(|settings| settings.sign_requests);
        Ok(self.service_provider(identifier).metadata(&keys, signs))
    }
}

/// What holds until owners decide otherwise. SAML has no word for an address that was verified; whoever is trusted to say who
/// somebody is in the organization's own domains is trusted with that as well.
fn at_first() -> ProviderSettings {
    ProviderSettings { trust_email: true, ..ProviderSettings::default() }
}

fn settings_of(provider: &IdentityProvider, metadata_url: Option<String>) -> SamlSettings {
    let certificates = provider.certificates.iter().map(|certificate| SamlCertificate {
        certificate: certificate.to_base64(),
        fingerprint: certificate.fingerprint(),
        not_after: certificate.not_after,
    });
    SamlSettings {
        entity_id: provider.entity_id.clone(),
        sso_url: provider.sso_url.to_string(),
        logout_url: provider.logout_url.as_ref().map(Url::to_string),
        certificates: certificates.collect(),
        metadata_url,
        name_id_format: provider.name_id_format.clone(),
        subject_attribute: None,
        sign_requests: provider.wants_signed_requests,
        own_certificate: String::new(),
        next_certificate: None,
    }
}

/// What is wrong with values that were written by hand, at the field that has it.
fn by_hand(why: &MetadataError, sso_url: &str) -> Error {
    let field = match why {
        MetadataError::EntityId => "entity_id",
        MetadataError::Address(address) if sso_url.starts_with(address.as_str()) => "sso_url",
        MetadataError::Address(_) => "logout_url",
        _ => "certificates",
    };
    Error::invalid(field, why.to_string())
}
