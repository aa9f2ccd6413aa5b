//! An organization's identity provider as its owners set it up: shown, set, turned on and off, removed.

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{IdentityProviderId, OrganizationId};
use kt_domain::security_choices::difference;
use kt_domain::sso::{IdentitySource, Protocol, ProviderDetails, ProviderSettings, PublishedProblem};
use kt_store::identity_providers::{self, IdentityProvider};
use kt_store::sessions::VouchedFor;
use kt_store::{StoreError, Tx, audit, domains, external_identities, organizations, sessions};
use serde_json::{Value, json};

use super::domains::owners_organization;
use crate::control::Control;
use crate::version::Expected;

/// A provider as it is set up; never its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderView {
    /// Its identifier.
    pub id: IdentityProviderId,
    /// Whether people come in through it.
    pub enabled: bool,
    /// What both protocols share.
    pub settings: ProviderSettings,
    /// What only its protocol needs.
    pub details: ProviderDetails,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// When somebody last came through it.
    pub used_at: Option<Timestamp>,
    /// How many accounts it is linked to.
    pub linked: i64,
    /// Why what it publishes cannot be had at this moment; nobody comes in through it meanwhile.
    pub problem: Option<PublishedProblem>,
    /// Changes with every change.
    pub version: String,
}

/// What is to be different at a provider; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderChange {
    /// Whether people come in through it.
    pub enabled: Option<bool>,
    /// What both protocols share.
    pub settings: Option<ProviderSettings>,
    /// What only its protocol needs, already validated; without it a provider that is not there is not made.
    pub details: Option<ProviderDetails>,
    /// Its secret; removed where it is empty.
    pub secret: Option<String>,
}

impl ProviderChange {
    /// Other settings.
    #[must_use]
    pub fn to(settings: ProviderSettings) -> Self {
        Self { settings: Some(settings), ..Self::default() }
    }

    /// Turned on, or off.
    #[must_use]
    pub fn turned(enabled: bool) -> Self {
        Self { enabled: Some(enabled), ..Self::default() }
    }

    /// Whether it turns a provider off and does nothing else.
    fn only_turns_off(&self) -> bool {
        *self == Self::turned(false)
    }
}

/// The version of a provider that is not there.
const NONE: &str = "0";

