//! The domains of mail addresses that organisations claim.

use jiff::Timestamp;
use kt_domain::id::OrganizationId;
use kt_domain::sso::OwnDomain;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A domain that an organisation claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDomain {
    /// Its name.
    pub domain: OwnDomain,
    /// What its TXT record has to hold.
    pub challenge: String,
    /// When it was claimed.
    pub added_at: Timestamp,
    /// When it was shown to be theirs.
    pub verified_at: Option<Timestamp>,
}

/// Adds a claim. `false` when the organisation has it already.
pub async fn add(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    claim: &ClaimedDomain,
) -> Result<bool, StoreError> {
    const INSERT: &str = "INSERT INTO organization_domains (organization_id, domain, challenge, added_at)
        VALUES ($1, $2, $3, $4) ON CONFLICT (organization_id, domain) DO NOTHING";
    let values = values![organization.as_str(), claim.domain.as_str(), &claim.challenge, claim.added_at];
    Ok(sql::execute(tx, INSERT, values).await? == 1)
}

/// The organisation's claims, in the order of their names.
pub async fn of(
    source: &impl Source,
    organization: &OrganizationId,
) -> Result<Vec<ClaimedDomain>, StoreError> {
    const SELECT: &str = "SELECT * FROM organization_domains WHERE organization_id = $1 ORDER BY domain";
    sql::rows(source, SELECT, values![organization.as_str()]).await?.iter().map(read).collect()
}

/// One of them.
pub async fn find(
    source: &impl Source,
    organization: &OrganizationId,
    domain: &OwnDomain,
) -> Result<Option<ClaimedDomain>, StoreError> {
    const SELECT: &str = "SELECT * FROM organization_domains WHERE organization_id = $1 AND domain = $2";
    let values = values![organization.as_str(), domain.as_str()];
    sql::row(source, SELECT, values).await?.as_ref().map(read).transpose()
}

/// Notes that it was shown to be theirs. [`StoreError::Exists`] when another organisation has shown the same.
pub async fn verify(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    domain: &OwnDomain,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE organization_domains SET verified_at = $3
        WHERE organization_id = $1 AND domain = $2 AND verified_at IS NULL";
    sql::execute(tx, UPDATE, values![organization.as_str(), domain.as_str(), now]).await?;
    Ok(())
}

/// Gives a claim up. `false` when there is none.
pub async fn remove(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    domain: &OwnDomain,
) -> Result<bool, StoreError> {
    const DELETE: &str = "DELETE FROM organization_domains WHERE organization_id = $1 AND domain = $2";
    Ok(sql::execute(tx, DELETE, values![organization.as_str(), domain.as_str()]).await? == 1)
}

/// The organisation that has shown this domain, as an address names it, to be its own.
pub async fn owner_of(source: &impl Source, domain: &str) -> Result<Option<OrganizationId>, StoreError> {
    const SELECT: &str =
        "SELECT organization_id FROM organization_domains WHERE domain = $1 AND verified_at IS NOT NULL";
    let row = sql::row(source, SELECT, values![domain]).await?;
    row.map(|row| row.parsed("organization_id")).transpose()
}

fn read(row: &Row) -> Result<ClaimedDomain, StoreError> {
    Ok(ClaimedDomain {
        domain: row.parsed("domain")?,
        challenge: row.get("challenge")?,
        added_at: row.time("added_at")?,
        verified_at: row.time_opt("verified_at")?,
    })
}
