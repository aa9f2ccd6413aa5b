//! Looking for records.

use jiff::Timestamp;
use kt_domain::audit::{ActionFilter, AuditFilter};
use kt_domain::events::{Head, Kind};
use kt_domain::id::{ApiKeyId, OrganizationId, UserId};

use super::{ChainEntry, chain_of, read_head};
use crate::database::{Source, StoreError};
use crate::sql::{self, Composed, Row, values};

/// At most `limit` records of the organization that stand before entry `before`, the newest first. Each filter that asks
/// for one value has an index that also orders.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    filter: &AuditFilter,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<ChainEntry>, StoreError> {
    let mut query = Composed::new("SELECT seq, body, hash FROM audit_records WHERE organization_id = ");
    query.value(chain_of(Some(organization)));
    match &filter.action {
        None => {}
        Some(ActionFilter::Exactly(action)) => {
            query.text(" AND action = ").value(action.as_str());
        }
        // `substr` compares bytes on both databases, where `LIKE` and ranges follow a collation.
        Some(ActionFilter::Below(prefix)) => {
            let length = i64::try_from(prefix.len()).unwrap_or(i64::MAX);
            query.text(" AND substr(action, 1, CAST(").value(length).text(" AS INTEGER)) = ").value(prefix);
        }
    }
    if let Some(actor) = &filter.actor {
        query.text(if names_by_id(actor) { " AND actor_id = " } else { " AND actor_name = " }).value(actor);
    }
    query
        .and("resource = ", filter.resource.clone())
        .and("outcome = ", filter.outcome.map(|outcome| outcome.as_str().to_owned()))
        .and("recorded_at >= ", filter.since.map(Timestamp::as_microsecond))
        .and("recorded_at < ", filter.until.map(Timestamp::as_microsecond))
        .and("seq < ", before.map(u64::cast_signed))
        .text(" ORDER BY seq DESC LIMIT ")
        .value(i64::from(limit));
    query.rows(source).await?.iter().map(read_record).collect()
}

/// Whether an actor is named by an identifier. All else is a name: the operator's and the server's parts have the same
/// text for both.
fn names_by_id(actor: &str) -> bool {
    actor.parse::<UserId>().is_ok() || actor.parse::<ApiKeyId>().is_ok()
}

/// The organization's record of this id.
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
