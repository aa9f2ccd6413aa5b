//! Looking for records.

use jiff::Timestamp;
use kt_domain::audit::{ActionFilter, AuditFilter};
use kt_domain::events::{Head, Kind};
use kt_domain::id::OrganizationId;

use super::{ChainEntry, chain_of, read_head};
use crate::database::{Source, StoreError};
use crate::sql::{self, Row, values};

/// At most `limit` records of the organisation that stand before entry `before`, the newest first.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    filter: &AuditFilter,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<ChainEntry>, StoreError> {
    // The casts tell PostgreSQL the type of what is only compared with nothing. `substr` compares bytes on both
    // databases, where `LIKE` and ranges follow a collation.
    const SELECT: &str = "SELECT seq, body, hash FROM audit_records
        WHERE organization_id = $1 AND seq < $2 AND recorded_at >= $3 AND recorded_at < $4
            AND (CAST($5 AS TEXT) IS NULL OR action = $5)
            AND (CAST($6 AS TEXT) IS NULL OR substr(action, 1, length($6)) = $6)
            AND (CAST($7 AS TEXT) IS NULL OR actor_id = $7 OR actor_name = $7)
            AND (CAST($8 AS TEXT) IS NULL OR resource = $8)
            AND (CAST($9 AS TEXT) IS NULL OR outcome = $9)
        ORDER BY seq DESC LIMIT $10";
    let (exactly, below) = match filter.action.clone() {
        None => (None, None),
        Some(ActionFilter::Exactly(action)) => (Some(action.as_str().to_owned()), None),
        Some(ActionFilter::Below(prefix)) => (None, Some(prefix)),
    };
    let values = values![
        chain_of(Some(organization)),
        before.map_or(i64::MAX, u64::cast_signed),
        filter.since.unwrap_or(Timestamp::MIN),
        filter.until.unwrap_or(Timestamp::MAX),
        exactly,
        below,
        filter.actor.clone(),
        filter.resource.clone(),
        filter.outcome.map(|outcome| outcome.as_str().to_owned()),
        i64::from(limit),
    ];
    sql::rows(source, SELECT, values).await?.iter().map(read_record).collect()
}

/// The organisation's record of this id.
pub async fn find(
    source: &impl Source,
    organization: &OrganizationId,
    id: &str,
) -> Result<Option<ChainEntry>, StoreError> {
    const SELECT: &str = "SELECT seq, body, hash FROM audit_records WHERE organization_id = $1 AND id = $2";
    let values = values![chain_of(Some(organization)), id];
    sql::row(source, SELECT, values).await?.as_ref().map(read_record).transpose()
}

fn read_record(row: &Row) -> Result<ChainEntry, StoreError> {
    let Head { seq, hash } = read_head(row)?;
    Ok(ChainEntry { seq, kind: Kind::Audit, body: row.get("body")?, hash })
}

/// When the newest entry of all chains was made.
pub async fn newest(source: &impl Source) -> Result<Option<Timestamp>, StoreError> {
    // A chain that rests ends in a checkpoint.
    const SELECT: &str = "SELECT MAX(COALESCE(r.recorded_at, c.signed_at)) AS newest FROM audit_heads h
        LEFT JOIN audit_records r ON r.organization_id = h.organization_id AND r.seq = h.seq
        LEFT JOIN audit_checkpoints c ON c.organization_id = h.organization_id AND c.seq = h.seq";
    sql::row(source, SELECT, values![]).await?.map_or(Ok(None), |row| row.time_opt("newest"))
}
