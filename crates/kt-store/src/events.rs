//! Events as gateways have delivered them: each gateway's chain, entry by entry, and the events in it to be looked
//! through.

mod counts;
mod query;
mod retention;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::events::{EventType, Hash, Head, Kind, PublicKey, Verdict};
use kt_domain::id::OrganizationId;
use kt_domain::traffic::{Counted, Tally};
use serde::Serialize;

use crate::database::{StoreError, Tx};
use crate::sql::{self, Composed, Row, values};
use crate::usage::{self, NewUsage};

pub use counts::{forget_counts, hour_of, tallies, tallies_of_gateways};
pub use query::{ChainStanding, FoundEvent, KeptEvent, Position, any, find, page, standings};
pub use retention::{RipePrefix, chains, remove_before, remove_loose, ripe_prefix, with_loose};

/// A gateway's chain, as far as it has been delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayChain {
    /// The gateway.
    pub gateway_id: String,
    /// What its checkpoints are verified with.
    pub public_key: PublicKey,
    /// Its last entry here.
    pub head: Head,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The gateway that recorded it.
    pub gateway_id: String,
    /// Its place in the gateway's chain, if it was delivered as an entry of one.
    pub head: Option<Head>,
    /// Its identifier.
    pub id: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What it reports.
    pub event_type: EventType,
    /// The address that caused it.
    pub source_ip: Option<IpAddr>,
    /// The request that it is about.
    pub request_id: Option<String>,
    /// What was decided.
    pub verdict: Option<Verdict>,
    /// What of it is counted besides.
    pub counted: Counted,
    /// What its request used, if it used anything.
    pub usage: Option<NewUsage>,
    /// Its canonical JSON.
    pub body: String,
}

/// Another entry in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainedStatement {
    /// Its place.
    pub head: Head,
    /// What it is.
    pub kind: Kind,
    /// Its canonical JSON.
    pub body: String,
}

/// How many rows one statement inserts: PostgreSQL takes 65,535 values at a time, SQLite 32,766.
const ROWS: usize = 500;

/// The gateway's chain, held still until the transaction ends; `None` before its first delivery.
pub async fn lock_chain(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    gateway_id: &str,
) -> Result<Option<GatewayChain>, StoreError> {
    const SELECT: &str = "SELECT * FROM event_chains WHERE organization_id = $1 AND gateway_id = $2";
    const SELECT_LOCKED: &str =
        "SELECT * FROM event_chains WHERE organization_id = $1 AND gateway_id = $2 FOR UPDATE";
    let select = if tx.locks_rows() { SELECT_LOCKED } else { SELECT };
    sql::row(tx, select, values![organization.as_str(), gateway_id])
        .await?
        .as_ref()
        .map(read_chain)
        .transpose()
}

/// Notes how far the chain has come. Take it with [`lock_chain`] first.
pub async fn save_chain(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    chain: &GatewayChain,
) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO event_chains (organization_id, gateway_id, public_key, seq, hash)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (organization_id, gateway_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash";
    let values = values![
        organization.as_str(),
        &chain.gateway_id,
        chain.public_key.to_string(),
        chain.head.seq.cast_signed(),
        chain.head.hash.to_string(),
    ];
    sql::execute(tx, UPSERT, values).await?;
    Ok(())
}

