//! The identity providers of organizations.

use jiff::Timestamp;
use kt_domain::id::{IdentityProviderId, OrganizationId};
use kt_domain::sso::{Protocol, ProviderDetails, ProviderSettings, PublishedProblem};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// An organization's identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityProvider {
    /// Its identifier.
    pub id: IdentityProviderId,
    /// Whose.
    pub organization: OrganizationId,
    /// Whether people come in through it.
    pub enabled: bool,
    /// Counts up with every change.
    pub version: i64,
    /// What both protocols share.
    pub settings: ProviderSettings,
    /// What only its protocol needs.
    pub details: ProviderDetails,
    /// Its secret, sealed.
    pub secret_sealed: Option<String>,
    /// When it was set up.
    pub created_at: Timestamp,
    /// When somebody last came through it.
    pub used_at: Option<Timestamp>,
    /// Why what it publishes cannot be had at this moment.
    pub problem: Option<PublishedProblem>,
}

/// Adds a provider. [`StoreError::Exists`] where the organization has one of its protocol, or another that is turned on
/// beside one that is to be.
pub async fn insert(tx: &Tx<'_>, provider: &IdentityProvider) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO identity_providers
            (id, organization_id, protocol, enabled, version, settings, details, secret_sealed, created_at, updated_at, used_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)";
    let values = values![
        provider.id.as_str(),
        provider.organization.as_str(),
        provider.details.protocol().as_str(),
        provider.enabled,
        provider.version,
        sql::document(&provider.settings)?,
        sql::document(&provider.details)?,
        provider.secret_sealed.clone(),
        provider.created_at,
        provider.used_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// Puts it in place of the version before; `false` where that is no longer the present one. [`StoreError::Exists`] where
/// another one is turned on beside it.
pub async fn replace(tx: &Tx<'_>, provider: &IdentityProvider, now: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE identity_providers
        SET enabled = $2, version = $3 + 1, settings = $4, details = $5, secret_sealed = $6, updated_at = $7,
            used_at = $8, problem = NULL
        WHERE id = $1 AND version = $3";
    let values = values![
        provider.id.as_str(),
        provider.enabled,
        provider.version,
        sql::document(&provider.settings)?,
        sql::document(&provider.details)?,
        provider.secret_sealed.clone(),
        now,
        provider.used_at,
    ];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Removes it.
pub async fn remove(tx: &Tx<'_>, id: &IdentityProviderId) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM identity_providers WHERE id = $1", values![id.as_str()]).await?;
    Ok(())
}

/// Notes that somebody came through it.
pub async fn note_use(tx: &Tx<'_>, id: &IdentityProviderId, now: Timestamp) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE identity_providers SET used_at = $2 WHERE id = $1";
    sql::execute(tx, UPDATE, values![id.as_str(), now]).await?;
    Ok(())
}

/// Notes that what this version of it publishes cannot be had, or that it can be had again. `false` where that is noted
/// already, or the provider was changed.
pub async fn note_problem(
    tx: &Tx<'_>,
    id: &IdentityProviderId,
    version: i64,
    problem: Option<&PublishedProblem>,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE identity_providers SET problem = $3
        WHERE id = $1 AND version = $2 AND (problem IS NULL) = $4";
    let document = problem.map(sql::document).transpose()?;
    Ok(sql::execute(tx, UPDATE, values![id.as_str(), version, document, problem.is_some()]).await? == 1)
}

/// Those that are turned on and of which something cannot be had.
pub async fn with_problems(source: &impl Source) -> Result<Vec<IdentityProvider>, StoreError> {
    const SELECT: &str = "SELECT * FROM identity_providers WHERE enabled AND problem IS NOT NULL ORDER BY id";
    sql::rows(source, SELECT, values![]).await?.iter().map(read).collect()
}

/// The provider with this id.
pub async fn find(
    source: &impl Source,
    id: &IdentityProviderId,
) -> Result<Option<IdentityProvider>, StoreError> {
    const SELECT: &str = "SELECT * FROM identity_providers WHERE id = $1";
    sql::row(source, SELECT, values![id.as_str()]).await?.as_ref().map(read).transpose()
}

/// The organization's provider of this protocol.
pub async fn of_protocol(
    source: &impl Source,
    organization: &OrganizationId,
    protocol: Protocol,
) -> Result<Option<IdentityProvider>, StoreError> {
    const SELECT: &str = "SELECT * FROM identity_providers WHERE organization_id = $1 AND protocol = $2";
    let values = values![organization.as_str(), protocol.as_str()];
    sql::row(source, SELECT, values).await?.as_ref().map(read).transpose()
}

/// The organization's provider that is turned on.
pub async fn enabled(
    source: &impl Source,
    organization: &OrganizationId,
) -> Result<Option<IdentityProvider>, StoreError> {
    const SELECT: &str = "SELECT * FROM identity_providers WHERE organization_id = $1 AND enabled";
    sql::row(source, SELECT, values![organization.as_str()]).await?.as_ref().map(read).transpose()
}

/// The same of the organization that people call so: one statement, whether or not there is such an organization.
pub async fn enabled_at(
    source: &impl Source,
    identifier: &str,
) -> Result<Option<IdentityProvider>, StoreError> {
    const SELECT: &str =
        "SELECT p.* FROM organizations o JOIN identity_providers p ON p.organization_id = o.id
        WHERE o.identifier = $1 AND p.enabled";
    sql::row(source, SELECT, values![identifier]).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<IdentityProvider, StoreError> {
    Ok(IdentityProvider {
        id: row.parsed("id")?,
        organization: row.parsed("organization_id")?,
        enabled: row.get("enabled")?,
        version: row.get("version")?,
        settings: row.document("settings")?,
        details: row.document("details")?,
        secret_sealed: row.get("secret_sealed")?,
        created_at: row.time("created_at")?,
        used_at: row.time_opt("used_at")?,
        problem: row.document_opt("problem")?,
    })
}
