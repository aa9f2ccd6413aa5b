//! What gateways tell the control plane, and what they are told: which of them are there, which keys they may let in,
//! what they are to run, and whether they are to take requests.

mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Actor, Permission};
use kt_domain::audit::AuditAction;
use kt_domain::configurations::{ConfigurationSource, Orders, VersionId};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::gateways::{ShownConfiguration, reached_at};
use kt_domain::id::{ApiKeyId, OrganizationId, UserId};
use kt_domain::keys::{KeySnapshot, KeyTerms, KnownKey};
use kt_domain::public_url::PublicUrl;
use kt_domain::search::Search;
use kt_domain::secret::SecretDigest;
use kt_domain::traffic::Tally;
use kt_store::gateways::{self, Delivering, Gateway, OwnOrders};
use kt_store::keys::{self, ApiKey, LiveKey};
use kt_store::{Tx, audit, events, organizations};
use serde_json::{Value, json};

use crate::configurations::{fleet_orders, tell_arrived};
use crate::control::Control;
use crate::keys::program_of;
use crate::paging::{Page, PageRequest, PageSize};
pub use report::{Asking, GatewayReport, NO_CONFIGURATION};

/// What a gateway knows already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// The version of its keys.
    pub keys: Option<&'a str>,
    /// The version of its orders; `None` where it takes none.
    pub orders: Option<&'a str>,
    /// Whether it tells the configuration of its own files where it is asked to, and so is to be told at once that it is.
    pub tells_configuration: bool,
}

/// What is new for a gateway.
#[derive(Clone, Default)]
pub struct News {
    /// Its keys, unless it knows them.
    pub keys: Option<Arc<KeySnapshot>>,
    /// Its orders, unless it knows them or takes none.
    pub orders: Option<Arc<Orders>>,
    /// Whether its next report is to tell the configuration of its own files.
    pub wants_configuration: bool,
}

/// A gateway as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayView {
    /// The gateway, and what has come of it.
    pub delivering: Delivering,
    /// Whether it has reported lately.
    pub is_connected: bool,
    /// What it is to run; `None` where nobody has said so, and for one that is configured by files.
    pub wanted: Option<VersionId>,
    /// What came of its traffic in the last 24 hours, hour by full hour.
    pub traffic: Tally,
}

impl GatewayView {
    /// Where chat and tasks reach it; `None` where it reports no address that leads there from this server.
    #[must_use]
    pub fn reached_at(&self) -> Option<PublicUrl> {
        let gateway = &self.delivering.gateway;
        reached_at(gateway.address.as_deref(), gateway.ip)
    }

    /// The version that it is to run and has neither put in force nor refused.
    #[must_use]
    pub fn behind(&self) -> Option<&VersionId> {
        let gateway = &self.delivering.gateway;
        let refused = gateway.refused.as_ref().map(|refused| &refused.version);
        let wanted = self.wanted.as_ref()?;
        let is_done = wanted.to_string() == gateway.config_version || refused == Some(wanted);
        (!is_done).then_some(wanted)
    }
}

/// A gateway that has not reported for so long counts as gone.
pub(crate) const GONE_AFTER: Duration = Duration::from_mins(1);

/// A report that says nothing new is stored again when the last one is as old as this.
const STORED_EVERY: Duration = Duration::from_secs(15);

/// How often those who wait for a change of keys look for one that another process made; one looks for all of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The hours of traffic that are shown with a gateway.
const HOURS: i64 = 24;

/// How many gateways an organization has at most. One key may report under any name: it must not fill the store, nor the
/// memory in which each gateway's orders are kept.
const MOST_GATEWAYS: u32 = 1000;

const LIST: &str = "gateways";

const PAGE: PageSize = PageSize { usual: 50, most: 1000 };

impl Control {
    /// Takes a gateway's report. The first one enrols it in the organization of its key.
    pub async fn report_gateway(&self, ctx: &Ctx, report: GatewayReport) -> Result<(), Error> {
        let organization = self.gateways_organization(ctx).await?;
        report.check()?;
        let known = gateways::find(&self.store, &organization, &report.id).await?;
        let told = report.configuration.clone().filter(|_| report.config_source == ConfigurationSource::File);
        let now = report.into_gateway(ctx, organization, known.as_ref());
        match known {
            Some(known) if told.is_none() && !is_news(&known, &now) => Ok(()),
            Some(known) if known.key == now.key => {
                let tx = self.store.begin_write().await?;
                update(&tx, &now, told).await?;
                Ok(tx.commit().await?)
            }
            _ => self.take_under_key(ctx, now, told).await,
        }
    }

