//! Organizations and their settings.

use jiff::Timestamp;
use kt_domain::id::OrganizationId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// An organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its identifier in this system.
    pub id: OrganizationId,
    /// Its identifier as people type it: `[a-z0-9-]`.
    pub identifier: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Adds an organization. [`StoreError::Exists`] when its identifier is taken.
pub async fn insert(tx: &Tx<'_>, organization: &Organization) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO organizations (id, identifier, name, created_at) VALUES ($1, $2, $3, $4)";
    let Organization { id, identifier, name, created_at } = organization;
    sql::execute(tx, INSERT, values![id.as_str(), identifier, name, *created_at]).await?;
    Ok(())
}

/// The organization with this id.
pub async fn find(source: &impl Source, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
    const SELECT: &str = "SELECT id, identifier, name, created_at FROM organizations WHERE id = $1";
    sql::row(source, SELECT, values![id.as_str()]).await?.as_ref().map(read).transpose()
}

/// The organization that people call so.
pub async fn by_identifier(
    source: &impl Source,
    identifier: &str,
) -> Result<Option<Organization>, StoreError> {
    const SELECT: &str = "SELECT id, identifier, name, created_at FROM organizations WHERE identifier = $1";
    sql::row(source, SELECT, values![identifier]).await?.as_ref().map(read).transpose()
}

/// Gives the organization another name.
pub async fn rename(tx: &Tx<'_>, id: &OrganizationId, name: &str) -> Result<(), StoreError> {
    sql::execute(tx, "UPDATE organizations SET name = $2 WHERE id = $1", values![id.as_str(), name]).await?;
    Ok(())
}

/// All organizations.
pub async fn ids(source: &impl Source) -> Result<Vec<OrganizationId>, StoreError> {
    let rows = sql::rows(source, "SELECT id FROM organizations ORDER BY id", values![]).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// What people call the organizations, in the order of these names.
pub async fn identifiers(source: &impl Source) -> Result<Vec<String>, StoreError> {
    let rows =
        sql::rows(source, "SELECT identifier FROM organizations ORDER BY identifier", values![]).await?;
    rows.iter().map(|row| row.get("identifier")).collect()
}

/// The organization that was made first.
pub async fn first(source: &impl Source) -> Result<Option<Organization>, StoreError> {
    const SELECT: &str =
        "SELECT id, identifier, name, created_at FROM organizations ORDER BY created_at, id LIMIT 1";
    sql::row(source, SELECT, values![]).await?.as_ref().map(read).transpose()
}

/// The organization, where there is one alone.
pub async fn only(source: &impl Source) -> Result<Option<OrganizationId>, StoreError> {
    let rows = sql::rows(source, "SELECT id FROM organizations LIMIT 2", values![]).await?;
    match rows.as_slice() {
        [row] => row.parsed("id").map(Some),
        _ => Ok(None),
    }
}

/// Holds the organization still until the transaction ends, so that what is counted in it (its owners) stays true.
pub async fn lock(tx: &Tx<'_>, id: &OrganizationId) -> Result<(), StoreError> {
    if tx.locks_rows() {
        sql::row(tx, "SELECT id FROM organizations WHERE id = $1 FOR UPDATE", values![id.as_str()]).await?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<Organization, StoreError> {
    Ok(Organization {
        id: row.parsed("id")?,
        identifier: row.get("identifier")?,
        name: row.get("name")?,
        created_at: row.time("created_at")?,
    })
}

/// A document of settings and the version that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// Counts up with every change; 0 for defaults that were never stored.
    pub version: i64,
    /// The document.
    pub value: T,
}

/// The document of this name, or its default where none was stored.
pub async fn settings<T: DeserializeOwned + Default>(
    source: &impl Source,
    organization: &OrganizationId,
    name: &str,
) -> Result<Versioned<T>, StoreError> {
    const SELECT: &str =
        "SELECT version, value FROM organization_settings WHERE organization_id = $1 AND name = $2";
    match sql::row(source, SELECT, values![organization.as_str(), name]).await? {
        Some(row) => Ok(Versioned { version: row.get("version")?, value: row.document("value")? }),
        None => Ok(Versioned { version: 0, value: T::default() }),
    }
}

/// The present version of this document in each organization; 0 where none was stored.
pub async fn versions(source: &impl Source, name: &str) -> Result<Vec<(OrganizationId, i64)>, StoreError> {
    const SELECT: &str = "SELECT o.id, COALESCE(s.version, 0) AS version FROM organizations o
        LEFT JOIN organization_settings s ON s.organization_id = o.id AND s.name = $1";
    let rows = sql::rows(source, SELECT, values![name]).await?;
    rows.iter().map(|row| Ok((row.parsed("id")?, row.get("version")?))).collect()
}

/// Stores the document in place of version `replaced`. `false`, and nothing changed, when that is not the present one.
pub async fn replace_settings<T: Serialize>(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    name: &str,
    replaced: i64,
    value: &T,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPSERT: &str =
        "INSERT INTO organization_settings (organization_id, name, version, value, updated_at)
        VALUES ($1, $2, $3 + 1, $4, $5)
        ON CONFLICT (organization_id, name)
        DO UPDATE SET version = excluded.version, value = excluded.value, updated_at = excluded.updated_at
        WHERE organization_settings.version = excluded.version - 1";
    let values = values![organization.as_str(), name, replaced, sql::document(value)?, now];
    Ok(sql::execute(tx, UPSERT, values).await? == 1)
}

/// Closes a door that closes once. `false` when it was closed before.
pub async fn close_latch(tx: &Tx<'_>, name: &str, now: Timestamp) -> Result<bool, StoreError> {
    const INSERT: &str =
        "INSERT INTO latches (name, closed_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    Ok(sql::execute(tx, INSERT, values![name, now]).await? == 1)
}

/// Whether a door that closes once is closed.
pub async fn is_latched(source: &impl Source, name: &str) -> Result<bool, StoreError> {
    Ok(sql::row(source, "SELECT name FROM latches WHERE name = $1", values![name]).await?.is_some())
}
