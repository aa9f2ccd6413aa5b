//! What gateways tell the control plane, and what they are told: which of them are there, and which keys they may let
//! in.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Actor, Permission};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::gateways::TargetReport;
use kt_domain::id::{ApiKeyId, OrganizationId};
use kt_domain::keys::{KeySnapshot, KeyTerms, KnownKey};
use kt_domain::public_url::PublicUrl;
use kt_domain::secret::SecretDigest;
use kt_store::gateways::{self, Delivering, Gateway};
use kt_store::keys::{self, LiveKey};
use kt_store::{audit, organizations};

use crate::control::Control;
use crate::keys::program_of;
use crate::paging::{Page, PageRequest, PageSize};

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReport {
    /// The name that its events carry.
    pub id: String,
    /// Which version of Keeptrusts it runs.
    pub software_version: String,
    /// The configuration that it has in force.
    pub config_version: String,
    /// Where it is reached, if it is known.
    pub address: Option<String>,
    /// The places that it forwards to.
    pub targets: Vec<TargetReport>,
}

/// A gateway as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayView {
    /// The gateway, and what has come of it.
    pub delivering: Delivering,
    /// Whether it has reported lately.
    pub is_connected: bool,
}

/// A gateway that has not reported for so long counts as gone.
pub(crate) const GONE_AFTER: Duration = Duration::from_mins(1);

/// A report that says nothing new is stored again when the last one is as old as this.
const STORED_EVERY: Duration = Duration::from_secs(15);

/// How often those who wait for a change of keys look for one that another process made; one looks for all of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest name, and the longest version.
const MOST_CHARACTERS: usize = 64;

const LIST: &str = "gateways";

const PAGE: PageSize = PageSize { usual: 50, most: 200 };

impl Control {
    /// Takes a gateway's report. The first one enrols it in the organisation of its key; a name that a gateway of
    /// another organisation has is refused.
    pub async fn report_gateway(&self, ctx: &Ctx, report: GatewayReport) -> Result<(), Error> {
        let organization = self.gateways_organization(ctx).await?;
        report.check()?;
        let known = gateways::find(&self.store, &report.id).await?;
        let now = report.into_gateway(ctx, organization, known.as_ref());
        match known {
            None => self.enrol(ctx, now).await,
            Some(known) if known.organization != now.organization => Err(name_taken()),
            Some(known) if !is_news(&known, &now) => Ok(()),
            Some(_) => {
                let tx = self.store.begin_write().await?;
                gateways::update(&tx, &now).await?;
                Ok(tx.commit().await?)
            }
        }
    }

    async fn enrol(&self, ctx: &Ctx, gateway: Gateway) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        gateways::insert(&tx, &gateway).await?;
        let record = self.record(ctx, AuditAction::GatewayEnrolled, &gateway.id);
        audit::append(&tx, Some(&gateway.organization), &record).await?;
        Ok(tx.commit().await?)
    }

    /// The keys that a gateway may let in, unless `known` is the version that there is; then it waits for up to
    /// `patience` until there is something new. A change made by this process is told at once, one made by another within
    /// a second. Whoever waits is asked again and again whether it still may.
    pub async fn next_key_snapshot(
        &self,
        ctx: &Ctx,
        known: Option<&str>,
        patience: Duration,
    ) -> Result<Option<Arc<KeySnapshot>>, Error> {
        let organization = self.gateways_organization(ctx).await?;
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let changed = self.recent.next_change();
            self.catch_up_within(LOOK_EVERY).await?;
            self.still_admits(ctx).await?;
            let snapshot = self.key_snapshot(&organization).await?;
            if known != Some(snapshot.version.as_str()) {
                return Ok(Some(snapshot));
            }
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Whether it was told or the time was over, it looks again.
            let _ = tokio::time::timeout(left.min(LOOK_EVERY), changed).await;
        }
    }

    /// The keys that an organisation's gateways may let in at this moment. However many wait for them, one reads them.
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
        let restrictions = self.security_of(&self.store, organization).await?.value.api_keys;
        let live = keys::of_applications(&self.store, organization, now).await?;
        let first_to_end = live.iter().filter_map(|(live, _)| live.key.terms.ends_at).min();
        let (passes, first_to_retire) = self.pass_terms(organization, now).await?;
        let snapshot = KeySnapshot::new(restrictions, live.into_iter().map(known_key).collect());
        let snapshot = snapshot.with_passes(passes);
        let good_until = first_to_end.into_iter().chain(first_to_retire).min().unwrap_or(Timestamp::MAX);
        Ok(snapshots.remember(generation, organization.clone(), snapshot, good_until))
    }

    /// The gateways of one's organisation, by name.
    pub async fn gateways(&self, ctx: &Ctx, request: &PageRequest) -> Result<Page<GatewayView>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let limit = PAGE.of(request)?;
        let after: Option<String> = self.position(LIST, request)?;
        let found = gateways::page(&self.store, organization, after.as_deref(), limit + 1).await?;
        let views = found.into_iter().map(|delivering| view(delivering, ctx.now)).collect();
        self.page(LIST, limit, views, |view: &GatewayView| view.delivering.gateway.id.clone())
    }

    /// The organisation whose traffic a gateway guards: that of its key; for the gateway that runs beside the control
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

