//! Members' requests that a gateway be set up for them.

use jiff::Timestamp;
use kt_domain::id::{OrganizationId, SetupRequestId, UserId};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A request, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupRequest {
    /// Its identifier; sorts by time.
    pub id: SetupRequestId,
    /// Who asks.
    pub user: UserId,
    /// What they are called.
    pub name: String,
    /// Their address.
    pub email: String,
    /// What they say besides.
    pub note: Option<String>,
    /// When they asked.
    pub created_at: Timestamp,
}

/// Adds a request, unless one of theirs is open; tells whether it was added.
pub async fn insert_unless_open(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &SetupRequestId,
    user: &UserId,
    note: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const INSERT: &str = "INSERT INTO setup_requests (id, organization_id, user_id, note, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (organization_id, user_id) WHERE closed_at IS NULL DO NOTHING";
    let note = note.map(str::to_owned);
    let values = values![id.as_str(), organization.as_str(), user.as_str(), note, now];
    Ok(sql::execute(tx, INSERT, values).await? == 1)
}

/// Somebody's open request.
pub async fn open_of(
    source: &impl Source,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<Option<SetupRequest>, StoreError> {
    const SELECT: &str = "SELECT s.*, u.name, u.email FROM setup_requests s JOIN users u ON u.id = s.user_id
        WHERE s.organization_id = $1 AND s.user_id = $2 AND s.closed_at IS NULL";
    let values = values![organization.as_str(), user.as_str()];
    sql::row(source, SELECT, values).await?.as_ref().map(read).transpose()
}

/// Up to `limit` open requests of an organization's active members, the earliest first, those behind `after`.
pub async fn open(
    source: &impl Source,
    organization: &OrganizationId,
    after: Option<&SetupRequestId>,
    limit: u32,
) -> Result<Vec<SetupRequest>, StoreError> {
    const SELECT: &str = "SELECT s.*, u.name, u.email FROM setup_requests s
        JOIN users u ON u.id = s.user_id
        JOIN memberships m ON m.organization_id = s.organization_id AND m.user_id = s.user_id AND m.state = 'active'
        WHERE s.organization_id = $1 AND s.closed_at IS NULL AND s.id > $2 ORDER BY s.id LIMIT $3";
    let after = after.map_or("", SetupRequestId::as_str);
    let rows = sql::rows(source, SELECT, values![organization.as_str(), after, i64::from(limit)]).await?;
    rows.iter().map(read).collect()
}

/// Closes an open request; `false` where there is none.
pub async fn close(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &SetupRequestId,
    by: &UserId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE setup_requests SET closed_at = $4, closed_by = $3
        WHERE organization_id = $1 AND id = $2 AND closed_at IS NULL";
    let values = values![organization.as_str(), id.as_str(), by.as_str(), now];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Forgets what somebody has asked for here.
pub async fn remove_all(tx: &Tx<'_>, organization: &OrganizationId, user: &UserId) -> Result<(), StoreError> {
    const DELETE: &str = "DELETE FROM setup_requests WHERE organization_id = $1 AND user_id = $2";
    sql::execute(tx, DELETE, values![organization.as_str(), user.as_str()]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<SetupRequest, StoreError> {
    Ok(SetupRequest {
        id: row.parsed("id")?,
        user: row.parsed("user_id")?,
        name: row.get("name")?,
        email: row.get("email")?,
        note: row.get("note")?,
        created_at: row.time("created_at")?,
    })
}
