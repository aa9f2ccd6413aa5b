//! Counting how often something happens, exactly, over all processes.

use std::time::Duration;

use jiff::Timestamp;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, values};

/// How many there are, and when the count starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub count: i64,
    /// From when on there are none.
    pub ends_at: Timestamp,
}

/// Counts one more and tells how many there are now. A count starts anew once `window` has passed since its first.
pub async fn count(tx: &Tx<'_>, key: &str, window: Duration, now: Timestamp) -> Result<i64, StoreError> {
    Ok(count_until(tx, key, window, now).await?.count)
}

/// The same, and when the count starts anew.
pub async fn count_until(
    tx: &Tx<'_>,
    key: &str,
    window: Duration,
    now: Timestamp,
) -> Result<Counted, StoreError> {
    const UPSERT: &str = "INSERT INTO counters (key, count, expires_at) VALUES ($1, 1, $2)
        ON CONFLICT (key) DO UPDATE SET
            count = CASE WHEN counters.expires_at <= $3 THEN 1 ELSE counters.count + 1 END,
            expires_at = CASE WHEN counters.expires_at <= $3 THEN excluded.expires_at ELSE counters.expires_at END
        RETURNING count, expires_at";
    let row = sql::row(tx, UPSERT, values![key, now + window, now]).await?;
    row.map_or(Ok(Counted { count: 0, ends_at: now }), |row| {
        Ok(Counted { count: row.get("count")?, ends_at: row.time("expires_at")? })
    })
}

/// Lets the count of `key` hold until `until` at least: a lock lasts from the try that caused it.
pub async fn extend(tx: &Tx<'_>, key: &str, until: Timestamp) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE counters SET expires_at = $2 WHERE key = $1 AND expires_at < $2";
    sql::execute(tx, UPDATE, values![key, until]).await?;
    Ok(())
}

/// How many there are, without counting one.
pub async fn current(source: &impl Source, key: &str, now: Timestamp) -> Result<i64, StoreError> {
    const SELECT: &str = "SELECT count FROM counters WHERE key = $1 AND expires_at > $2";
    let row = sql::row(source, SELECT, values![key, now]).await?;
    row.map_or(Ok(0), |row| row.get("count"))
}

/// Takes back one that was counted.
pub async fn take_back(tx: &Tx<'_>, key: &str) -> Result<(), StoreError> {
    sql::execute(tx, "UPDATE counters SET count = count - 1 WHERE key = $1 AND count > 0", values![key])
        .await?;
    Ok(())
}

/// Starts a count anew.
pub async fn reset(tx: &Tx<'_>, key: &str) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM counters WHERE key = $1", values![key]).await?;
    Ok(())
}

/// Starts anew the count of `key` and of everything below it: `key/…`. Tells how many there were.
pub async fn reset_below(tx: &Tx<'_>, key: &str) -> Result<u64, StoreError> {
    // Not by a range: databases with a language's collation sort `/` elsewhere.
    const DELETE: &str = "DELETE FROM counters WHERE key = $1 OR substr(key, 1, length($1) + 1) = $1 || '/'";
    sql::execute(tx, DELETE, values![key]).await
}

/// Forgets counts that have ended.
pub async fn forget_expired(tx: &Tx<'_>, now: Timestamp) -> Result<u64, StoreError> {
    sql::execute(tx, "DELETE FROM counters WHERE expires_at <= $1", values![now]).await
}
