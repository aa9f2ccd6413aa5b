//! The audit log: one hash chain for each organisation, written in the transaction of the change that it records.

use kt_domain::audit::{AuditRecord, ChainHead, ChainedRecord};
use kt_domain::events::Hash;
use kt_domain::id::OrganizationId;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, values};

/// Appends a record to the organisation's chain. `None` is the chain of the deployment itself, for what happens before
/// an organisation is known or above all of them.
///
/// The head's row is written first, which makes writers of one organisation wait for each other until they commit.
pub async fn append(
    tx: &Tx<'_>,
    organization: Option<&OrganizationId>,
    record: &AuditRecord,
) -> Result<(), StoreError> {
    const TAKE_TURN: &str = "INSERT INTO audit_heads (organization_id, seq, hash) VALUES ($1, 0, $2)
        ON CONFLICT (organization_id) DO UPDATE SET seq = audit_heads.seq
        RETURNING seq, hash";
    const ADVANCE: &str = "UPDATE audit_heads SET seq = $2, hash = $3 WHERE organization_id = $1";
    const INSERT: &str =
        "INSERT INTO audit_records (organization_id, seq, id, recorded_at, action, actor_id, resource,
            outcome, body, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

    let chain = name_of(organization);
    let genesis = ChainHead::genesis(chain);
    let row = sql::row(tx, TAKE_TURN, values![chain, genesis.hash.to_string()]).await?;
    let head = match row {
        Some(row) => ChainHead { seq: row.get::<i64>("seq")?.cast_unsigned(), hash: row.parsed("hash")? },
        None => genesis,
    };
    let ChainedRecord { head, body } = head
        .append(record)
        .map_err(|why| StoreError::Corrupt { what: "audit record", why: why.to_string() })?;
    let seq = head.seq.cast_signed();
    sql::execute(tx, ADVANCE, values![chain, seq, head.hash.to_string()]).await?;
    let values = values![
        chain,
        seq,
        record.id.as_str(),
        record.timestamp,
        record.action.as_str(),
        &record.actor.id,
        &record.resource,
        record.outcome.as_str(),
        body,
        head.hash.to_string(),
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// A record as it stands in its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEntry {
    /// Its number, from 1.
    pub seq: u64,
    /// Its canonical form.
    pub body: String,
    /// Its hash.
    pub hash: Hash,
}

/// The whole chain, the oldest first.
pub async fn chain(
    source: &impl Source,
    organization: Option<&OrganizationId>,
) -> Result<Vec<ChainEntry>, StoreError> {
    const SELECT: &str = "SELECT seq, body, hash FROM audit_records WHERE organization_id = $1 ORDER BY seq";
    let rows = sql::rows(source, SELECT, values![name_of(organization)]).await?;
    rows.iter()
        .map(|row| {
            Ok(ChainEntry {
                seq: row.get::<i64>("seq")?.cast_unsigned(),
                body: row.get("body")?,
                hash: row.parsed("hash")?,
            })
        })
        .collect()
}

/// The first entry that does not follow the one before.
#[must_use]
pub fn first_broken<'a>(
    organization: Option<&OrganizationId>,
    chain: &'a [ChainEntry],
) -> Option<&'a ChainEntry> {
    let mut head = ChainHead::genesis(name_of(organization));
    chain.iter().find(|entry| {
        let expected =
            ChainHead { seq: head.seq + 1, hash: head.followed_by(head.seq + 1, entry.body.as_bytes()) };
        head = expected;
        (entry.seq, entry.hash) != (expected.seq, expected.hash)
    })
}

fn name_of(organization: Option<&OrganizationId>) -> &str {
    organization.map_or("deployment", OrganizationId::as_str)
}
