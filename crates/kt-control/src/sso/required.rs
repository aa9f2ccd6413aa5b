//! Where an organization's identity provider is the only way in, and the ways past it that are kept for emergencies.

use kt_domain::actor::Role;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::{Error, ErrorKind};
use kt_store::memberships::Membership;
use kt_store::{Source, audit, identity_providers, memberships, organizations, users};
use serde_json::json;

use crate::authenticate::require_operator;
use crate::control::Control;

impl Control {
    /// Whether somebody with this address can come in through the organization's provider alone. Owners always keep a way
    /// past it, and so does everybody whose address is not in the organization's domains.
    pub(crate) async fn must_use_sso(
        &self,
        source: &impl Source,
        place: &Membership,
        email: &str,
    ) -> Result<bool, Error> {
        if place.role == Role::Owner {
            return Ok(false);
        }
        let provider = identity_providers::enabled(source, &place.organization).await?;
        let is_required = provider
            .is_some_and(|provider| provider.settings.required && self.offers(provider.details.protocol()));
        match EmailAddress::parse(email) {
            Ok(address) if is_required => {
                self.owns_domain(source, &place.organization, address.domain()).await
            }
            _ => Ok(false),
        }
    }

    /// Whether a password would get somebody nowhere: in none of their organizations.
    pub(crate) async fn is_password_useless(
        &self,
        source: &impl Source,
        user: &users::User,
    ) -> Result<bool, Error> {
        let places = memberships::of_user(source, &user.id).await?;
        for place in &places {
            if !self.must_use_sso(source, place, &user.email).await? {
                return Ok(false);
            }
        }
        Ok(!places.is_empty())
    }

    /// Refuses to give another address to somebody whom it would lead past the only way in.
    pub(crate) async fn require_free_address(
        &self,
        source: &impl Source,
        user: &users::User,
    ) -> Result<(), Error> {
        for place in &memberships::of_user(source, &user.id).await? {
            if self.must_use_sso(source, place, &user.email).await? {
                let message = "Your organization signs in with its identity provider alone, and knows you by this address. \
                               Ask an administrator to remove you and to let you come in anew with the other one.";
                return Err(Error::new(ErrorKind::Forbidden, "sso_required", message));
            }
        }
        Ok(())
    }

    /// Lets members sign in past the provider again, for the operator when the provider lets nobody in (SPEC section 14).
    /// The provider stays as it is otherwise. `false` where it was not required.
    pub async fn disable_required_sso(&self, ctx: &Ctx, identifier: &str) -> Result<bool, Error> {
        require_operator(ctx)?;
        let organization = organizations::by_identifier(&self.store, identifier).await?;
        let organization = organization.ok_or_else(|| Error::not_found("organization"))?.id;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, &organization).await?;
        let provider = identity_providers::enabled(&tx, &organization).await?;
        let Some(mut provider) = provider.filter(|provider| provider.settings.required) else {
            return Ok(false);
        };
        provider.settings.required = false;
        if !identity_providers::replace(&tx, &provider, ctx.now).await? {
            return Err(Error::internal("the provider was changed although its organization was held still"));
        }
        let record = self
            .record(ctx, AuditAction::SsoRequiredLifted, provider.id.as_str())
            .with_change(json!({ "required": true }), json!({ "required": false }));
        audit::append(&tx, Some(&organization), &record).await?;
        self.commit_revocation(tx).await?;
        Ok(true)
    }
}

/// The answer to a right password, or passkey, where the provider is the only way in.
pub(crate) fn sso_required() -> Error {
    let message = "Your organization signs in with its identity provider alone. Choose “Sign in with SSO”.";
    Error::new(ErrorKind::Forbidden, "sso_required", message)
}
