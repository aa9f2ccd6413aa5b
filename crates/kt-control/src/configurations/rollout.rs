//! Versions of configurations rolled out to gateways. Rolling back is rolling out an older version.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::configurations::{
    ConfigurationSource, Credential, KeptConfiguration, KeptName, Orders, VersionId,
};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{ApiKeyId, OrganizationId};
use kt_domain::policy_config::PolicyConfig;
use kt_store::configurations;
use kt_store::gateways::{self, OwnOrders};
use kt_store::organizations::{self, Versioned};
use kt_store::{Source as Readable, Tx, audit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{NewVersion, check_new, load, no_configuration, require_credentials, valid};
use crate::control::Control;
use crate::gateways::require_gateway;
use crate::version::Expected;

/// Which gateways are to run a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollOutTo {
    /// All that are not configured by files, those that are yet to come too.
    All,
    /// These.
    Gateways(Vec<String>),
}

/// What publishing a configuration would take the place of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolledOut {
    /// The newest version of the configuration that publishing adds a version to.
    pub newest: Option<VersionId>,
    /// What all gateways are told to run that are told nothing else.
    pub for_all: Option<VersionId>,
    /// What single gateways are told to run in its place.
    pub for_single: Vec<VersionId>,
}

impl RolledOut {
    /// Another text as soon as any of it is another.
    #[must_use]
    pub fn tag(&self) -> String {
        let word = |id: &Option<VersionId>| id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let single: Vec<String> = self.for_single.iter().map(ToString::to_string).collect();
        format!("{} {} {}", word(&self.newest), word(&self.for_all), single.join(" "))
    }
}

/// What all gateways are told that are told nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FleetOrders {
    pub(crate) configuration: Option<VersionId>,
    /// What gateways are to run in its place that have not come yet, by the keys that were made for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) awaited: BTreeMap<ApiKeyId, VersionId>,
}

/// The name of the document that holds them.
const FLEET: &str = "fleet";

/// The configuration that the guided set-up writes.
const MAIN: &str = "main";

impl Control {
    /// The version that all gateways are told to run that are told nothing else.
    pub async fn running_for_all(&self, ctx: &Ctx) -> Result<Option<VersionId>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        Ok(fleet_orders(&self.store, organization).await?.value.configuration)
    }

    /// Tells gateways to run a version. A gateway that is connected takes it up at once; one that finds a mistake in it
    /// stays with what it has, and reports why.
    pub async fn roll_out(&self, ctx: &Ctx, id: &VersionId, to: &RollOutTo) -> Result<(), Error> {
        let organization = ctx.require(Permission::RunGateways)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        require_runnable(&tx, organization, id).await?;
        let before = match to {
            RollOutTo::All => tell_all(&tx, organization, id, ctx.now).await?,
            RollOutTo::Gateways(gateways) => tell_some(&tx, organization, id, gateways).await?,
        };
        let gateways = match to {
            RollOutTo::All => json!("all"),
            RollOutTo::Gateways(gateways) => json!(gateways),
        };
        let record = self
            .record(ctx, AuditAction::ConfigurationRolledOut, id.to_string())
            .with_change(before, json!({ "configuration": id, "gateways": gateways }));
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// What publishing would take the place of.
    pub async fn rolled_out(&self, ctx: &Ctx) -> Result<RolledOut, Error> {
        rolled_out(&self.store, ctx.require(Permission::ReadSettings)?).await
    }

    /// Saves a text as the newest version of the configuration `main`, and tells all gateways to run it: those too that were
    /// told to run a version of their own. `expected` are the [tags](RolledOut::tag) of what that may take the place of.
    pub async fn publish_configuration(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        text: String,
    ) -> Result<VersionId, Error> {
        let new = NewVersion { text, note: String::new() };
        let (organization, config) = check_new(ctx, &new).await?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, &organization).await?;
        expected.check(&rolled_out(&tx, &organization).await?.tag())?;
        let name: KeptName = MAIN.parse().map_err(Error::internal)?;
        let newest = configurations::newest_of(&tx, &organization, &name).await?;
        let saved = if let Some(newest) = newest {
            self.insert_next(ctx, &tx, &organization, newest, new, &config).await?
        } else {
            let first = VersionId { name, number: 1 };
            self.insert_version(ctx, &tx, &organization, first, new, &config).await?
        };
        let id = saved.version.id;
        let before = tell_all(&tx, &organization, &id, ctx.now).await?;
        let record = self
            .record(ctx, AuditAction::ConfigurationRolledOut, id.to_string())
            .with_change(before, json!({ "configuration": id, "gateways": "all" }));
        audit::append(&tx, Some(&organization), &record).await?;
        self.commit_revocation(tx).await?;
        Ok(id)
    }

    /// Refuses whoever may not change what gateways run.
    pub fn require_configurer(&self, ctx: &Ctx) -> Result<(), Error> {
        ctx.require(Permission::RunGateways).map(|_| ())
    }

    /// What a gateway is told to do at this moment. One that is configured by files is told no configuration, and gets
    /// no credential.
    pub(crate) async fn orders_of(
        &self,
        organization: &OrganizationId,
        gateway: &str,
        source: ConfigurationSource,
    ) -> Result<Arc<Orders>, Error> {
        let memory = &self.recent.orders;
        let key = (organization.clone(), gateway.to_owned(), source);
        if let Some(known) = memory.get(&key, self.clock.now()) {
            return Ok(known);
        }
        let generation = memory.generation();
        let OwnOrders { configuration, is_drained } =
            gateways::orders(&self.store, organization, gateway).await?;
        let wanted = match (source, configuration) {
            (ConfigurationSource::File, _) => None,
            (ConfigurationSource::Kept, Some(own)) => Some(own),
            (ConfigurationSource::Kept, None) => {
                fleet_orders(&self.store, organization).await?.value.configuration
            }
        };
        let configuration = match wanted {
            Some(id) => Some(self.kept_configuration(organization, id).await?),
            None => None,
        };
        let orders = Orders::new(configuration, is_drained);
        Ok(memory.remember(generation, key, orders, Timestamp::MAX))
    }

    async fn kept_configuration(
        &self,
        organization: &OrganizationId,
        id: VersionId,
    ) -> Result<KeptConfiguration, Error> {
        let found = configurations::find(&self.store, organization, &id).await?;
        let (_, text) = found.ok_or_else(|| Error::internal(format!("there is no configuration {id}")))?;
        let mut credentials: BTreeMap<KeptName, Credential> = BTreeMap::new();
        // One that does not load any more is told to the gateway too, which says what is wrong with it.
        let config = load(&text).await?.config;
        for name in config.iter().flat_map(PolicyConfig::stored_credentials) {
            let name: KeptName = name.parse().map_err(Error::internal)?;
            if let Some(credential) = self.open_credential(organization, &name).await? {
                credentials.insert(name, credential);
            }
        }
        Ok(KeptConfiguration { id, text, credentials })
    }

    /// The versions in force or to come that ask for this credential.
    pub(crate) async fn users_of_credential(
        &self,
        source: &impl Readable,
        organization: &OrganizationId,
        name: &KeptName,
    ) -> Result<Vec<VersionId>, Error> {
        let mut told = told_singly(source, organization).await?;
        told.extend(fleet_orders(source, organization).await?.value.configuration);
        told.sort();
        told.dedup();
        let mut users = Vec::new();
        for id in told {
            let found = configurations::find(source, organization, &id).await?;
            let Some((_, text)) = found else { continue };
            let config = load(&text).await?.config;
            if config.is_some_and(|config| config.stored_credentials().contains(name.as_str())) {
                users.push(id);
            }
        }
        Ok(users)
    }
}

