//! Providers' keys: stored sealed, named by configurations, handed to the gateways that need them, shown to nobody.

use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::configurations::{Credential, KeptName, VersionId};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::OrganizationId;
use kt_store::provider_credentials::{self, ProviderCredential};
use kt_store::{StoreError, audit};

use crate::control::Control;
use crate::paging::{Page, PageRequest, PageSize};

/// A provider's key as people see it: all but the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialView {
    /// The credential.
    pub credential: ProviderCredential,
    /// The versions of configurations that gateways are told to run and that name it.
    pub used_by: Vec<VersionId>,
}

/// How many keys may have one name, told apart by numbers.
const MOST_OF_A_NAME: u32 = 100;

const LIST: &str = "provider_credentials";

const PAGE: PageSize = PageSize { usual: 50, most: 1000 };

impl Control {
    /// The providers' keys of one's organization, by name.
    pub async fn provider_credentials(
        &self,
        ctx: &Ctx,
        request: &PageRequest,
    ) -> Result<Page<CredentialView>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let limit = PAGE.of(request)?;
        let after: Option<String> = self.position(LIST, request)?;
        let found =
            provider_credentials::page(&self.store, organization, after.as_deref(), limit + 1).await?;
        let mut views = Vec::with_capacity(found.len());
        for credential in found {
            let used_by = self.users_of_credential(&self.store, organization, &credential.name).await?;
            views.push(CredentialView { credential, used_by });
        }
        self.page(LIST, limit, views, |view: &CredentialView| view.credential.name.to_string())
    }

    /// Stores a provider's key under a name that is free.
    pub async fn store_credential(
        &self,
        ctx: &Ctx,
        name: &KeptName,
        credential: &Credential,
    ) -> Result<(), Error> {
        let organization = ctx.require(Permission::ChangeSettings)?;
        ctx.require_fresh_authentication()?;
        let sealed = self.seal_credential(organization, name, credential)?;
        let tx = self.store.begin_write().await?;
        match provider_credentials::insert(&tx, organization, name, &sealed, ctx.now).await {
            Err(StoreError::Exists) => return Err(name_taken()),
            outcome => outcome?,
        }
        let record = self.record(ctx, AuditAction::CredentialStored, name.as_str());
        audit::append(&tx, Some(organization), &record).await?;
        Ok(tx.commit().await?)
    }

    /// Stores a provider's key under this name, or under the next that is free: `openai-2`; gives the name.
    pub async fn store_credential_beside(
        &self,
        ctx: &Ctx,
        name: &KeptName,
        credential: &Credential,
    ) -> Result<KeptName, Error> {
        for number in 1..=MOST_OF_A_NAME {
            let name = match number {
                1 => name.clone(),
                _ => format!("{name}-{number}").parse().map_err(Error::internal)?,
            };
            match self.store_credential(ctx, &name, credential).await {
                Err(error) if error.code == "name_taken" => {}
                outcome => return outcome.map(|()| name),
            }
        }
        Err(name_taken())
    }

    /// Puts another key in the place of one. Gateways that use it are handed the new one.
    pub async fn replace_credential(
        &self,
        ctx: &Ctx,
        name: &KeptName,
        credential: &Credential,
    ) -> Result<(), Error> {
        let organization = ctx.require(Permission::ChangeSettings)?;
        ctx.require_fresh_authentication()?;
        let sealed = self.seal_credential(organization, name, credential)?;
        let tx = self.store.begin_write().await?;
        if !provider_credentials::replace(&tx, organization, name, &sealed, ctx.now).await? {
            return Err(no_credential());
        }
        let record = self.record(ctx, AuditAction::CredentialReplaced, name.as_str());
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// Removes a key that no gateway is told to use.
    pub async fn remove_credential(&self, ctx: &Ctx, name: &KeptName) -> Result<(), Error> {
        let organization = ctx.require(Permission::ChangeSettings)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        kt_store::organizations::lock(&tx, organization).await?;
        if let Some(user) = self.users_of_credential(&tx, organization, name).await?.first() {
            let message =
                format!("Gateways are told to run {user}, which names it. Roll out another version first.");
            return Err(Error::new(ErrorKind::Conflict, "credential_in_use", message));
        }
        if !provider_credentials::delete(&tx, organization, name).await? {
            return Err(no_credential());
        }
        let record = self.record(ctx, AuditAction::CredentialRemoved, name.as_str());
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// A key, for the gateway that needs it.
    pub(crate) async fn open_credential(
        &self,
        organization: &OrganizationId,
        name: &KeptName,
    ) -> Result<Option<Credential>, Error> {
        let sealed = provider_credentials::sealed(&self.store, organization, name.as_str()).await?;
        let Some(sealed) = sealed else { return Ok(None) };
        let secret = self.seal.open(&place(organization, name), &sealed)?;
        let text = String::from_utf8(secret).map_err(Error::internal)?;
        Credential::parse(&text).map(Some).map_err(Error::internal)
    }

    fn seal_credential(
        &self,
        organization: &OrganizationId,
        name: &KeptName,
        credential: &Credential,
    ) -> Result<String, Error> {
        let place = place(organization, name);
        self.draw(|random| self.seal.seal(&place, credential.expose().as_bytes(), random))
    }
}

/// What a key is sealed for: moved to another name or organization, it does not open.
fn place(organization: &OrganizationId, name: &KeptName) -> String {
    format!("provider_credentials/{organization}/{name}")
}

fn name_taken() -> Error {
    let message = "There is a credential of this name. Replace its key, or choose another name.";
    Error::new(ErrorKind::Conflict, "name_taken", message).with_param("name")
}

fn no_credential() -> Error {
    Error::not_found("provider credential")
}
