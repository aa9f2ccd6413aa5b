//! Looking for events.

use jiff::Timestamp;
use kt_domain::events::{Checkpoint, Head};
use kt_domain::id::OrganizationId;
use serde::{Deserialize, Serialize};

use super::{GatewayChain, read_chain, read_head, word};
use crate::database::{Source, StoreError};
use crate::event_log::EventFilter;
use crate::sql::{self, Composed, Row, values};

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

/// Up to `limit` events of an organization that fit, the newest first, those behind `after`.
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

/// An event, and where it stands in its gateway's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEvent {
    /// Its JSON text, as the gateway recorded it.
    pub body: String,
    /// The gateway that recorded it.
    pub gateway_id: String,
    /// Its place in the gateway's chain, if it was delivered as an entry of one.
    pub head: Option<Head>,
}

/// The organization's event of this id.
pub async fn find(
    source: &impl Source,
    organization: &OrganizationId,
    id: &str,
) -> Result<Option<KeptEvent>, StoreError> {
    const SELECT: &str =
        "SELECT body, gateway_id, seq, hash FROM events WHERE organization_id = $1 AND id = $2";
    let row = sql::row(source, SELECT, values![organization.as_str(), id]).await?;
    row.as_ref().map(read_kept).transpose()
}

fn read_kept(row: &Row) -> Result<KeptEvent, StoreError> {
    let place: Option<i64> = row.get("seq")?;
    let head = place.map(|_| read_head(row)).transpose()?;
    Ok(KeptEvent { body: row.get("body")?, gateway_id: row.get("gateway_id")?, head })
}

/// Whether the organization has any event.
pub async fn any(source: &impl Source, organization: &OrganizationId) -> Result<bool, StoreError> {
    const SELECT: &str = "SELECT 1 FROM events WHERE organization_id = $1 LIMIT 1";
    Ok(sql::row(source, SELECT, values![organization.as_str()]).await?.is_some())
}

/// A gateway's chain, and how far it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainStanding {
    /// The chain, as far as it has been delivered.
    pub chain: GatewayChain,
    /// The number of the last entry that is a signature, and when it was made.
    pub signed: Option<(u64, Timestamp)>,
}

/// The chains of an organization's gateways, or of this one alone, by their names; at most `limit`.
pub async fn standings(
    source: &impl Source,
    organization: &OrganizationId,
    gateway_id: Option<&str>,
    limit: u32,
) -> Result<Vec<ChainStanding>, StoreError> {
    let mut query = Composed::new(
        "SELECT c.*, s.seq AS signed_seq, s.body AS checkpoint FROM event_chains c
        LEFT JOIN event_statements s ON s.organization_id = c.organization_id AND s.gateway_id = c.gateway_id
            AND s.seq = (SELECT MAX(k.seq) FROM event_statements k WHERE k.organization_id = c.organization_id
                AND k.gateway_id = c.gateway_id AND k.kind = 'checkpoint')
        WHERE c.organization_id = ",
    );
    query.value(organization.as_str()).and("c.gateway_id = ", gateway_id);
    query.text(" ORDER BY c.gateway_id LIMIT ").value(i64::from(limit));
    query.rows(source).await?.iter().map(read_standing).collect()
}

fn read_standing(row: &Row) -> Result<ChainStanding, StoreError> {
    let signed = match row.get::<Option<i64>>("signed_seq")? {
        None => None,
        Some(seq) => {
            let checkpoint: Checkpoint = row.document("checkpoint")?;
            let at = checkpoint.timestamp.parse().map_err(|why: jiff::Error| StoreError::Corrupt {
                what: "checkpoint",
                why: why.to_string(),
            })?;
            Some((seq.cast_unsigned(), at))
        }
    };
    Ok(ChainStanding { chain: read_chain(row)?, signed })
}

fn read(row: &Row) -> Result<FoundEvent, StoreError> {
    let position = Position { occurred_at: row.get("occurred_at")?, id: row.get("id")? };
    Ok(FoundEvent { position, body: row.get("body")? })
}
