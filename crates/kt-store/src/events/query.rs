//! Looking for events.

use jiff::Timestamp;
use kt_domain::id::OrganizationId;
use serde::{Deserialize, Serialize};

use super::word;
use crate::database::{Source, StoreError};
use crate::event_log::EventFilter;
use crate::sql::{Composed, Row};

/// Where an event stands among all: by its time, then by its identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub occurred_at: i64,
    /// The event's identifier.
    pub id: String,
}

/// An event that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEvent {
    /// Where it stands.
    pub position: Position,
    /// Its JSON text, as the gateway recorded it.
    pub body: String,
}

/// Up to `limit` events of an organisation that fit, the newest first, those behind `after`.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    filter: &EventFilter,
    after: Option<&Position>,
    limit: u32,
) -> Result<Vec<FoundEvent>, StoreError> {
    let mut query = Composed::new("SELECT occurred_at, id, body FROM events WHERE organization_id = ");
    query
        .value(organization.as_str())
        .and("event_type = ", filter.event_type.as_ref().map(word).transpose()?)
        .and("verdict = ", filter.verdict.as_ref().map(word).transpose()?)
        .and("source_ip = ", filter.source_ip.map(|ip| ip.to_string()))
        .and("request_id = ", filter.request_id.clone())
        .and("gateway_id = ", filter.gateway_id.clone())
        .and("occurred_at >= ", filter.since.map(Timestamp::as_microsecond))
        .and("occurred_at < ", filter.until.map(Timestamp::as_microsecond));
    if let Some(after) = after {
        query.text(" AND (occurred_at, id) < (").value(after.occurred_at);
        query.text(", ").value(&after.id).text(")");
    }
    query.text(" ORDER BY occurred_at DESC, id DESC LIMIT ").value(i64::from(limit));
    query.rows(source).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<FoundEvent, StoreError> {
    let position = Position { occurred_at: row.get("occurred_at")?, id: row.get("id")? };
    Ok(FoundEvent { position, body: row.get("body")? })
}