/// Adds events, and tells how many are new: one whose identifier is here already stays as it is, unless it has no
/// place in a chain and now gets one. Each is counted when it first comes.
pub async fn insert_events(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    events: &[NewEvent],
) -> Result<u64, StoreError> {
    const IF_NEW: &str = " ON CONFLICT (organization_id, id) DO NOTHING RETURNING id";
    const IF_PLACED: &str = " ON CONFLICT (organization_id, id) DO UPDATE SET
            gateway_id = excluded.gateway_id, seq = excluded.seq, hash = excluded.hash,
            occurred_at = excluded.occurred_at, event_type = excluded.event_type, source_ip = excluded.source_ip,
            request_id = excluded.request_id, verdict = excluded.verdict, body = excluded.body
        WHERE events.seq IS NULL AND excluded.seq IS NOT NULL";
    let mut accepted = 0;
    let mut tallies: BTreeMap<(i64, &str), Tally> = BTreeMap::new();
    let mut used = Vec::new();
    for events in events.chunks(ROWS) {
        let mut insert = insertion(organization, events)?;
        insert.text(IF_NEW);
        let rows = insert.rows(tx).await?;
        let new = rows.iter().map(|row| row.get("id")).collect::<Result<HashSet<String>, _>>()?;
        accepted += new.len() as u64;
        for event in events.iter().filter(|event| new.contains(&event.id)) {
            let tally = tallies.entry((hour_of(event.occurred_at), event.gateway_id.as_str())).or_default();
            tally.note(event.event_type, event.verdict, event.counted);
            used.extend(event.usage.iter().map(|usage| (event.occurred_at, usage)));
        }
        let here_already: Vec<_> =
            events.iter().filter(|event| event.head.is_some() && !new.contains(&event.id)).collect();
        if !here_already.is_empty() {
            let mut place = insertion(organization, here_already)?;
            place.text(IF_PLACED);
            accepted += place.execute(tx).await?;
        }
    }
    counts::add(tx, organization, &tallies).await?;
    usage::add(tx, organization, &used).await?;
    Ok(accepted)
}

fn insertion<'a>(
    organization: &OrganizationId,
    events: impl IntoIterator<Item = &'a NewEvent>,
) -> Result<Composed, StoreError> {
    let mut insert = Composed::new(
        "INSERT INTO events (organization_id, id, gateway_id, seq, hash, occurred_at, event_type, source_ip,
            request_id, verdict, body)
        VALUES ",
    );
    for (place, event) in events.into_iter().enumerate() {
        if place > 0 {
            insert.text(", ");
        }
        insert.row(values![
            organization.as_str(),
            &event.id,
            &event.gateway_id,
            event.head.map(|head| head.seq.cast_signed()),
            event.head.map(|head| head.hash.to_string()),
            event.occurred_at,
            word(&event.event_type)?,
            event.source_ip.map(|ip| ip.to_string()),
            event.request_id.clone(),
            event.verdict.as_ref().map(word).transpose()?,
            &event.body,
        ]);
    }
    Ok(insert)
}

/// Adds other entries of a gateway.
pub async fn insert_statements(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    gateway_id: &str,
    statements: &[ChainedStatement],
) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO event_statements (organization_id, gateway_id, seq, hash, kind, body) VALUES ";
    for statements in statements.chunks(ROWS) {
        let mut insert = Composed::new(INSERT);
        for (place, statement) in statements.iter().enumerate() {
            if place > 0 {
                insert.text(", ");
            }
            insert.row(values![
                organization.as_str(),
                gateway_id,
                statement.head.seq.cast_signed(),
                statement.head.hash.to_string(),
                kind_word(statement.kind),
                &statement.body,
            ]);
        }
        insert.execute(tx).await?;
    }
    Ok(())
}

/// The word of an event's type or verdict, as it stands in the event.
fn word(value: &impl Serialize) -> Result<String, StoreError> {
    Ok(sql::document(value)?.trim_matches('"').to_owned())
}

const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Audit => "audit",
        Kind::Checkpoint => "checkpoint",
        Kind::Event => "event",
        Kind::Removal => "removal",
        Kind::Segment => "segment",
    }
}

fn read_chain(row: &Row) -> Result<GatewayChain, StoreError> {
    Ok(GatewayChain {
        gateway_id: row.get("gateway_id")?,
        public_key: row.parsed("public_key")?,
        head: read_head(row)?,
    })
}

fn read_head(row: &Row) -> Result<Head, StoreError> {
    let hash: Hash = row.parsed("hash")?;
    Ok(Head { seq: row.get::<i64>("seq")?.cast_unsigned(), hash })
}
