//! An organization's OIDC provider as its owners set it up.

use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::sso::{
    ClientAuthentication, OidcEndpoints, OidcSettings, Protocol, ProviderDetails, ProviderSettings,
};
use kt_store::{identity_providers, organizations};
use url::Url;

use super::metadata::{discover, is_private, issuer_of};
use crate::control::Control;
use crate::sso::domains::owners_organization;
use crate::sso::{ProviderChange, ProviderView};
use crate::version::Expected;

/// An OIDC provider as it is to be.
pub struct NewOidcProvider {
    /// Whether people come in through it; as it is with `None`.
    pub enabled: Option<bool>,
    /// What both protocols share; as it is with `None`.
    pub settings: Option<ProviderSettings>,
    /// The issuer, or the address of its metadata.
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// How we prove that; as it is with `None`.
    pub authentication: Option<ClientAuthentication>,
    /// Where it is reached; `None` where its metadata says so.
    pub endpoints: Option<OidcEndpoints>,
    /// The client secret: kept as it is with `None`, removed where it is empty.
    pub client_secret: Option<String>,
}

/// What a provider has to know about us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcPlace {
    /// Where it leads browsers back to.
    pub redirect_uri: Url,
    /// Where it sends its logout tokens.
    pub back_channel_logout_uri: Url,
}

impl Control {
    /// Puts an OIDC provider in place of the present one. Its metadata is read now, where no endpoints are given: refused
    /// with [`kt_domain::error::ErrorKind::Invalid`] and what is wrong where that cannot be done.
    pub async fn put_oidc_provider(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        new: NewOidcProvider,
    ) -> Result<ProviderView, Error> {
        let organization = owners_organization(ctx)?;
        self.require_protocol(Protocol::Oidc)?;
        let kept = identity_providers::of_protocol(&self.store, organization, Protocol::Oidc).await?;
        let present =
            kept.as_ref().and_then(|kept| kept.details.oidc()).map(|settings| settings.authentication);
        let mut oidc = OidcSettings {
            issuer: issuer_of(new.issuer.trim()).to_owned(),
            client_id: new.client_id,
            authentication: new.authentication.or(present).unwrap_or_default(),
            endpoints: new.endpoints,
        };
        oidc.validate(is_private(&self.sso.outbound))?;
        if oidc.endpoints.is_none() {
            let found = discover(&self.sso.outbound, &oidc.issuer).await;
            let (issuer, _) = found.map_err(|why| Error::invalid("issuer", why.to_string()))?;
            oidc.issuer = issuer;
        }
        let change = ProviderChange {
            enabled: new.enabled,
            settings: new.settings,
            details: Some(ProviderDetails::Oidc(oidc)),
            secret: new.client_secret,
        };
        self.change_identity_provider(ctx, expected, Protocol::Oidc, change).await
    }

    /// What the organization's OIDC provider has to know about us; known before there is one.
    pub async fn oidc_place(&self, ctx: &Ctx) -> Result<OidcPlace, Error> {
        let id = ctx.require(Permission::ReadSettings)?;
        let organization = organizations::find(&self.store, id).await?;
        let identifier = organization.ok_or_else(|| Error::not_found("organization"))?.identifier;
        Ok(OidcPlace {
            redirect_uri: self.oidc_address(&identifier, "callback"),
            back_channel_logout_uri: self.oidc_address(&identifier, "logout"),
        })
    }
}
