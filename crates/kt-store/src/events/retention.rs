//! Removing what need not be kept any longer: whole segments from the beginning of a gateway's chain.

use jiff::{SignedDuration, Timestamp};
use kt_domain::events::{Checkpoint, Hash, SegmentStart};
use kt_domain::id::OrganizationId;

use super::{GatewayChain, read_chain};
use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// The beginning of a chain that need not be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RipePrefix {
    /// Its first entry.
    pub first: u64,
    /// The first entry that stays.
    pub first_kept: u64,
    /// The hash of its last entry.
    pub last_hash: Hash,
    /// For how many days its events were to be kept.
    pub retention_days: u32,
}

/// The chains of all gateways that have delivered events.
pub async fn chains(source: &impl Source) -> Result<Vec<(OrganizationId, GatewayChain)>, StoreError> {
    const SELECT: &str = "SELECT * FROM event_chains ORDER BY organization_id, gateway_id";
    let rows = sql::rows(source, SELECT, values![]).await?;
    rows.iter().map(|row| Ok((row.parsed("organization_id")?, read_chain(row)?))).collect()
}

/// The first segment of the chain, once its retention has ended at `now`: as many days as the gateway has stated after
/// the last moment at which it was signed. Immutable or not, nothing goes before.
pub async fn ripe_prefix(
    source: &impl Source,
    organization: &OrganizationId,
    chain: &GatewayChain,
    now: Timestamp,
) -> Result<Option<RipePrefix>, StoreError> {
    const SEGMENTS: &str = "SELECT seq, body FROM event_statements
        WHERE organization_id = $1 AND gateway_id = $2 AND kind = 'segment' ORDER BY seq LIMIT 2";
    const LAST_CHECKPOINT: &str = "SELECT body FROM event_statements
        WHERE organization_id = $1 AND gateway_id = $2 AND kind = 'checkpoint' AND seq < $3
        ORDER BY seq DESC LIMIT 1";
    let gateway = chain.gateway_id.as_str();
    let segments = sql::rows(source, SEGMENTS, values![organization.as_str(), gateway]).await?;
    let mut segments = segments.iter().map(read_segment);
    let Some((first, start)) = segments.next().transpose()? else { return Ok(None) };
    let (first_kept, last_hash) = match segments.next().transpose()? {
        Some((next, next_start)) => (next, next_start.previous_hash),
        None => (chain.head.seq + 1, chain.head.hash),
    };
    let values = values![organization.as_str(), gateway, first_kept.cast_signed()];
    let Some(row) = sql::row(source, LAST_CHECKPOINT, values).await? else { return Ok(None) };
    let checkpoint: Checkpoint = row.document("body")?;
    let signed_at: Timestamp = checkpoint
        .timestamp
        .parse()
        .map_err(|why: jiff::Error| StoreError::Corrupt { what: "checkpoint", why: why.to_string() })?;
    let kept = SignedDuration::from_hours(24 * i64::from(start.retention_days));
    let is_ripe = now.duration_since(signed_at) > kept;
    let retention_days = start.retention_days;
    Ok(is_ripe.then_some(RipePrefix { first, first_kept, last_hash, retention_days }))
}

/// Removes all entries of the chain before this one. Tells how many of them were events.
pub async fn remove_before(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    gateway_id: &str,
    first_kept: u64,
) -> Result<u64, StoreError> {
    const EVENTS: &str = "DELETE FROM events WHERE organization_id = $1 AND gateway_id = $2 AND seq < $3";
    const STATEMENTS: &str =
        "DELETE FROM event_statements WHERE organization_id = $1 AND gateway_id = $2 AND seq < $3";
    let values = || values![organization.as_str(), gateway_id, first_kept.cast_signed()];
    let events = sql::execute(tx, EVENTS, values()).await?;
    sql::execute(tx, STATEMENTS, values()).await?;
    Ok(events)
}

/// The organizations that have events from before this moment with no place in a chain.
pub async fn with_loose(source: &impl Source, before: Timestamp) -> Result<Vec<OrganizationId>, StoreError> {
    const SELECT: &str = "SELECT DISTINCT organization_id FROM events WHERE seq IS NULL AND occurred_at < $1";
    let rows = sql::rows(source, SELECT, values![before]).await?;
    rows.iter().map(|row| row.parsed("organization_id")).collect()
}

/// Removes the events from before this moment with no place in a chain, and tells how many.
pub async fn remove_loose(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    before: Timestamp,
) -> Result<u64, StoreError> {
    const DELETE: &str = "DELETE FROM events WHERE organization_id = $1 AND seq IS NULL AND occurred_at < $2";
    sql::execute(tx, DELETE, values![organization.as_str(), before]).await
}

fn read_segment(row: &Row) -> Result<(u64, SegmentStart), StoreError> {
    Ok((row.get::<i64>("seq")?.cast_unsigned(), row.document("body")?))
}