    /// Takes the first report of a gateway, or its first with another key.
    async fn take_under_key(
        &self,
        ctx: &Ctx,
        gateway: Gateway,
        told: Option<ShownConfiguration>,
    ) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, &gateway.organization).await?;
        // Of several first reports that come at the same moment, one enrols it.
        if gateways::find(&tx, &gateway.organization, &gateway.id).await?.is_some() {
            update(&tx, &gateway, told).await?;
            tell_arrived(&tx, &gateway, ctx.now).await?;
        } else {
            self.enrol(ctx, &tx, &gateway).await?;
        }
        self.commit_revocation(tx).await
    }

    async fn enrol(&self, ctx: &Ctx, tx: &Tx<'_>, gateway: &Gateway) -> Result<(), Error> {
        if gateways::count(tx, &gateway.organization).await? >= i64::from(MOST_GATEWAYS) {
            return Err(too_many_gateways());
        }
        gateways::insert(tx, gateway).await?;
        let runs = tell_arrived(tx, gateway, ctx.now).await?;
        let record = self.record(ctx, AuditAction::GatewayEnrolled, &gateway.id).with_change(
            Value::Null,
            runs.map_or(Value::Null, |version| json!({ "configuration": version })),
        );
        Ok(audit::append(tx, Some(&gateway.organization), &record).await?)
    }

    /// What is new for a gateway that knows this already; where nothing is, it waits for up to `patience` until something
    /// is. A change made by this process is told at once, one made by another
    /// within a second. Whoever waits is asked again and again whether it still may.
    pub async fn next_news(
        &self,
        ctx: &Ctx,
        asking: &Asking,
        known: Known<'_>,
        patience: Duration,
    ) -> Result<News, Error> {
        let organization = self.gateways_organization(ctx).await?;
        let wants_configuration = self.wants_configuration(&organization, asking).await?;
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let changed = self.recent.next_change();
            self.catch_up_within(LOOK_EVERY).await?;
            self.still_admits(ctx).await?;
            let keys = self.key_snapshot(&organization).await?;
            let orders = match known.orders {
                Some(known) => {
                    let orders = self.orders_of(&organization, &asking.gateway, asking.source).await?;
                    Some(orders).filter(|orders| orders.version != known)
                }
                None => None,
            };
            let keys = Some(keys).filter(|keys| known.keys != Some(keys.version.as_str()));
            let news = News { keys, orders, wants_configuration };
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let is_asked = wants_configuration && known.tells_configuration;
            if news.keys.is_some() || news.orders.is_some() || is_asked || left.is_zero() {
                return Ok(news);
            }
            // Whether it was told or the time was over, it looks again.
            let _ = tokio::time::timeout(left.min(LOOK_EVERY), changed).await;
        }
    }

    async fn wants_configuration(
        &self,
        organization: &OrganizationId,
        Asking { gateway, source, config_version }: &Asking,
    ) -> Result<bool, Error> {
        let is_own = *source == ConfigurationSource::File;
        Ok(is_own
            && !gateways::knows_configuration(&self.store, organization, gateway, config_version).await?)
    }

    /// The keys that an organization's gateways may let in at this moment. However many wait for them, one reads them.
    async fn key_snapshot(&self, organization: &OrganizationId) -> Result<Arc<KeySnapshot>, Error> {
        let snapshots = &self.recent.snapshots;
        if let Some(known) = snapshots.get(organization, self.clock.now()) {
            return Ok(known);
        }
        let _reader = self.recent.snapshot_reader.lock().await;
        let now = self.clock.now();
        if let Some(read_meanwhile) = snapshots.get(organization, now) {
            return Ok(read_meanwhile);
        }
        let generation = snapshots.generation();
        let settings = self.security_of(&self.store, organization).await?.value;
        let closed = self.owners_closed_to(organization, &settings.mfa).await?;
        let live = keys::of_applications(&self.store, organization, now).await?;
        let known: Vec<KnownKey> = live.into_iter().map(|live| known_key(live, &closed)).collect();
        let known: Vec<KnownKey> = known.into_iter().filter(|key| !key.terms.has_ended(now)).collect();
        let first_to_end = known.iter().filter_map(|key| key.terms.ends_at).min();
        let (passes, first_to_retire) = self.pass_terms(organization, now).await?;
        let snapshot = KeySnapshot::new(settings.api_keys, known);
        let snapshot = snapshot.with_passes(passes);
        let good_until = first_to_end.into_iter().chain(first_to_retire).min().unwrap_or(Timestamp::MAX);
        Ok(snapshots.remember(generation, organization.clone(), snapshot, good_until))
    }

    /// The gateways of one's organization whose name or address holds what is searched for, by name.
    pub async fn gateways(
        &self,
        ctx: &Ctx,
        search: &str,
        request: &PageRequest,
    ) -> Result<Page<GatewayView>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let search = Search::read(search)?;
        let limit = PAGE.of(request)?;
        let after: Option<String> = self.position(LIST, request)?;
        let found =
            gateways::page(&self.store, organization, search.as_ref(), after.as_deref(), limit + 1).await?;
        let views = self.gateway_views(organization, found, ctx.now).await?;
        self.page(LIST, limit, views, |view: &GatewayView| view.delivering.gateway.id.clone())
    }

    /// How many of the gateways that are connected count limits and budgets by themselves.
    pub async fn gateways_that_count_alone(&self, ctx: &Ctx) -> Result<usize, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let connected = gateways::heard_of(&self.store, organization, ctx.now - GONE_AFTER).await?;
        Ok(connected.iter().filter(|gateway| !gateway.shares_counts).count())
    }

    /// The gateways of one's organization that last came with this key, by name; no more than a page of them.
    pub async fn gateways_of_key(&self, ctx: &Ctx, key: &ApiKeyId) -> Result<Vec<GatewayView>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let found = gateways::of_key(&self.store, organization, key, PAGE.usual).await?;
        self.gateway_views(organization, found, ctx.now).await
    }

    /// One gateway of one's organization.
    pub async fn gateway(&self, ctx: &Ctx, id: &str) -> Result<GatewayView, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let found = gateways::one(&self.store, organization, id).await?;
        let views = self.gateway_views(organization, found.into_iter().collect(), ctx.now).await?;
        views.into_iter().next().ok_or_else(no_gateway)
    }

    /// What a gateway of one's organization told of the configuration in force there, where that comes from its own files;
    /// `None` where it has not told this version yet.
    pub async fn configuration_of_gateway(
        &self,
        ctx: &Ctx,
        gateway: &Gateway,
    ) -> Result<Option<ShownConfiguration>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let told = gateways::configuration(&self.store, organization, &gateway.id).await?;
        let is_own = gateway.config_source == ConfigurationSource::File;
        Ok(told.filter(|told| is_own && told.version == gateway.config_version))
    }

    /// All gateways of an organization whose name or address holds what is searched for, by name: they are bounded.
    pub(crate) async fn all_gateways(
        &self,
        organization: &OrganizationId,
        search: Option<&Search>,
        now: Timestamp,
    ) -> Result<Vec<GatewayView>, Error> {
        let found = gateways::page(&self.store, organization, search, None, MOST_GATEWAYS).await?;
        self.gateway_views(organization, found, now).await
    }

    async fn gateway_views(
        &self,
        organization: &OrganizationId,
        found: Vec<Delivering>,
        now: Timestamp,
    ) -> Result<Vec<GatewayView>, Error> {
        let for_all = fleet_orders(&self.store, organization).await?.value.configuration;
        let from = events::hour_of(now) - (HOURS - 1);
        let mut traffic = events::tallies_of_gateways(&self.store, organization, from).await?;
        let view = |delivering: Delivering| {
            let gateway = &delivering.gateway;
            let own = delivering.orders.configuration.clone();
            let is_kept = gateway.config_source == ConfigurationSource::Kept;
            GatewayView {
                is_connected: is_connected(gateway, now),
                wanted: own.or_else(|| for_all.clone()).filter(|_| is_kept),
                traffic: traffic.remove(&gateway.id).unwrap_or_default(),
                delivering,
            }
        };
        Ok(found.into_iter().map(view).collect())
    }

    /// Tells a gateway to take no new requests, or to take them again. It is told at once where it is connected, and
    /// otherwise as soon as it is.
    pub async fn drain_gateway(&self, ctx: &Ctx, id: &str, drain: bool) -> Result<GatewayView, Error> {
        let organization = ctx.require(Permission::RunGateways)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        require_gateway(&tx, organization, id).await?;
        let present = gateways::orders(&tx, organization, id).await?;
        if present.is_drained != drain {
            gateways::order(&tx, organization, id, &OwnOrders { is_drained: drain, ..present }).await?;
            let action = if drain { AuditAction::GatewayDrained } else { AuditAction::GatewayResumed };
            audit::append(&tx, Some(organization), &self.record(ctx, action, id)).await?;
            self.commit_revocation(tx).await?;
        }
        self.gateway(ctx, id).await
    }

    /// Takes a gateway off the list that no longer reports. Its events stay; should it report again, it is enrolled anew.
    pub async fn forget_gateway(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let organization = ctx.require(Permission::RunGateways)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let gateway = require_gateway(&tx, organization, id).await?;
        if is_connected(&gateway, ctx.now) {
            let message = "This gateway still reports. Stop it first; a minute later it can be forgotten.";
            return Err(Error::new(ErrorKind::Conflict, "gateway_connected", message));
        }
        gateways::delete(&tx, organization, id).await?;
        audit::append(&tx, Some(organization), &self.record(ctx, AuditAction::GatewayForgotten, id)).await?;
        self.commit_revocation(tx).await
    }

    /// The organization whose traffic a gateway guards: that of its key; for the gateway that runs beside the control
    /// plane, the deployment's first.
    pub(crate) async fn gateways_organization(&self, ctx: &Ctx) -> Result<OrganizationId, Error> {
        let Actor::System(_) = ctx.actor else { return ctx.require(Permission::ServeAsGateway).cloned() };
        let first = organizations::first(&self.store).await?;
        first.map(|organization| organization.id).ok_or_else(|| {
            let message = "There is no organization yet. Make its first owner, as `kt up` says.";
            Error::new(ErrorKind::Unavailable, "not_set_up", message)
        })
    }
}

