//! Events: taken from gateways, as entries of their chains or by themselves, and looked through.

mod delivery;
mod export;
mod facts;
mod retention;

use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::events::{Head, Kind, Record, canonical};
use kt_domain::id::OrganizationId;
use kt_store::event_log::EventFilter;
use kt_store::events::{self, ChainStanding, ChainedStatement, GatewayChain};
use kt_store::{Tx, keys, organizations};

use crate::control::Control;
use crate::paging::{Page, PageRequest, PageSize};
pub use export::{EventsExport, EventsFormat};
use facts::Events;

/// What a gateway delivers, each the JSON text of an entry or event.
pub enum Delivery<'a> {
    /// Entries of its chain, as they stand in its log, in order: what is kept of them is proven.
    Chain {
        /// The gateway.
        gateway_id: &'a str,
        /// The entries.
        entries: &'a [&'a str],
    },
    /// Events by themselves: nothing but the gateway's key vouches for them.
    Loose(&'a [&'a str]),
}

/// What a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// How many entries or events were new.
    pub accepted: usize,
    /// The entry of the chain that comes next.
    pub next_seq: Option<u64>,
}

/// An event as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventView {
    /// Its JSON text, as the gateway recorded it.
    pub body: String,
    /// Its place in the gateway's chain, if it was delivered as an entry of one.
    pub head: Option<Head>,
    /// How far that chain has come.
    pub chain: Option<ChainStanding>,
}

/// How many chains are told of at once.
const MOST_CHAINS: u32 = 200;

/// How many entries one delivery holds at most.
const MOST_ENTRIES: usize = 10_000;

/// How many events by themselves one delivery holds at most.
const MOST_LOOSE: usize = 1000;

/// The longest name of a gateway, or of a request, in bytes.
const LONGEST_NAME: usize = 128;

const PAGE: PageSize = PageSize { usual: 100, most: 1000 };

impl Control {
    /// Keeps all that is new of a delivery, or nothing of it. What is here already is passed over, so that a delivery can
    /// be repeated. Entries of a chain are refused where one does not follow from the one before, or a signature is not
    /// the gateway's: what is kept of a chain is what the gateway recorded. The last use of each access key is noted.
    pub async fn deliver_events(&self, ctx: &Ctx, delivery: Delivery<'_>) -> Result<Delivered, Error> {
        let organization = &self.gateways_organization(ctx).await?;
        let tx = self.store.begin_write().await?;
        let (events, delivered) = match delivery {
            Delivery::Chain { gateway_id, entries } => {
                take_chain(&tx, organization, gateway_id, entries).await?
            }
            Delivery::Loose(events) => take_loose(&tx, organization, events).await?,
        };
        for (id, (at, ip)) in events.key_uses {
            // A gateway's clock may be ahead.
            keys::note_use(&tx, organization, &id, at.min(ctx.now), ip).await?;
        }
        tx.commit().await?;
        Ok(delivered)
    }

    /// The events of the actor's organization that fit, the newest first, each as the JSON text that its gateway
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

    /// The event of this id, with its place in its gateway's chain.
    pub async fn event(&self, ctx: &Ctx, id: &str) -> Result<EventView, Error> {
        let organization = ctx.require(Permission::ReadEvents)?;
        let found = events::find(&self.store, organization, id).await?;
        let found = found.ok_or_else(|| Error::not_found("event"))?;
        let chain = match found.head {
            Some(_) => events::standings(&self.store, organization, Some(&found.gateway_id), 1).await?.pop(),
            None => None,
        };
        Ok(EventView { body: found.body, head: found.head, chain })
    }

    /// The chains of the organization's gateways, and how far each was signed.
    pub async fn event_chains(&self, ctx: &Ctx) -> Result<Vec<ChainStanding>, Error> {
        let organization = ctx.require(Permission::ReadEvents)?;
        Ok(events::standings(&self.store, organization, None, MOST_CHAINS).await?)
    }
}

async fn take_chain(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    gateway_id: &str,
    entries: &[&str],
) -> Result<(Events, Delivered), Error> {
    if gateway_id.is_empty() || gateway_id.len() > LONGEST_NAME {
        return Err(Error::invalid("gateway_id", format!("Use 1 to {LONGEST_NAME} bytes.")));
    }
    if entries.len() > MOST_ENTRIES {
        return Err(Error::invalid("entries", format!("Deliver at most {MOST_ENTRIES} entries at a time.")));
    }
    let records = delivery::read(entries)?;
    let known = lock_chain(tx, organization, gateway_id).await?;
    let (chain, new) = delivery::follow(known, gateway_id, &records)?;
    let (events, statements) = sorted(gateway_id, new)?;
    events::insert_events(tx, organization, &events.all).await?;
    events::insert_statements(tx, organization, gateway_id, &statements).await?;
    events::save_chain(tx, organization, &chain).await?;
    Ok((events, Delivered { accepted: new.len(), next_seq: Some(chain.head.seq + 1) }))
}

/// Entries of a gateway's chain as they are stored: its events, and the statements among them.
fn sorted(gateway_id: &str, records: &[Record<'_>]) -> Result<(Events, Vec<ChainedStatement>), Error> {
    let (mut events, mut statements) = (Events::default(), Vec::new());
    for record in records {
        let (seq, head, kind) = (record.seq, record.head(), record.kind);
        let body = String::from_utf8_lossy(record.content()).into_owned();
        if kind != Kind::Event {
            statements.push(ChainedStatement { head, kind, body });
            continue;
        }
        if !events.add(body, Some(head)).map_err(|why| delivery::unreadable(seq, &why))? {
            return Err(delivery::unreadable(seq, &"its `id` is that of an event before it"));
        }
        if events.all.last().is_some_and(|event| event.gateway_id != gateway_id) {
            return Err(delivery::unreadable(seq, &"it is an event of another gateway"));
        }
    }
    Ok((events, statements))
}

async fn take_loose(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    texts: &[&str],
) -> Result<(Events, Delivered), Error> {
    if texts.is_empty() || texts.len() > MOST_LOOSE {
        return Err(Error::invalid("events", format!("Deliver 1 to {MOST_LOOSE} events at a time.")));
    }
    let mut events = Events::default();
    for (place, text) in texts.iter().enumerate() {
        let refused = |why: String| {
            Error::invalid(format!("events[{place}]"), format!("This event cannot be read: {why}."))
        };
        let body = canonical(text.as_bytes()).map_err(|why| refused(why.to_string()))?;
        events.add(String::from_utf8_lossy(&body).into_owned(), None).map_err(refused)?;
    }
    let accepted = events::insert_events(tx, organization, &events.all).await?;
    let accepted = usize::try_from(accepted).unwrap_or(usize::MAX);
    Ok((events, Delivered { accepted, next_seq: None }))
}

/// The gateway's chain, held still. Before its first delivery the organization is, so that of two first deliveries one
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
