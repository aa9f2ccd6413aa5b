//! Requests that are carried out once, however often they are sent, with what they were answered.

use jiff::Timestamp;
use kt_domain::secret::SecretDigest;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, values};

/// A request that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnceRequest {
    /// Of everything that was asked.
    pub fingerprint: SecretDigest,
    /// When it began.
    pub begun_at: Timestamp,
    /// What was answered, sealed; `None` until that is known.
    pub answer: Option<String>,
}

/// Begins a request that nobody has begun; it is remembered until `expires_at`. Of all who try, one gets `true`.
pub async fn begin(
    tx: &Tx<'_>,
    digest: &SecretDigest,
    fingerprint: &SecretDigest,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    const DELETE: &str = "DELETE FROM once_requests WHERE digest = $1 AND expires_at <= $2";
    const INSERT: &str = "INSERT INTO once_requests (digest, fingerprint, begun_at, expires_at)
        VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING";
    sql::execute(tx, DELETE, values![digest.to_string(), now]).await?;
    let values = values![digest.to_string(), fingerprint.to_string(), now, expires_at];
    Ok(sql::execute(tx, INSERT, values).await? == 1)
}

/// The request that was begun under this digest.
pub async fn find(
    source: &impl Source,
    digest: &SecretDigest,
    now: Timestamp,
) -> Result<Option<OnceRequest>, StoreError> {
    const SELECT: &str = "SELECT fingerprint, begun_at, answer FROM once_requests
        WHERE digest = $1 AND expires_at > $2";
    let row = sql::row(source, SELECT, values![digest.to_string(), now]).await?;
    let read = |row: sql::Row| {
        Ok(OnceRequest {
            fingerprint: row.parsed("fingerprint")?,
            begun_at: row.time("begun_at")?,
            answer: row.get("answer")?,
        })
    };
    row.map(read).transpose()
}

/// Keeps what was answered.
pub async fn finish(tx: &Tx<'_>, digest: &SecretDigest, answer: &str) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE once_requests SET answer = $2 WHERE digest = $1 AND answer IS NULL";
    sql::execute(tx, UPDATE, values![digest.to_string(), answer]).await?;
    Ok(())
}

/// Forgets a request that changed nothing: it may be sent again.
pub async fn give_up(tx: &Tx<'_>, digest: &SecretDigest) -> Result<(), StoreError> {
    const DELETE: &str = "DELETE FROM once_requests WHERE digest = $1 AND answer IS NULL";
    sql::execute(tx, DELETE, values![digest.to_string()]).await?;
    Ok(())
}

/// Forgets what has expired.
pub async fn forget_expired(tx: &Tx<'_>, now: Timestamp) -> Result<u64, StoreError> {
    sql::execute(tx, "DELETE FROM once_requests WHERE expires_at <= $1", values![now]).await
}