/// Keeps what a known gateway reports.
async fn update(tx: &Tx<'_>, now: &Gateway, told: Option<ShownConfiguration>) -> Result<(), Error> {
    gateways::update(tx, now).await?;
    if let Some(told) = told {
        gateways::keep_configuration(tx, &now.organization, &now.id, &told).await?;
    }
    Ok(())
}

/// What a gateway is told of a key. One that its owner may not use for inference only reads, and one whose owner is to be
/// closed out ends when they are.
fn known_key((live, digest): (LiveKey, SecretDigest), closed: &HashMap<UserId, Timestamp>) -> KnownKey {
    let may_infer = Actor::Program(program_of(&live)).may(Permission::Infer);
    let ApiKey { id, owner, terms, .. } = live.key;
    let scope = terms.scope.filter(|_| may_infer);
    let ends_at = terms.ends_at.into_iter().chain(closed.get(&owner).copied()).min();
    KnownKey { id, owner, digest, terms: KeyTerms { scope, ends_at, ..terms } }
}

fn is_news(known: &Gateway, now: &Gateway) -> bool {
    now.seen_at.duration_since(known.seen_at).unsigned_abs() >= STORED_EVERY
        || Gateway { seen_at: known.seen_at, ..now.clone() } != *known
}

fn is_connected(gateway: &Gateway, now: Timestamp) -> bool {
    now.duration_since(gateway.seen_at).unsigned_abs() < GONE_AFTER
}

/// The gateway of this name.
pub(crate) async fn require_gateway(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &str,
) -> Result<Gateway, Error> {
    gateways::find(tx, organization, id).await?.ok_or_else(no_gateway)
}

fn too_many_gateways() -> Error {
    let message = format!(
        "This organization has {MOST_GATEWAYS} gateways, which is as many as it may have. Forget those that are gone, then report again."
    );
    Error::new(ErrorKind::Conflict, "too_many_gateways", message)
}

fn no_gateway() -> Error {
    Error::not_found("gateway")
}
