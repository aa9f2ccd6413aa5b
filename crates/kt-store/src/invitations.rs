//! Invitations to join an organization.

use jiff::Timestamp;
use kt_domain::actor::Role;
use kt_domain::email::EmailAddress;
use kt_domain::id::{InvitationId, OrganizationId, UserId};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Its identifier; no secret.
    pub id: InvitationId,
    /// Where to.
    pub organization: OrganizationId,
    /// Whom: the address that it was sent to.
    pub email: EmailAddress,
    /// As what.
    pub role: Role,
    /// Who answers for it.
    pub invited_by: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was accepted.
    pub accepted_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// Adds an invitation.
pub async fn insert(tx: &Tx<'_>, invitation: &Invitation) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO invitations (id, organization_id, email, email_folded, role, invited_by,
            created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let values = values![
        invitation.id.as_str(),
        invitation.organization.as_str(),
        invitation.email.as_typed(),
        invitation.email.folded(),
        invitation.role.as_str(),
        invitation.invited_by.as_str(),
        invitation.created_at,
        invitation.expires_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// The invitation with this id, wherever to.
pub async fn find(source: &impl Source, id: &InvitationId) -> Result<Option<Invitation>, StoreError> {
    const SELECT: &str = "SELECT * FROM invitations WHERE id = $1";
    sql::row(source, SELECT, values![id.as_str()]).await?.as_ref().map(read).transpose()
}

/// The invitation to this organization with which somebody of this address, given folded, could still come.
pub async fn open_for(
    source: &impl Source,
    organization: &OrganizationId,
    folded: &str,
    now: Timestamp,
) -> Result<Option<Invitation>, StoreError> {
    const SELECT: &str = "SELECT * FROM invitations WHERE organization_id = $1 AND email_folded = $2
        AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $3";
    let values = values![organization.as_str(), folded, now];
    sql::row(source, SELECT, values).await?.as_ref().map(read).transpose()
}

/// The organization's invitations, the newest first, at most `limit` of those made before `before`.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    before: Option<&InvitationId>,
    limit: u32,
) -> Result<Vec<Invitation>, StoreError> {
    // `j` follows every identifier, which all begin with `inv_`.
    const SELECT: &str =
        "SELECT * FROM invitations WHERE organization_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
    let before = before.map_or("j", InvitationId::as_str);
    let values = values![organization.as_str(), before, i64::from(limit)];
    sql::rows(source, SELECT, values).await?.iter().map(read).collect()
}

/// Notes that it was accepted. `false` when it is good no more.
pub async fn accept(tx: &Tx<'_>, id: &InvitationId, now: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE invitations SET accepted_at = $2
        WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $2";
    Ok(sql::execute(tx, UPDATE, values![id.as_str(), now]).await? == 1)
}

/// Takes it back. `false` when it was accepted or taken back before.
pub async fn revoke(tx: &Tx<'_>, id: &InvitationId, now: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE invitations SET revoked_at = $2
        WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL";
    Ok(sql::execute(tx, UPDATE, values![id.as_str(), now]).await? == 1)
}

/// Gives it a longer life. `false` when it was accepted or taken back.
pub async fn renew(tx: &Tx<'_>, id: &InvitationId, expires_at: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE invitations SET expires_at = $2
        WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL";
    Ok(sql::execute(tx, UPDATE, values![id.as_str(), expires_at]).await? == 1)
}

fn read(row: &Row) -> Result<Invitation, StoreError> {
    Ok(Invitation {
        id: row.parsed("id")?,
        organization: row.parsed("organization_id")?,
        email: row.parsed("email")?,
        role: row.parsed("role")?,
        invited_by: row.parsed("invited_by")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        accepted_at: row.time_opt("accepted_at")?,
        revoked_at: row.time_opt("revoked_at")?,
    })
}
