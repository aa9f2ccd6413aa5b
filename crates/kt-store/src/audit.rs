//! The audit log: one hash chain for each organization, written in the transaction of the change that it records.

mod checkpoints;
pub mod deliveries;
mod query;

use kt_domain::audit::{self, AuditRecord, ChainedRecord};
use kt_domain::events::{Hash, Head, Kind};
use kt_domain::id::OrganizationId;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

pub use checkpoints::{
    ChainStanding, SigningKey, append_checkpoint, checkpoint_after, checkpoint_before, insert_signing_key,
    signing_key, standing, unsigned,
};
pub use query::{find, newest, page};

/// The name of the deployment's own chain: for what happens before an organization is known or above all of them.
pub const DEPLOYMENT: &str = "deployment";

/// The name of an organization's chain; without one, that of the deployment's own.
#[must_use]
pub fn chain_of(organization: Option<&OrganizationId>) -> &str {
    organization.map_or(DEPLOYMENT, OrganizationId::as_str)
}

/// Appends a record to the organization's chain, or to the deployment's own.
pub async fn append(
    tx: &Tx<'_>,
    organization: Option<&OrganizationId>,
    record: &AuditRecord,
) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO audit_records (organization_id, seq, id, recorded_at, action, actor_id, actor_name, resource,
            outcome, stands_for, body, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

    let chain = chain_of(organization);
    let ChainedRecord { head, body } = audit::append(take_turn(tx, chain).await?, record)
        .map_err(|why| StoreError::Corrupt { what: "audit record", why: why.to_string() })?;
    advance(tx, chain, head).await?;
    let values = values![
        chain,
        head.seq.cast_signed(),
        record.id.as_str(),
        record.timestamp,
        record.action.as_str(),
        &record.actor.id,
        &record.actor.name,
        &record.resource,
        record.outcome.as_str(),
        record.stands_for().cast_signed(),
        body,
        head.hash.to_string(),
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// The end of the chain. Its row is written first, which makes writers of one chain wait for each other until they
/// commit.
async fn take_turn(tx: &Tx<'_>, chain: &str) -> Result<Head, StoreError> {
    const TAKE_TURN: &str = "INSERT INTO audit_heads (organization_id, seq, hash) VALUES ($1, 0, $2)
        ON CONFLICT (organization_id) DO UPDATE SET seq = audit_heads.seq
        RETURNING seq, hash";
    let genesis = audit::genesis(chain);
    match sql::row(tx, TAKE_TURN, values![chain, genesis.hash.to_string()]).await? {
        Some(row) => read_head(&row),
        None => Ok(genesis),
    }
}

async fn advance(tx: &Tx<'_>, chain: &str, head: Head) -> Result<(), StoreError> {
    const ADVANCE: &str = "UPDATE audit_heads SET seq = $2, hash = $3 WHERE organization_id = $1";
    sql::execute(tx, ADVANCE, values![chain, head.seq.cast_signed(), head.hash.to_string()]).await?;
    Ok(())
}

/// An entry as it stands in its chain: a record or a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEntry {
    /// Its number, from 1.
    pub seq: u64,
    /// What it is.
    pub kind: Kind,
    /// Its canonical form.
    pub body: String,
    /// Its hash.
    pub hash: Hash,
}

impl ChainEntry {
    /// The head of a chain whose last entry this is.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }

    /// Its line in an export.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        self.kind.line(self.body.as_bytes(), self.head())
    }
}

/// At most `limit` entries of the chain behind entry `after`, the oldest first.
pub async fn entries(
    source: &impl Source,
    chain: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<ChainEntry>, StoreError> {
    const SELECT: &str = "SELECT seq, body, hash, FALSE AS is_checkpoint FROM audit_records
            WHERE organization_id = $1 AND seq > $2
        UNION ALL SELECT seq, body, hash, TRUE FROM audit_checkpoints
            WHERE organization_id = $1 AND seq > $2
        ORDER BY seq LIMIT $3";
    let values = values![chain, after.cast_signed(), i64::from(limit)];
    sql::rows(source, SELECT, values).await?.iter().map(read_entry).collect()
}

/// The whole chain, the oldest first.
pub async fn chain(
    source: &impl Source,
    organization: Option<&OrganizationId>,
) -> Result<Vec<ChainEntry>, StoreError> {
    entries(source, chain_of(organization), 0, u32::MAX).await
}

fn read_entry(row: &Row) -> Result<ChainEntry, StoreError> {
    let kind = if row.get("is_checkpoint")? { Kind::Checkpoint } else { Kind::Audit };
    let Head { seq, hash } = read_head(row)?;
    Ok(ChainEntry { seq, kind, body: row.get("body")?, hash })
}

fn read_head(row: &Row) -> Result<Head, StoreError> {
    Ok(Head { seq: row.get::<i64>("seq")?.cast_unsigned(), hash: row.parsed("hash")? })
}
