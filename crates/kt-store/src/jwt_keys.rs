//! The keys that sign access tokens. What is secret of them arrives sealed.

use jiff::Timestamp;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtKey {
    /// Its name in tokens.
    pub kid: String,
    /// Its public part, base64url.
    pub public_key: String,
    /// Its private part, sealed; none for a key that only verifies.
    pub private_key_sealed: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it signs.
    pub signs_from: Timestamp,
    /// From when on it verifies nothing any more.
    pub retires_at: Option<Timestamp>,
}

/// Adds a key.
pub async fn insert(tx: &Tx<'_>, key: &JwtKey) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO jwt_keys
            (kid, public_key, private_key_sealed, created_at, signs_from, retires_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let values = values![
        &key.kid,
        &key.public_key,
        key.private_key_sealed.clone(),
        key.created_at,
        key.signs_from,
        key.retires_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// The keys that verify at this moment, those that sign last listed last.
pub async fn verifying(source: &impl Source, now: Timestamp) -> Result<Vec<JwtKey>, StoreError> {
    const SELECT: &str =
        "SELECT * FROM jwt_keys WHERE retires_at IS NULL OR retires_at > $1 ORDER BY signs_from, kid";
    sql::rows(source, SELECT, values![now]).await?.iter().map(read).collect()
}

/// Lets one process at a time decide about the keys, until the transaction ends.
pub async fn lock(tx: &Tx<'_>) -> Result<(), StoreError> {
    tx.lock_table("jwt_keys").await
}

/// Lets all other keys retire at this moment.
pub async fn retire_others(tx: &Tx<'_>, kid: &str, at: Timestamp) -> Result<u64, StoreError> {
    const UPDATE: &str =
        "UPDATE jwt_keys SET retires_at = $2 WHERE kid <> $1 AND (retires_at IS NULL OR retires_at > $2)";
    sql::execute(tx, UPDATE, values![kid, at]).await
}

fn read(row: &Row) -> Result<JwtKey, StoreError> {
    Ok(JwtKey {
        kid: row.get("kid")?,
        public_key: row.get("public_key")?,
        private_key_sealed: row.get("private_key_sealed")?,
        created_at: row.time("created_at")?,
        signs_from: row.time("signs_from")?,
        retires_at: row.time_opt("retires_at")?,
    })
}
