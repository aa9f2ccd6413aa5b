//! Signed statements about how far a chain has come, and the key that signs them.

use jiff::Timestamp;
use kt_domain::audit;
use kt_domain::events::{Checkpoint, Head, Kind};

use super::{advance, read_head, take_turn};
use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// The key that signs checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// Its public part, 64 hexadecimal digits.
    pub public_key: String,
    /// Its private part, sealed.
    pub private_key_sealed: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The key; `None` before the first start.
pub async fn signing_key(source: &impl Source) -> Result<Option<SigningKey>, StoreError> {
    let row = sql::row(source, "SELECT * FROM audit_signing_key", values![]).await?;
    row.as_ref().map(read_key).transpose()
}

/// Keeps this key, unless there is one already; tells which it is now. Of several processes that start at once, one
/// makes the key.
pub async fn insert_signing_key(tx: &Tx<'_>, key: &SigningKey) -> Result<SigningKey, StoreError> {
    const INSERT: &str = "INSERT INTO audit_signing_key (id, public_key, private_key_sealed, created_at)
        VALUES (1, $1, $2, $3)
        ON CONFLICT (id) DO UPDATE SET id = 1
        RETURNING *";
    let values = values![&key.public_key, &key.private_key_sealed, key.created_at];
    match sql::row(tx, INSERT, values).await? {
        Some(row) => read_key(&row),
        None => Ok(key.clone()),
    }
}

/// The chains whose last entry is no checkpoint.
pub async fn unsigned(source: &impl Source) -> Result<Vec<String>, StoreError> {
    const SELECT: &str = "SELECT organization_id FROM audit_heads
        WHERE seq > 0 AND NOT EXISTS (
            SELECT 1 FROM audit_checkpoints
            WHERE audit_checkpoints.organization_id = audit_heads.organization_id
                AND audit_checkpoints.seq = audit_heads.seq)
        ORDER BY organization_id";
    let rows = sql::rows(source, SELECT, values![]).await?;
    rows.iter().map(|row| row.get("organization_id")).collect()
}

/// Ends the chain in a checkpoint, made by `sign` for what stands before it. Tells where the chain ends then; a chain
/// that is empty, or ends in a checkpoint already, is left as it is.
pub async fn append_checkpoint(
    tx: &Tx<'_>,
    chain: &str,
    now: Timestamp,
    sign: impl FnOnce(Head) -> Checkpoint,
) -> Result<Head, StoreError> {
    const INSERT: &str = "INSERT INTO audit_checkpoints (organization_id, seq, signed_at, body, hash)
        VALUES ($1, $2, $3, $4, $5)";
    let head = take_turn(tx, chain).await?;
    if head.seq == 0 || is_checkpoint(tx, chain, head).await? {
        return Ok(head);
    }
    let body = sql::document(&sign(head))?;
    let head = head.followed_by(Kind::Checkpoint, body.as_bytes());
    advance(tx, chain, head).await?;
    let values = values![chain, head.seq.cast_signed(), now, body, head.hash.to_string()];
    sql::execute(tx, INSERT, values).await?;
    Ok(head)
}

async fn is_checkpoint(source: &impl Source, chain: &str, head: Head) -> Result<bool, StoreError> {
    const SELECT: &str = "SELECT 1 FROM audit_checkpoints WHERE organization_id = $1 AND seq = $2";
    Ok(sql::row(source, SELECT, values![chain, head.seq.cast_signed()]).await?.is_some())
}

/// The last checkpoint that was signed before `time`.
pub async fn checkpoint_before(
    source: &impl Source,
    chain: &str,
    time: Timestamp,
) -> Result<Option<Head>, StoreError> {
    const SELECT: &str = "SELECT seq, hash FROM audit_checkpoints
        WHERE organization_id = $1 AND signed_at < $2 ORDER BY seq DESC LIMIT 1";
    sql::row(source, SELECT, values![chain, time]).await?.as_ref().map(read_head).transpose()
}

/// The first checkpoint that was signed at `time` or later.
pub async fn checkpoint_after(
    source: &impl Source,
    chain: &str,
    time: Timestamp,
) -> Result<Option<Head>, StoreError> {
    const SELECT: &str = "SELECT seq, hash FROM audit_checkpoints
        WHERE organization_id = $1 AND signed_at >= $2 ORDER BY seq LIMIT 1";
    sql::row(source, SELECT, values![chain, time]).await?.as_ref().map(read_head).transpose()
}

/// How far a chain has come, and how far it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainStanding {
    /// Its last entry.
    pub head: Head,
    /// The last signature in it, and when it was made.
    pub signed: Option<(Head, Timestamp)>,
}

/// How far a chain has come.
pub async fn standing(source: &impl Source, chain: &str) -> Result<ChainStanding, StoreError> {
    const HEAD: &str = "SELECT seq, hash FROM audit_heads WHERE organization_id = $1";
    const SIGNED: &str = "SELECT seq, hash, signed_at FROM audit_checkpoints
        WHERE organization_id = $1 ORDER BY seq DESC LIMIT 1";
    let head = sql::row(source, HEAD, values![chain]).await?.as_ref().map(read_head).transpose()?;
    let signed = sql::row(source, SIGNED, values![chain]).await?;
    let signed =
        signed.map(|row| Ok::<_, StoreError>((read_head(&row)?, row.time("signed_at")?))).transpose()?;
    Ok(ChainStanding { head: head.unwrap_or_else(|| audit::genesis(chain)), signed })
}

fn read_key(row: &Row) -> Result<SigningKey, StoreError> {
    Ok(SigningKey {
        public_key: row.get("public_key")?,
        private_key_sealed: row.get("private_key_sealed")?,
        created_at: row.time("created_at")?,
    })
}
