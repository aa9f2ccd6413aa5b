//! Mail that waits to be sent. A row is leased by whoever tries to send it, so that two servers never do at once.

use jiff::Timestamp;
use kt_domain::id::{MailId, OrganizationId};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Composed, Row, values};

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMail {
    /// Its identifier.
    pub id: MailId,
    /// The organization that it is about.
    pub organization: Option<OrganizationId>,
    /// What kind of message it is.
    pub kind: String,
    /// The address it goes to. `None` for nobody: it waits all the same, so that an address without an account costs the
    /// work of one with.
    pub recipient: Option<String>,
    /// The message, sealed: it may hold a one-time link.
    pub sealed: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// How often it was tried, the try under way included.
    pub attempts: u32,
}

/// A message that will not be sent any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedMail {
    /// Its identifier.
    pub id: MailId,
    /// What kind of message it was.
    pub kind: String,
    /// The address it was to go to.
    pub recipient: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was given up.
    pub failed_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Adds a message, due at once.
pub async fn insert(tx: &Tx<'_>, mail: &QueuedMail) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO mail_queue
            (id, organization_id, kind, recipient, sealed, created_at, attempts, due_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $6)";
    let values = values![
        mail.id.as_str(),
        mail.organization.as_ref().map(ToString::to_string),
        &mail.kind,
        mail.recipient.clone(),
        &mail.sealed,
        mail.created_at,
        i64::from(mail.attempts),
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// The messages that are due, the longest waiting first, at most `limit`.
pub async fn due(source: &impl Source, now: Timestamp, limit: u32) -> Result<Vec<MailId>, StoreError> {
    const SELECT: &str =
        "SELECT id FROM mail_queue WHERE failed_at IS NULL AND due_at <= $1 ORDER BY due_at, id LIMIT $2";
    let rows = sql::rows(source, SELECT, values![now, i64::from(limit)]).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Takes a due message until `until`, when it is due again. Of all who try, one gets it.
pub async fn lease(
    tx: &Tx<'_>,
    id: &MailId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<QueuedMail>, StoreError> {
    const UPDATE: &str = "UPDATE mail_queue SET due_at = $3, attempts = attempts + 1
        WHERE id = $1 AND failed_at IS NULL AND due_at <= $2
        RETURNING id, organization_id, kind, recipient, sealed, created_at, attempts";
    sql::row(tx, UPDATE, values![id.as_str(), now, until]).await?.as_ref().map(read).transpose()
}

/// The message was sent: it is forgotten.
pub async fn remove(tx: &Tx<'_>, mail: &QueuedMail) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM mail_queue WHERE id = $1", values![mail.id.as_str()]).await?;
    Ok(())
}

/// The message was not sent and is due again at `due_at`. Nothing happens when somebody else has taken it since.
pub async fn put_off(
    tx: &Tx<'_>,
    mail: &QueuedMail,
    due_at: Timestamp,
    reason: &str,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE mail_queue SET due_at = $3, reason = $4 WHERE id = $1 AND attempts = $2";
    let values = values![mail.id.as_str(), i64::from(mail.attempts), due_at, reason];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}

/// The message will not be sent. What it said is forgotten, that it failed is kept.
pub async fn give_up(tx: &Tx<'_>, mail: &QueuedMail, reason: &str, now: Timestamp) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE mail_queue SET failed_at = $2, reason = $3, sealed = '' WHERE id = $1";
    sql::execute(tx, UPDATE, values![mail.id.as_str(), now, reason]).await?;
    Ok(())
}

/// The messages that were given up, the latest first, at most `limit`.
pub async fn failed(source: &impl Source, limit: u32) -> Result<Vec<FailedMail>, StoreError> {
    const SELECT: &str = "SELECT id, kind, recipient, created_at, failed_at, reason FROM mail_queue
        WHERE failed_at IS NOT NULL ORDER BY failed_at DESC, id LIMIT $1";
    let rows = sql::rows(source, SELECT, values![i64::from(limit)]).await?;
    let read = |row: &Row| {
        Ok(FailedMail {
            id: row.parsed("id")?,
            kind: row.get("kind")?,
            recipient: row.get("recipient")?,
            created_at: row.time("created_at")?,
            failed_at: row.time("failed_at")?,
            reason: row.get("reason")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Forgets the messages that were given up before this time.
pub async fn forget_failed(tx: &Tx<'_>, before: Timestamp) -> Result<u64, StoreError> {
    sql::execute(tx, "DELETE FROM mail_queue WHERE failed_at < $1", values![before]).await
}

/// How the mail stands that does not leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many messages wait that were written before the time that was asked about.
    pub waiting: i64,
    /// When the oldest message that waits was written.
    pub oldest: Option<Timestamp>,
    /// How many were given up since the other time.
    pub given_up: i64,
}

/// How the mail of an organization stands, or all mail: what was written before `before` and waits, and what was given up
/// since `given_up_since`.
pub async fn backlog(
    source: &impl Source,
    organization: Option<&OrganizationId>,
    before: Timestamp,
    given_up_since: Timestamp,
) -> Result<Backlog, StoreError> {
    let mut query = Composed::new("SELECT COUNT(CASE WHEN failed_at IS NULL AND created_at < ");
    query
        .value(before.as_microsecond())
        .text(" THEN 1 END) AS waiting, MIN(CASE WHEN failed_at IS NULL THEN created_at END) AS oldest")
        .text(", COUNT(CASE WHEN failed_at >= ")
        .value(given_up_since.as_microsecond())
        .text(" THEN 1 END) AS given_up FROM mail_queue WHERE recipient IS NOT NULL")
        .and("organization_id = ", organization.map(ToString::to_string));
    let rows = query.rows(source).await?;
    rows.first().map_or(Ok(Backlog::default()), |row| {
        Ok(Backlog {
            waiting: row.get("waiting")?,
            oldest: row.time_opt("oldest")?,
            given_up: row.get("given_up")?,
        })
    })
}

fn read(row: &Row) -> Result<QueuedMail, StoreError> {
    Ok(QueuedMail {
        id: row.parsed("id")?,
        organization: row.parsed_opt("organization_id")?,
        kind: row.get("kind")?,
        recipient: row.get("recipient")?,
        sealed: row.get("sealed")?,
        created_at: row.time("created_at")?,
        attempts: u32::try_from(row.get::<i64>("attempts")?).unwrap_or(u32::MAX),
    })
}
