//! How far each sink outside has each chain. A position is leased by whoever sends, so that two servers never do at once.

use jiff::Timestamp;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A position that was leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The sink.
    pub sink: String,
    /// The chain.
    pub chain: String,
    /// The last entry that the sink has taken; 0 for none.
    pub seq: u64,
    /// How often the entries behind it were tried, the try under way included.
    pub attempts: u32,
}

/// The chains of which this sink lacks entries that are due to be sent, the longest waiting first.
pub async fn due(source: &impl Source, sink: &str, now: Timestamp) -> Result<Vec<String>, StoreError> {
    const SELECT: &str = "SELECT audit_heads.organization_id
        FROM audit_heads LEFT JOIN audit_deliveries
            ON audit_deliveries.organization_id = audit_heads.organization_id AND audit_deliveries.sink = $1
        WHERE audit_heads.seq > COALESCE(audit_deliveries.seq, 0) AND COALESCE(audit_deliveries.due_at, $2) <= $2
        ORDER BY COALESCE(audit_deliveries.due_at, $2), audit_heads.organization_id";
    let rows = sql::rows(source, SELECT, values![sink, now]).await?;
    rows.iter().map(|row| row.get("organization_id")).collect()
}

/// How much a sink lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// How many entries, over all chains.
    pub entries: i64,
    /// When the oldest of them was made; `None` where it lacks nothing.
    pub oldest: Option<Timestamp>,
    /// Why the last try failed, where one has.
    pub reason: Option<String>,
}

/// How much this sink lacks at the moment.
pub async fn lag(source: &impl Source, sink: &str) -> Result<Lag, StoreError> {
    const SELECT: &str =
        "SELECT CAST(COALESCE(SUM(h.seq - COALESCE(d.seq, 0)), 0) AS BIGINT) AS entries, MAX(d.reason) AS reason,
            MIN(COALESCE(r.recorded_at, c.signed_at)) AS oldest
        FROM audit_heads h
        LEFT JOIN audit_deliveries d ON d.organization_id = h.organization_id AND d.sink = $1
        LEFT JOIN audit_records r ON r.organization_id = h.organization_id AND r.seq = COALESCE(d.seq, 0) + 1
        LEFT JOIN audit_checkpoints c ON c.organization_id = h.organization_id AND c.seq = COALESCE(d.seq, 0) + 1";
    let row = sql::row(source, SELECT, values![sink]).await?;
    row.map_or(Ok(Lag { entries: 0, oldest: None, reason: None }), |row| {
        Ok(Lag { entries: row.get("entries")?, oldest: row.time_opt("oldest")?, reason: row.get("reason")? })
    })
}

/// What a sink lacks of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// The sink.
    pub sink: String,
    /// The chain.
    pub chain: String,
    /// How many entries of it.
    pub entries: i64,
    /// When the oldest of them was made.
    pub oldest: Timestamp,
}

/// What sinks lack that was made before `before`. Of sinks that were tried, or are to be, since `tried_since` alone.
pub async fn late(
    source: &impl Source,
    before: Timestamp,
    tried_since: Timestamp,
) -> Result<Vec<Late>, StoreError> {
    const SELECT: &str =
        "SELECT d.sink, d.organization_id, h.seq - d.seq AS entries, COALESCE(r.recorded_at, c.signed_at) AS oldest
        FROM audit_deliveries d
        JOIN audit_heads h ON h.organization_id = d.organization_id AND h.seq > d.seq
        LEFT JOIN audit_records r ON r.organization_id = d.organization_id AND r.seq = d.seq + 1
        LEFT JOIN audit_checkpoints c ON c.organization_id = d.organization_id AND c.seq = d.seq + 1
        WHERE d.due_at >= $2 AND COALESCE(r.recorded_at, c.signed_at) < $1
        ORDER BY d.sink, d.organization_id";
    let rows = sql::rows(source, SELECT, values![before, tried_since]).await?;
    let read = |row: &Row| {
        Ok(Late {
            sink: row.get("sink")?,
            chain: row.get("organization_id")?,
            entries: row.get("entries")?,
            oldest: row.time("oldest")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Takes a due position until `until`, when it is due again. Of all who try, one gets it.
pub async fn lease(
    tx: &Tx<'_>,
    sink: &str,
    chain: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Delivery>, StoreError> {
    const UPSERT: &str = "INSERT INTO audit_deliveries (sink, organization_id, seq, attempts, due_at)
        VALUES ($1, $2, 0, 1, $4)
        ON CONFLICT (sink, organization_id) DO UPDATE
            SET due_at = $4, attempts = audit_deliveries.attempts + 1 WHERE audit_deliveries.due_at <= $3
        RETURNING seq, attempts";
    let Some(row) = sql::row(tx, UPSERT, values![sink, chain, now, until]).await? else { return Ok(None) };
    Ok(Some(Delivery {
        sink: sink.to_owned(),
        chain: chain.to_owned(),
        seq: row.get::<i64>("seq")?.cast_unsigned(),
        attempts: u32::try_from(row.get::<i64>("attempts")?).unwrap_or(u32::MAX),
    }))
}

/// The sink has taken everything up to entry `seq`. Nothing happens when somebody else has taken the lease since: they
/// send the same again.
pub async fn advance(tx: &Tx<'_>, delivery: &Delivery, seq: u64, now: Timestamp) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE audit_deliveries SET seq = $5, attempts = 0, due_at = $6, reason = NULL
        WHERE sink = $1 AND organization_id = $2 AND seq = $3 AND attempts = $4";
    let Delivery { sink, chain, seq: before, attempts } = delivery;
    let values = values![sink, chain, before.cast_signed(), i64::from(*attempts), seq.cast_signed(), now];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}

/// The sink did not take it; it is due again at `due_at`.
pub async fn put_off(
    tx: &Tx<'_>,
    delivery: &Delivery,
    due_at: Timestamp,
    reason: &str,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE audit_deliveries SET due_at = $5, reason = $6
        WHERE sink = $1 AND organization_id = $2 AND seq = $3 AND attempts = $4";
    let Delivery { sink, chain, seq, attempts } = delivery;
    let values = values![sink, chain, seq.cast_signed(), i64::from(*attempts), due_at, reason];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}