impl Control {
    /// The organization's provider of this protocol. [`ErrorKind::NotFound`] where there is none.
    pub async fn identity_provider(&self, ctx: &Ctx, protocol: Protocol) -> Result<ProviderView, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        self.require_protocol(protocol)?;
        let provider = identity_providers::of_protocol(&self.store, organization, protocol).await?;
        self.view_of_provider(provider.ok_or_else(no_provider)?).await
    }

    async fn view_of_provider(&self, provider: IdentityProvider) -> Result<ProviderView, Error> {
        let source = IdentitySource::Provider(provider.id.clone());
        let linked = external_identities::count(&self.store, &source).await?;
        Ok(ProviderView {
            id: provider.id,
            enabled: provider.enabled,
            settings: provider.settings,
            details: provider.details,
            has_secret: provider.secret_sealed.is_some(),
            used_at: provider.used_at,
            linked,
            problem: provider.problem,
            version: provider.version.to_string(),
        })
    }

    /// Every provider that the organization has set up, whether or not this deployment still offers its protocol.
    pub async fn identity_providers(&self, ctx: &Ctx) -> Result<Vec<ProviderView>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let mut views = Vec::new();
        for protocol in Protocol::ALL {
            if let Some(provider) =
                identity_providers::of_protocol(&self.store, organization, *protocol).await?
            {
                views.push(self.view_of_provider(provider).await?);
            }
        }
        Ok(views)
    }

    /// Changes the organization's provider of a protocol, or sets it up. What was begun under the one before is good no more;
    /// turned off, it also ends every session that it has opened. With another issuer it is another provider: whom the one
    /// before was linked to is forgotten, and its sessions end. Refused with `another_provider_enabled` beside another one
    /// that is turned on, and with `sso_not_proven` where it would become the only way in before anybody came through it. One
    /// that the deployment offers no more can be turned off and nothing else.
    pub async fn change_identity_provider(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        protocol: Protocol,
        change: ProviderChange,
    ) -> Result<ProviderView, Error> {
        let organization = owners_organization(ctx)?;
        if !change.only_turns_off() {
            self.require_protocol(protocol)?;
        }
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let kept = identity_providers::of_protocol(&tx, organization, protocol).await?;
        expected.check(&kept.as_ref().map_or_else(|| NONE.to_owned(), |kept| kept.version.to_string()))?;
        let provider = self.provider_to_be(ctx, organization, kept.as_ref(), &change)?;
        provider.settings.validate()?;
        self.require_word_of_its_own(&provider)?;
        self.require_proven(&tx, kept.as_ref(), &provider).await?;
        let stored = match &kept {
            None => identity_providers::insert(&tx, &provider).await,
            Some(_) => identity_providers::replace(&tx, &provider, ctx.now).await.map(|_| ()),
        };
        match stored {
            Err(StoreError::Exists) => return Err(another_enabled()),
            other => other?,
        }
        let is_another = kept.as_ref().is_some_and(|kept| is_another(kept, &provider.details));
        if is_another || kept.as_ref().is_some_and(|kept| names_differ(&kept.details, &provider.details)) {
            external_identities::forget_source(&tx, &IdentitySource::Provider(provider.id.clone())).await?;
        }
        if is_another || kept.as_ref().is_some_and(|kept| kept.enabled) && !provider.enabled {
            self.end_sessions_of(ctx, &tx, organization, &provider.id).await?;
        }
        let before = kept.as_ref().map_or_else(|| Ok(json!({})), recorded)?;
        let (was, is) = difference(&before, &recorded(&provider)?);
        let is = with_secret(is, &change, kept.as_ref());
        let record = self.record(ctx, AuditAction::SsoUpdated, provider.id.as_str()).with_change(was, is);
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await?;
        let version = provider.version + i64::from(kept.is_some());
        self.view_of_provider(IdentityProvider { version, ..provider }).await
    }

    /// The provider to be kept, with its secret sealed.
    fn provider_to_be(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        kept: Option<&IdentityProvider>,
        change: &ProviderChange,
    ) -> Result<IdentityProvider, Error> {
        let details = change.details.clone().or_else(|| kept.map(|kept| kept.details.clone()));
        let details = details.ok_or_else(no_provider)?;
        let settings = change.settings.clone().or_else(|| kept.map(|kept| kept.settings.clone()));
        let id = match kept {
            Some(kept) => kept.id.clone(),
            None => self.draw(|random| IdentityProviderId::new(ctx.now, random)),
        };
        let secret_sealed = match change.secret.as_deref() {
            None if kept.is_some_and(|kept| sends_secret_elsewhere(kept, &details)) => {
                let message =
                    "The client secret was given for another provider. Give the one that belongs to this.";
                return Err(Error::invalid("client_secret", message));
            }
            None => kept.and_then(|kept| kept.secret_sealed.clone()),
            Some("") => None,
            Some(secret) => {
                Some(self.draw(|random| self.seal.seal(&secret_place(&id), secret.as_bytes(), random))?)
            }
        };
        // Nobody has come through another one yet.
        let used_at = kept.filter(|kept| !is_another(kept, &details)).and_then(|kept| kept.used_at);
        Ok(IdentityProvider {
            id,
            organization: organization.clone(),
            enabled: change.enabled.unwrap_or(kept.is_some_and(|kept| kept.enabled)),
            version: kept.map_or(1, |kept| kept.version),
            settings: settings.unwrap_or_default(),
            details,
            secret_sealed,
            created_at: kept.map_or(ctx.now, |kept| kept.created_at),
            used_at,
            problem: None,
        })
    }

    /// Google says itself for which addresses it answers; nobody can decide that it does for others.
    fn require_word_of_its_own(&self, provider: &IdentityProvider) -> Result<(), Error> {
        let is_google = provider.details.oidc().is_some_and(|oidc| self.is_google(&oidc.issuer));
        if is_google && provider.settings.trust_email {
            let message = "Google says itself for which addresses it answers. Leave this off.";
            return Err(Error::invalid("trust_email", message));
        }
        Ok(())
    }

    /// The only way in must be one: a domain is shown to be the organization's, and somebody has come through.
    async fn require_proven(
        &self,
        tx: &Tx<'_>,
        kept: Option<&IdentityProvider>,
        new: &IdentityProvider,
    ) -> Result<(), Error> {
        let is_required = kept.filter(|kept| kept.settings.required);
        if is_required.is_some_and(|kept| new.settings.required && is_another(kept, &new.details)) {
            return Err(not_in_its_place());
        }
        if !new.settings.required || is_required.is_some() {
            return Ok(());
        }
        let has_domain =
            domains::of(tx, &new.organization).await?.iter().any(|claim| claim.verified_at.is_some());
        let was_used = kept.is_some_and(|kept| kept.enabled) && new.used_at.is_some();
        if new.enabled && has_domain && was_used {
            return Ok(());
        }
        let message = "Before it becomes the only way in, verify a domain, turn the provider on, and have somebody sign in \
                       through it.";
        Err(Error::new(ErrorKind::Conflict, "sso_not_proven", message).with_param("required"))
    }

    /// Removes the organization's provider of this protocol, whom it is linked to, and every session that it has opened.
    pub async fn remove_identity_provider(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        protocol: Protocol,
    ) -> Result<(), Error> {
        let organization = owners_organization(ctx)?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let provider = identity_providers::of_protocol(&tx, organization, protocol).await?;
        let provider = provider.ok_or_else(no_provider)?;
        expected.check(&provider.version.to_string())?;
        self.end_sessions_of(ctx, &tx, organization, &provider.id).await?;
        external_identities::forget_source(&tx, &IdentitySource::Provider(provider.id.clone())).await?;
        identity_providers::remove(&tx, &provider.id).await?;
        let record = self
            .record(ctx, AuditAction::SsoRemoved, provider.id.as_str())
            .with_change(recorded(&provider)?, Value::Null);
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await
    }

    async fn end_sessions_of(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        provider: &IdentityProviderId,
    ) -> Result<(), Error> {
        let source = IdentitySource::Provider(provider.clone());
        let which = VouchedFor { source: &source, subject: None, provider_session: None };
        let ended = sessions::end_federated(tx, which, ctx.now).await?;
        let ended: Vec<_> = ended.into_iter().map(|(session, _)| session).collect();
        self.record_revoked(ctx, tx, organization, &ended).await
    }

    /// The secret of a provider, opened; `None` where it has none.
    pub(crate) fn secret_of(&self, provider: &IdentityProvider) -> Result<Option<Vec<u8>>, Error> {
        let sealed = provider.secret_sealed.as_deref();
        sealed.map(|sealed| self.seal.open(&secret_place(&provider.id), sealed)).transpose()
    }
}

