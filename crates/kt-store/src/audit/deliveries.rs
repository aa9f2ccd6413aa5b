//! How far each sink outside has each chain.

use jiff::Timestamp;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, values};

/// How far a sink has a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The chain.
    pub chain: String,
    /// The last entry that the sink has taken; 0 for none.
    pub seq: u64,
}

/// The chains that this sink does not have to their end.
pub async fn deliveries(source: &impl Source, sink: &str) -> Result<Vec<Delivery>, StoreError> {
    const SELECT: &str = "SELECT audit_heads.organization_id, COALESCE(audit_deliveries.seq, 0) AS seq
        FROM audit_heads LEFT JOIN audit_deliveries
            ON audit_deliveries.organization_id = audit_heads.organization_id AND audit_deliveries.sink = $1
        WHERE audit_heads.seq > COALESCE(audit_deliveries.seq, 0)
        ORDER BY audit_heads.organization_id";
    let rows = sql::rows(source, SELECT, values![sink]).await?;
    rows.iter()
        .map(|row| {
            Ok(Delivery { chain: row.get("organization_id")?, seq: row.get::<i64>("seq")?.cast_unsigned() })
        })
        .collect()
}

/// Notes that the sink has taken the chain up to this entry.
pub async fn note_delivery(
    tx: &Tx<'_>,
    sink: &str,
    delivery: &Delivery,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO audit_deliveries (sink, organization_id, seq, delivered_at)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (sink, organization_id)
        DO UPDATE SET seq = $3, delivered_at = $4 WHERE audit_deliveries.seq < $3";
    sql::execute(tx, UPSERT, values![sink, &delivery.chain, delivery.seq.cast_signed(), now]).await?;
    Ok(())
}
