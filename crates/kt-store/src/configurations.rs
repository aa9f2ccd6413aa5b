//! The versions of the gateway configurations that are kept. A version is added and read, never changed.

use jiff::Timestamp;
use kt_domain::configurations::{KeptName, VersionId};
use kt_domain::id::OrganizationId;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A version of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationVersion {
    /// Which version of which configuration.
    pub id: VersionId,
    /// The SHA-256 of the text, in hexadecimal digits.
    pub sha256: String,
    /// Who saved it, as they were called then.
    pub author: String,
    /// Why, in their words; may be empty.
    pub note: String,
    /// When.
    pub created_at: Timestamp,
}

/// Adds a version. [`StoreError::Exists`] when one of this number came first.
pub async fn insert(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    version: &ConfigurationVersion,
    text: &str,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO configuration_versions
        (organization_id, name, number, body, sha256, author, note, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let ConfigurationVersion { id, sha256, author, note, created_at } = version;
    let values = values![
        organization.as_str(),
        id.name.as_str(),
        i64::from(id.number),
        text,
        sha256,
        author,
        note,
        *created_at
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// The newest version of every configuration, by name; up to `limit`, those behind `after`.
pub async fn newest(
    source: &impl Source,
    organization: &OrganizationId,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ConfigurationVersion>, StoreError> {
    const SELECT: &str = "SELECT name, number, sha256, author, note, created_at FROM configuration_versions v
        WHERE organization_id = $1 AND name > $2 AND number = (SELECT MAX(number) FROM configuration_versions
            WHERE organization_id = v.organization_id AND name = v.name)
        ORDER BY name LIMIT $3";
    let values = values![organization.as_str(), after.unwrap_or_default(), i64::from(limit)];
    sql::rows(source, SELECT, values).await?.iter().map(read).collect()
}

/// Up to `limit` versions of a configuration, the newest first, those before number `before`.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    name: &KeptName,
    before: Option<u32>,
    limit: u32,
) -> Result<Vec<ConfigurationVersion>, StoreError> {
    const SELECT: &str = "SELECT name, number, sha256, author, note, created_at FROM configuration_versions
        WHERE organization_id = $1 AND name = $2 AND number < $3 ORDER BY number DESC LIMIT $4";
    let before = before.map_or(i64::MAX, i64::from);
    let values = values![organization.as_str(), name.as_str(), before, i64::from(limit)];
    sql::rows(source, SELECT, values).await?.iter().map(read).collect()
}

/// The newest version of a configuration.
pub async fn newest_of(
    source: &impl Source,
    organization: &OrganizationId,
    name: &KeptName,
) -> Result<Option<ConfigurationVersion>, StoreError> {
    Ok(page(source, organization, name, None, 1).await?.pop())
}

/// A version and its text.
pub async fn find(
    source: &impl Source,
    organization: &OrganizationId,
    id: &VersionId,
) -> Result<Option<(ConfigurationVersion, String)>, StoreError> {
    const SELECT: &str =
        "SELECT name, number, sha256, author, note, created_at, body FROM configuration_versions
        WHERE organization_id = $1 AND name = $2 AND number = $3";
    let values = values![organization.as_str(), id.name.as_str(), i64::from(id.number)];
    let row = sql::row(source, SELECT, values).await?;
    row.map(|row| Ok((read(&row)?, row.get("body")?))).transpose()
}

fn read(row: &Row) -> Result<ConfigurationVersion, StoreError> {
    let number = u32::try_from(row.get::<i64>("number")?).unwrap_or(u32::MAX);
    Ok(ConfigurationVersion {
        id: VersionId { name: row.parsed("name")?, number },
        sha256: row.get("sha256")?,
        author: row.get("author")?,
        note: row.get("note")?,
        created_at: row.time("created_at")?,
    })
}
