//! Gateways that are yet to come: each is known by the key that was made for it, and may be told beforehand what it is to
//! run in place of what all do.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{KeyKind, Permission, Scope};
use kt_domain::audit::AuditAction;
use kt_domain::configurations::{ConfigurationSource, VersionId};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{ApiKeyId, OrganizationId};
use kt_store::gateways::{self, Gateway, OwnOrders};
use kt_store::{Tx, audit, keys, organizations};
use serde_json::{Value, json};

use super::rollout::{FleetOrders, change_fleet_orders, fleet_orders, require_runnable};
use crate::control::Control;
use crate::gateways::GatewayView;
use crate::keys::{KeyMade, KeyView, NewKey};

/// A gateway that is to come.
#[derive(Clone, Debug)]
pub struct NewGateway {
    /// What people call its key; that of a key that is made anew stays.
    pub name: String,
    /// What it is to run in place of what all gateways do.
    pub runs: Option<VersionId>,
    /// The key that was made for it before, where that is lost: it ends.
    pub instead_of: Option<ApiKeyId>,
}

/// A gateway that was to come, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitedGateway {
    /// The key.
    pub key: KeyView,
    /// What it is to run in place of what all gateways do, as long as it has not come.
    pub runs: Option<VersionId>,
    /// Those that have come with the key.
    pub arrived: Vec<GatewayView>,
}

impl Control {
    /// Makes the key of a gateway that is to come, and keeps what it is to run then.
    pub async fn await_gateway(&self, ctx: &Ctx, new: NewGateway) -> Result<KeyMade, Error> {
        let organization = ctx.require(Permission::ChangeSettings)?;
        if let Some(version) = &new.runs {
            require_runnable(&self.store, organization, version).await?;
        }
        let made = match &new.instead_of {
            Some(lost) => {
                self.gateway_key(ctx, lost).await?;
                self.require_not_arrived(ctx, lost).await?;
                self.rotate_key(ctx, lost, Duration::ZERO).await?
            }
            None => self.create_key(ctx, key_called(new.name)).await?,
        };
        if let Some(version) = new.runs {
            self.tell_awaited(ctx, organization, &made.view.key.id, version).await?;
        }
        Ok(made)
    }

    /// A gateway that was to come with this key, and whether it has.
    pub async fn awaited_gateway(&self, ctx: &Ctx, key: &ApiKeyId) -> Result<AwaitedGateway, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let mut awaited = fleet_orders(&self.store, organization).await?.value.awaited;
        Ok(AwaitedGateway {
            runs: awaited.remove(key),
            arrived: self.gateways_of_key(ctx, key).await?,
            key: self.gateway_key(ctx, key).await?,
        })
    }

    /// Refuses to end a key under which a gateway serves.
    async fn require_not_arrived(&self, ctx: &Ctx, key: &ApiKeyId) -> Result<(), Error> {
        if self.gateways_of_key(ctx, key).await?.is_empty() {
            return Ok(());
        }
        let message = "A gateway has come with this key, so it is not made anew. Load the page again.";
        Err(Error::new(ErrorKind::Conflict, "gateway_connected", message))
    }

    async fn gateway_key(&self, ctx: &Ctx, id: &ApiKeyId) -> Result<KeyView, Error> {
        let found = self.key(ctx, id).await?;
        if found.key.kind == KeyKind::Gateway { Ok(found) } else { Err(Error::not_found("key")) }
    }

    /// Keeps what the gateway of this key is to run when it comes.
    async fn tell_awaited(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        key: &ApiKeyId,
        version: VersionId,
    ) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let before = fleet_orders(&tx, organization).await?;
        let mut awaited = still_good(&tx, organization, &before.value.awaited, ctx.now).await?;
        awaited.insert(key.clone(), version.clone());
        let orders = FleetOrders { awaited, ..before.value };
        change_fleet_orders(&tx, organization, before.version, &orders, ctx.now).await?;
        let record = self
            .record(ctx, AuditAction::ConfigurationRolledOut, version.to_string())
            .with_change(Value::Null, json!({ "configuration": version, "key": key }));
        audit::append(&tx, Some(organization), &record).await?;
        Ok(tx.commit().await?)
    }
}

/// Those whose keys have not ended, so that what never came is not told for ever.
async fn still_good(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    awaited: &BTreeMap<ApiKeyId, VersionId>,
    now: Timestamp,
) -> Result<BTreeMap<ApiKeyId, VersionId>, Error> {
    let mut good = BTreeMap::new();
    for (key, version) in awaited {
        let found = keys::of_organization(tx, organization, key).await?;
        if found.is_some_and(|found| !found.terms.has_ended(now)) {
            good.insert(key.clone(), version.clone());
        }
    }
    Ok(good)
}

/// Tells a gateway that has come what was kept for it, unless its files decide. The version, if there is one.
pub(crate) async fn tell_arrived(
    tx: &Tx<'_>,
    gateway: &Gateway,
    now: Timestamp,
) -> Result<Option<VersionId>, Error> {
    let Some(key) = &gateway.key else { return Ok(None) };
    let organization = &gateway.organization;
    let before = fleet_orders(tx, organization).await?;
    let mut orders = before.value;
    let Some(version) = orders.awaited.remove(key) else { return Ok(None) };
    change_fleet_orders(tx, organization, before.version, &orders, now).await?;
    if gateway.config_source == ConfigurationSource::File {
        return Ok(None);
    }
    let present = gateways::orders(tx, organization, &gateway.id).await?;
    let own = OwnOrders { configuration: Some(version.clone()), ..present };
    gateways::order(tx, organization, &gateway.id, &own).await?;
    Ok(Some(version))
}

fn key_called(name: String) -> NewKey {
    NewKey {
        kind: KeyKind::Gateway,
        name,
        scope: Some(Scope::Write),
        ranges: Vec::new(),
        requests_per_minute: None,
        expires_at: None,
    }
}
