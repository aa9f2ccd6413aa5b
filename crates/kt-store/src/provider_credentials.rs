//! Providers' keys, sealed: what is here cannot be read without the key that seals secrets.

use jiff::Timestamp;
use kt_domain::configurations::KeptName;
use kt_domain::id::OrganizationId;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A provider's key, but for the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCredential {
    /// What configurations call it.
    pub name: KeptName,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When another key was last put in its place.
    pub replaced_at: Option<Timestamp>,
}

/// Adds a key. [`StoreError::Exists`] when there is one of this name.
pub async fn insert(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    name: &KeptName,
    sealed: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO provider_credentials (organization_id, name, sealed, created_at)
        VALUES ($1, $2, $3, $4)";
    sql::execute(tx, INSERT, values![organization.as_str(), name.as_str(), sealed, now]).await?;
    Ok(())
}

/// Puts another key in the place of one; `false` where there is none.
pub async fn replace(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    name: &KeptName,
    sealed: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE provider_credentials SET sealed = $3, replaced_at = $4
        WHERE organization_id = $1 AND name = $2";
    let values = values![organization.as_str(), name.as_str(), sealed, now];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Removes a key; `false` where there is none.
pub async fn delete(tx: &Tx<'_>, organization: &OrganizationId, name: &KeptName) -> Result<bool, StoreError> {
    const DELETE: &str = "DELETE FROM provider_credentials WHERE organization_id = $1 AND name = $2";
    Ok(sql::execute(tx, DELETE, values![organization.as_str(), name.as_str()]).await? == 1)
}

/// Up to `limit` keys, by name, those behind `after`.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ProviderCredential>, StoreError> {
    const SELECT: &str = "SELECT name, created_at, replaced_at FROM provider_credentials
        WHERE organization_id = $1 AND name > $2 ORDER BY name LIMIT $3";
    let values = values![organization.as_str(), after.unwrap_or_default(), i64::from(limit)];
    sql::rows(source, SELECT, values).await?.iter().map(read).collect()
}

/// A key as it is sealed.
pub async fn sealed(
    source: &impl Source,
    organization: &OrganizationId,
    name: &str,
) -> Result<Option<String>, StoreError> {
    const SELECT: &str = "SELECT sealed FROM provider_credentials WHERE organization_id = $1 AND name = $2";
    let row = sql::row(source, SELECT, values![organization.as_str(), name]).await?;
    row.map(|row| row.get("sealed")).transpose()
}

fn read(row: &Row) -> Result<ProviderCredential, StoreError> {
    Ok(ProviderCredential {
        name: row.parsed("name")?,
        created_at: row.time("created_at")?,
        replaced_at: row.time_opt("replaced_at")?,
    })
}
