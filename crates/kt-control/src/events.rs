//! Events: taken from gateways, entry by entry of their chains, and looked through.

mod delivery;
mod retention;

use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::events::{EventType, Kind, Record, Verdict};
use kt_domain::id::OrganizationId;
use kt_store::event_log::EventFilter;
use kt_store::events::{self, ChainedEvent, ChainedStatement, GatewayChain};
use kt_store::{Tx, organizations};
use serde::Deserialize;

use crate::control::Control;
use crate::paging::{Page, PageRequest, PageSize};

/// What a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// How many entries were new.
    pub accepted: usize,
    /// The entry that comes next.
    pub next_seq: u64,
}

/// How many entries one delivery holds at most.
const MOST_ENTRIES: usize = 10_000;

/// The longest name of a gateway.
const LONGEST_NAME: usize = 128;

const PAGE: PageSize = PageSize { usual: 100, most: 1000 };

impl Control {
    /// Takes entries of a gateway's chain, each the JSON text that stands in its log, in order. All that are new are
    /// kept, or none; those that are here already are passed over, so that a delivery can be repeated. Refused where an
    /// entry does not follow from the one before, or a signature is not the gateway's: what is here is what the gateway
    /// recorded.
    pub async fn deliver_events(
        &self,
        ctx: &Ctx,
        gateway_id: &str,
        entries: &[&str],
    ) -> Result<Delivered, Error> {
        let organization = ctx.require(Permission::ServeAsGateway)?;
        if gateway_id.is_empty() || gateway_id.len() > LONGEST_NAME {
            return Err(Error::invalid("gateway_id", format!("Use 1 to {LONGEST_NAME} bytes.")));
        }
        if entries.len() > MOST_ENTRIES {
            return Err(Error::invalid(
                "entries",
                format!("Deliver at most {MOST_ENTRIES} entries at a time."),
            ));
        }
        let records = delivery::read(entries)?;
        let tx = self.store.begin_write().await?;
        let known = lock_chain(&tx, organization, gateway_id).await?;
        let (chain, new) = delivery::follow(known, gateway_id, &records)?;
        let rows = Rows::of(gateway_id, new)?;
        events::insert_events(&tx, organization, gateway_id, &rows.events).await?;
        events::insert_statements(&tx, organization, gateway_id, &rows.statements).await?;
        events::save_chain(&tx, organization, &chain).await?;
        tx.commit().await?;
        Ok(Delivered { accepted: new.len(), next_seq: chain.head.seq + 1 })
    }

    /// The events of the actor's organisation that fit, the newest first, each as the JSON text that its gateway
    /// recorded.
    pub async fn events(
        &self,
        ctx: &Ctx,
        filter: &EventFilter,
        request: &PageRequest,
    ) -> Result<Page<String>, Error> {
        let organization = ctx.require(Permission::ReadEvents)?;
        let list = format!("events/{organization}");
        let limit = PAGE.of(request)?;
        let after = self.position(&list, request)?;
        let found = events::page(&self.store, organization, filter, after.as_ref(), limit + 1).await?;
        let page = self.page(&list, limit, found, |event| event.position.clone())?;
        let items = page.items.into_iter().map(|event| event.body).collect();
        Ok(Page { items, next_cursor: page.next_cursor })
    }
}

/// The gateway's chain, held still. Before its first delivery the organisation is, so that of two first deliveries one
/// goes first.
async fn lock_chain(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    gateway_id: &str,
) -> Result<Option<GatewayChain>, Error> {
    if let Some(chain) = events::lock_chain(tx, organization, gateway_id).await? {
        return Ok(Some(chain));
    }
    organizations::lock(tx, organization).await?;
    Ok(events::lock_chain(tx, organization, gateway_id).await?)
}

/// Entries as they are stored.
struct Rows {
    events: Vec<ChainedEvent>,
    statements: Vec<ChainedStatement>,
}

/// What of an event it is found by. Newer gateways may say more.
#[derive(Deserialize)]
struct Facts {
    id: String,
    event_type: EventType,
    timestamp: Timestamp,
    gateway_id: String,
    source_ip: Option<IpAddr>,
    request_id: Option<String>,
    verdict: Option<Verdict>,
}

impl Rows {
    fn of(gateway_id: &str, records: &[Record<'_>]) -> Result<Self, Error> {
        let mut rows = Self { events: Vec::new(), statements: Vec::new() };
        for record in records {
            let head = record.head();
            let body = String::from_utf8_lossy(record.content()).into_owned();
            if record.kind != Kind::Event {
                rows.statements.push(ChainedStatement { head, kind: record.kind, body });
                continue;
            }
            let facts =
                serde_json::from_str::<Facts>(&body).map_err(|why| delivery::unreadable(record.seq, &why))?;
            if facts.gateway_id != gateway_id {
                return Err(delivery::unreadable(record.seq, &"it is an event of another gateway"));
            }
            rows.events.push(ChainedEvent {
                head,
                id: facts.id,
                occurred_at: facts.timestamp,
                event_type: facts.event_type,
                source_ip: facts.source_ip,
                request_id: facts.request_id,
                verdict: facts.verdict,
                body,
            });
        }
        Ok(rows)
    }
}
