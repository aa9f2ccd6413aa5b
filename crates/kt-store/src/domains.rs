//! The domains of mail addresses that organizations claim.

use jiff::Timestamp;
use kt_domain::id::OrganizationId;
use kt_domain::sso::{DomainProof, OwnDomain};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A domain that an organization claims.
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
    /// By what.
    pub proof: Option<DomainProof>,
    /// Since when its record is gone.
    pub missing_since: Option<Timestamp>,
}

impl ClaimedDomain {
    /// A claim that nothing shows to be right yet.
    #[must_use]
    pub fn new(domain: OwnDomain, challenge: String, now: Timestamp) -> Self {
        Self { domain, challenge, added_at: now, verified_at: None, proof: None, missing_since: None }
    }
}

/// Adds a claim. `false` when the organization has it already.
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

/// The organization's claims, in the order of their names.
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

/// Notes that it was shown to be theirs. [`StoreError::Exists`] when another organization has shown the same.
pub async fn verify(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    domain: &OwnDomain,
    proof: DomainProof,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE organization_domains
        SET verified_at = COALESCE(verified_at, $3), verified_by = $4, looked_at = $3, missing_since = NULL
        WHERE organization_id = $1 AND domain = $2";
    let values = values![organization.as_str(), domain.as_str(), now, proof.as_str()];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}

/// Verified domains whose record was last looked for before `before`, at most `limit`, the longest ago first; and whose they
/// are.
pub async fn to_look_at(
    source: &impl Source,
    before: Timestamp,
    limit: i64,
) -> Result<Vec<(OrganizationId, ClaimedDomain)>, StoreError> {
    const SELECT: &str = "SELECT * FROM organization_domains
        WHERE verified_at IS NOT NULL AND verified_by = 'dns' AND looked_at < $1
        ORDER BY looked_at, domain LIMIT $2";
    let rows = sql::rows(source, SELECT, values![before, limit]).await?;
    rows.iter().map(|row| Ok((row.parsed("organization_id")?, read(row)?))).collect()
}

/// Takes the turn of looking for the record of a verified domain; `false` where somebody has had it since `before`.
pub async fn take_look(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    domain: &OwnDomain,
    before: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE organization_domains SET looked_at = $4
        WHERE organization_id = $1 AND domain = $2 AND verified_by = 'dns' AND looked_at < $3";
    let values = values![organization.as_str(), domain.as_str(), before, now];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Notes since when the record of a verified domain is gone, or that it is there. `false` where the domain is no longer
/// verified by it.
pub async fn note_missing(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    domain: &OwnDomain,
    since: Option<Timestamp>,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE organization_domains SET missing_since = $3
        WHERE organization_id = $1 AND domain = $2 AND verified_by = 'dns'";
    let values = values![organization.as_str(), domain.as_str(), since];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Counts a domain as shown by nobody again; that its record is gone stays noted. `false` where it was shown otherwise
/// meanwhile.
pub async fn lapse(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    domain: &OwnDomain,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE organization_domains SET verified_at = NULL, verified_by = NULL
        WHERE organization_id = $1 AND domain = $2 AND verified_by = 'dns' AND missing_since IS NOT NULL";
    Ok(sql::execute(tx, UPDATE, values![organization.as_str(), domain.as_str()]).await? == 1)
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

/// The organization that has shown this domain, as an address names it, to be its own.
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
        proof: row.parsed_opt("verified_by")?,
        missing_since: row.time_opt("missing_since")?,
    })
}