/// Where the secret of a provider is sealed.
fn secret_place(id: &IdentityProviderId) -> String {
    format!("identity_providers/{id}/secret")
}

/// What the audit log tells of a provider.
fn recorded(provider: &IdentityProvider) -> Result<Value, Error> {
    let mut told = serde_json::to_value(&provider.settings).map_err(Error::internal)?;
    let details = serde_json::to_value(&provider.details).map_err(Error::internal)?;
    if let (Some(told), Value::Object(details)) = (told.as_object_mut(), details) {
        told.extend(details);
        told.insert("enabled".to_owned(), provider.enabled.into());
    }
    Ok(told)
}

/// That a secret was set or removed is told, never the secret.
fn with_secret(mut told: Value, change: &ProviderChange, kept: Option<&IdentityProvider>) -> Value {
    let said = match change.secret.as_deref() {
        None => return told,
        Some("") if kept.is_none_or(|kept| kept.secret_sealed.is_none()) => return told,
        Some("") => "removed",
        Some(_) => "set",
    };
    if let Some(told) = told.as_object_mut() {
        told.insert("secret".to_owned(), said.into());
    }
    told
}

/// Whether another provider comes in place of the one that is kept. What the one has said holds of nobody at the other.
fn is_another(kept: &IdentityProvider, new: &ProviderDetails) -> bool {
    kept.details.issuer() != new.issuer()
}

/// Whether people are told apart by something else than before: a name of the one kind says nothing of the other.
fn names_differ(kept: &ProviderDetails, new: &ProviderDetails) -> bool {
    let attribute =
        |details: &ProviderDetails| details.saml().and_then(|saml| saml.subject_attribute.clone());
    attribute(kept) != attribute(new)
}

/// Whether a secret that is kept would be sent to somebody else than whom it was given for.
fn sends_secret_elsewhere(kept: &IdentityProvider, new: &ProviderDetails) -> bool {
    let place = |details: &ProviderDetails| {
        let oidc = details.oidc()?;
        Some((oidc.issuer.clone(), oidc.endpoints.as_ref().map(|endpoints| endpoints.token.clone())))
    };
    kept.secret_sealed.is_some() && place(&kept.details) != place(new)
}

fn not_in_its_place() -> Error {
    let message = "This is another provider, which nobody has come in through yet, and single sign-on is required. Stop \
                   requiring it first; members sign in with their passwords until somebody has come in through the new one.";
    Error::new(ErrorKind::Conflict, "sso_not_proven", message).with_param("required")
}

fn no_provider() -> Error {
    Error::not_found("identity provider")
}

fn another_enabled() -> Error {
    let message = "Another identity provider is turned on. Turn that off first: people come in through one.";
    Error::new(ErrorKind::Conflict, "another_provider_enabled", message).with_param("enabled")
}