impl GatewayReport {
    fn check(&self) -> Result<(), Error> {
        check_word("gateway_id", &self.id)?;
        check_word("software_version", &self.software_version)?;
        check_word("config_version", &self.config_version)?;
        if let Some(address) = &self.address {
            PublicUrl::parse(address).map_err(|why| Error::invalid("address", why.to_string()))?;
        }
        TargetReport::check_all(&self.targets)
    }

    fn into_gateway(self, ctx: &Ctx, organization: OrganizationId, known: Option<&Gateway>) -> Gateway {
        Gateway {
            id: self.id,
            organization,
            key: key_of(&ctx.actor),
            software_version: self.software_version,
            config_version: self.config_version,
            address: self.address,
            targets: self.targets,
            ip: ctx.client.ip,
            enrolled_at: known.map_or(ctx.now, |known| known.enrolled_at),
            seen_at: ctx.now,
        }
    }
}

/// What a gateway is told of a key. One that its owner may not use for inference only reads.
fn known_key((live, digest): (LiveKey, SecretDigest)) -> KnownKey {
    let may_infer = Actor::Program(program_of(&live)).may(Permission::Infer);
    let scope = live.key.terms.scope.filter(|_| may_infer);
    KnownKey { id: live.key.id, owner: live.key.owner, digest, terms: KeyTerms { scope, ..live.key.terms } }
}

fn check_word(param: &'static str, text: &str) -> Result<(), Error> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if (1..=MOST_CHARACTERS).contains(&text.len()) && text.chars().all(is_plain) {
        return Ok(());
    }
    Err(Error::invalid(param, format!("Use 1 to {MOST_CHARACTERS} letters, digits, `.`, `_`, `+` and `-`.")))
}

fn key_of(actor: &Actor) -> Option<ApiKeyId> {
    match actor {
        Actor::Program(program) => Some(program.key.clone()),
        _ => None,
    }
}

fn is_news(known: &Gateway, now: &Gateway) -> bool {
    now.seen_at.duration_since(known.seen_at).unsigned_abs() >= STORED_EVERY
        || Gateway { seen_at: known.seen_at, ..now.clone() } != *known
}

fn view(delivering: Delivering, now: Timestamp) -> GatewayView {
    let is_connected = now.duration_since(delivering.gateway.seen_at).unsigned_abs() < GONE_AFTER;
    GatewayView { delivering, is_connected }
}

fn name_taken() -> Error {
    let message = "A gateway of another organization has this name. Give this one another data directory.";
    Error::new(ErrorKind::Conflict, "gateway_name_taken", message)
}
