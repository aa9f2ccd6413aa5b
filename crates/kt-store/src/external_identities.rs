//! Whose account somebody is that an identity provider names.

use jiff::Timestamp;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::sso::IdentitySource;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, values};

/// The name of somebody at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalName<'a> {
    /// Who vouches.
    pub source: &'a IdentitySource,
    /// Who has signed.
    pub issuer: &'a str,
    /// Who it is.
    pub subject: &'a str,
}

/// Whose account it is.
pub async fn user_of(source: &impl Source, name: ExternalName<'_>) -> Result<Option<UserId>, StoreError> {
    const SELECT: &str =
        "SELECT user_id FROM external_identities WHERE source = $1 AND issuer = $2 AND subject = $3";
    let row = sql::row(source, SELECT, values![name.source.to_string(), name.issuer, name.subject]).await?;
    row.map(|row| row.parsed("user_id")).transpose()
}

/// Whether a source vouches for this account, whatever it calls its holder.
pub async fn is_linked(source: &impl Source, of: &IdentitySource, user: &UserId) -> Result<bool, StoreError> {
    const SELECT: &str =
        "SELECT 1 AS found FROM external_identities WHERE user_id = $1 AND source = $2 LIMIT 1";
    Ok(sql::row(source, SELECT, values![user.as_str(), of.to_string()]).await?.is_some())
}

/// Links an account. `false` when somebody has the name already.
pub async fn link(
    tx: &Tx<'_>,
    name: ExternalName<'_>,
    user: &UserId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const INSERT: &str =
        "INSERT INTO external_identities (source, issuer, subject, user_id, linked_at, used_at)
        VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (source, issuer, subject) DO NOTHING";
    let values = values![name.source.to_string(), name.issuer, name.subject, user.as_str(), now];
    Ok(sql::execute(tx, INSERT, values).await? == 1)
}

/// Notes that somebody came by this name.
pub async fn note_use(tx: &Tx<'_>, name: ExternalName<'_>, now: Timestamp) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE external_identities SET used_at = $4
        WHERE source = $1 AND issuer = $2 AND subject = $3";
    let values = values![name.source.to_string(), name.issuer, name.subject, now];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}

/// How many people a source vouches for.
pub async fn count(source: &impl Source, of: &IdentitySource) -> Result<i64, StoreError> {
    const COUNT: &str = "SELECT COUNT(*) AS linked FROM external_identities WHERE source = $1";
    let row = sql::row(source, COUNT, values![of.to_string()]).await?;
    row.map_or(Ok(0), |row| row.get("linked"))
}

/// Forgets what the providers of an organization call this person.
pub async fn forget_member(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<(), StoreError> {
    const DELETE: &str = "DELETE FROM external_identities WHERE user_id = $1
        AND source IN (SELECT id FROM identity_providers WHERE organization_id = $2)";
    sql::execute(tx, DELETE, values![user.as_str(), organization.as_str()]).await?;
    Ok(())
}

/// Forgets whom a source vouches for.
pub async fn forget_source(tx: &Tx<'_>, of: &IdentitySource) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM external_identities WHERE source = $1", values![of.to_string()]).await?;
    Ok(())
}