/// What all gateways of an organization are told that are told nothing else.
pub(crate) async fn fleet_orders(
    source: &impl Readable,
    organization: &OrganizationId,
) -> Result<Versioned<FleetOrders>, Error> {
    Ok(organizations::settings(source, organization, FLEET).await?)
}

async fn rolled_out(source: &impl Readable, organization: &OrganizationId) -> Result<RolledOut, Error> {
    let name: KeptName = MAIN.parse().map_err(Error::internal)?;
    let newest = configurations::newest_of(source, organization, &name).await?;
    Ok(RolledOut {
        newest: newest.map(|version| version.id),
        for_all: fleet_orders(source, organization).await?.value.configuration,
        for_single: told_singly(source, organization).await?,
    })
}

/// The versions that single gateways are told to run, those too that are yet to come, each once.
async fn told_singly(source: &impl Readable, organization: &OrganizationId) -> Result<Vec<VersionId>, Error> {
    let mut told = gateways::own_configurations(source, organization).await?;
    told.extend(fleet_orders(source, organization).await?.value.awaited.into_values());
    told.sort();
    told.dedup();
    Ok(told)
}

/// Refuses a version that no gateway can be told to run: it is not here, is not valid any more or names a credential that is
/// not kept.
pub(super) async fn require_runnable(
    source: &impl Readable,
    organization: &OrganizationId,
    id: &VersionId,
) -> Result<(), Error> {
    let found = configurations::find(source, organization, id).await?;
    let (_, text) = found.ok_or_else(no_configuration)?;
    require_credentials(source, organization, &valid(load(&text).await?)?).await
}

/// Puts these in the place of the orders that had this version.
pub(super) async fn change_fleet_orders(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    before: i64,
    orders: &FleetOrders,
    now: Timestamp,
) -> Result<(), Error> {
    Ok(organizations::replace_settings(tx, organization, FLEET, before, orders, now).await.map(|_| ())?)
}

/// Tells all gateways, those too that are told to run something else; gives what they were told before.
async fn tell_all(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &VersionId,
    now: Timestamp,
) -> Result<Value, Error> {
    let before = fleet_orders(tx, organization).await?;
    let orders = FleetOrders { configuration: Some(id.clone()), ..FleetOrders::default() };
    change_fleet_orders(tx, organization, before.version, &orders, now).await?;
    gateways::forget_own_configurations(tx, organization).await?;
    Ok(json!({ "configuration": before.value.configuration, "gateways": "all" }))
}

/// Tells single gateways; gives what they were told before.
async fn tell_some(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &VersionId,
    chosen: &[String],
) -> Result<Value, Error> {
    if chosen.is_empty() {
        return Err(Error::invalid("gateways", "Choose at least one gateway, or all."));
    }
    let mut before = serde_json::Map::new();
    for gateway in chosen {
        let found = require_gateway(tx, organization, gateway).await;
        let found = found.map_err(|_| Error::invalid("gateways", "One of these gateways is not here."))?;
        if found.config_source == ConfigurationSource::File {
            return Err(Error::new(
                ErrorKind::Conflict,
                "configured_by_file",
                format!(
                    "`{gateway}` was started with --policy-config, and its files decide. Start it without, and it runs \
                     what is rolled out here."
                ),
            )
            .with_param("gateways"));
        }
        let present = gateways::orders(tx, organization, gateway).await?;
        before.insert(gateway.clone(), json!(present.configuration));
        let orders = OwnOrders { configuration: Some(id.clone()), ..present };
        gateways::order(tx, organization, gateway, &orders).await?;
    }
    Ok(json!({ "gateways": before }))
}
