//! The gateways that have reported to the control plane, and what each of them is told.

use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::configurations::{ConfigurationSource, RefusedConfiguration, VersionId};
use kt_domain::gateways::{ShownConfiguration, TargetReport};
use kt_domain::id::{ApiKeyId, OrganizationId};
use kt_domain::search::Search;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Composed, Row, values};

/// A gateway as it last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The name that it gave itself, and that its events carry.
    pub id: String,
    /// Whose traffic it guards.
    pub organization: OrganizationId,
    /// The key that it last came with; none for the gateway that runs beside the control plane.
    pub key: Option<ApiKeyId>,
    /// Which version of Keeptrusts it runs.
    pub software_version: String,
    /// The configuration that it has in force.
    pub config_version: String,
    /// Where it is reached, if it says so.
    pub address: Option<String>,
    /// The places that it forwards to.
    pub targets: Vec<TargetReport>,
    /// Where it has it from.
    pub config_source: ConfigurationSource,
    /// The version that it was told to run last and could not, if that is so.
    pub refused: Option<RefusedConfiguration>,
    /// Whether it takes no new requests.
    pub is_draining: bool,
    /// Whether it counts limits and budgets in a Redis or Valkey with others, and not by itself.
    pub shares_counts: bool,
    /// From where it came.
    pub ip: Option<IpAddr>,
    /// When it first came.
    pub enrolled_at: Timestamp,
    /// When it last came, to a quarter of a minute.
    pub seen_at: Timestamp,
}

/// The gateway of this name in an organization.
pub async fn find(
    source: &impl Source,
    organization: &OrganizationId,
    id: &str,
) -> Result<Option<Gateway>, StoreError> {
    const SELECT: &str = "SELECT * FROM gateways WHERE organization_id = $1 AND id = $2";
    let row = sql::row(source, SELECT, values![organization.as_str(), id]).await?;
    row.as_ref().map(read).transpose()
}

/// The gateways of an organization that came after `silent_since`, and neither take no new requests nor are told to take
/// none, by name.
pub async fn in_service(
    source: &impl Source,
    organization: &OrganizationId,
    silent_since: Timestamp,
) -> Result<Vec<Gateway>, StoreError> {
    const SELECT: &str = "SELECT g.* FROM gateways g
        LEFT JOIN gateway_orders o ON o.organization_id = g.organization_id AND o.gateway_id = g.id
        WHERE g.organization_id = $1 AND g.seen_at > $2 AND NOT g.is_draining AND NOT COALESCE(o.is_drained, FALSE)
        ORDER BY g.id";
    let rows = sql::rows(source, SELECT, values![organization.as_str(), silent_since]).await?;
    rows.iter().map(read).collect()
}

/// The gateways of an organization that came after `silent_since`, whatever they are told, by name.
pub async fn heard_of(
    source: &impl Source,
    organization: &OrganizationId,
    silent_since: Timestamp,
) -> Result<Vec<Gateway>, StoreError> {
    const SELECT: &str = "SELECT * FROM gateways WHERE organization_id = $1 AND seen_at > $2 ORDER BY id";
    let rows = sql::rows(source, SELECT, values![organization.as_str(), silent_since]).await?;
    rows.iter().map(read).collect()
}

/// How many gateways an organization has.
pub async fn count(source: &impl Source, organization: &OrganizationId) -> Result<i64, StoreError> {
    const SELECT: &str = "SELECT COUNT(*) AS gateways FROM gateways WHERE organization_id = $1";
    let row = sql::row(source, SELECT, values![organization.as_str()]).await?;
    row.map_or(Ok(0), |row| row.get("gateways"))
}

/// Adds a gateway; [`StoreError::Exists`] when one of this name came first.
pub async fn insert(tx: &Tx<'_>, gateway: &Gateway) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO gateways (id, organization_id, key_id, software_version, config_version,
            address, targets, config_source, refused, is_draining, shares_counts, ip, enrolled_at, seen_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let values = values![
        &gateway.id,
        gateway.organization.as_str(),
        gateway.key.as_ref().map(|key| key.as_str().to_owned()),
        &gateway.software_version,
        &gateway.config_version,
        gateway.address.clone(),
        sql::document(&gateway.targets)?,
        gateway.config_source.as_str(),
        gateway.refused.as_ref().map(sql::document).transpose()?,
        gateway.is_draining,
        gateway.shares_counts,
        gateway.ip.map(|ip| ip.to_string()),
        gateway.enrolled_at,
        gateway.seen_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// Stores what a gateway reports anew.
pub async fn update(tx: &Tx<'_>, gateway: &Gateway) -> Result<(), StoreError> {
    const UPDATE: &str =
        "UPDATE gateways SET key_id = $3, software_version = $4, config_version = $5, address = $6,
            targets = $7, config_source = $8, refused = $9, is_draining = $10, shares_counts = $11, ip = $12,
            seen_at = $13
        WHERE id = $1 AND organization_id = $2";
    let values = values![
        &gateway.id,
        gateway.organization.as_str(),
        gateway.key.as_ref().map(|key| key.as_str().to_owned()),
        &gateway.software_version,
        &gateway.config_version,
        gateway.address.clone(),
        sql::document(&gateway.targets)?,
        gateway.config_source.as_str(),
        gateway.refused.as_ref().map(sql::document).transpose()?,
        gateway.is_draining,
        gateway.shares_counts,
        gateway.ip.map(|ip| ip.to_string()),
        gateway.seen_at,
    ];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}

/// Forgets a gateway and what it was told. Its events stay.
pub async fn delete(tx: &Tx<'_>, organization: &OrganizationId, id: &str) -> Result<(), StoreError> {
    const DELETES: [&str; 3] = [
        "DELETE FROM gateway_orders WHERE organization_id = $1 AND gateway_id = $2",
        "DELETE FROM gateway_configurations WHERE organization_id = $1 AND gateway_id = $2",
        "DELETE FROM gateways WHERE organization_id = $1 AND id = $2",
    ];
    for delete in DELETES {
        sql::execute(tx, delete, values![organization.as_str(), id]).await?;
    }
    Ok(())
}

/// Whether this version of a gateway's own configuration was told.
pub async fn knows_configuration(
    source: &impl Source,
    organization: &OrganizationId,
    id: &str,
    version: &str,
) -> Result<bool, StoreError> {
    const SELECT: &str = "SELECT gateway_id FROM gateway_configurations
        WHERE organization_id = $1 AND gateway_id = $2 AND config_version = $3";
    Ok(sql::row(source, SELECT, values![organization.as_str(), id, version]).await?.is_some())
}

/// What a gateway told last of its own configuration.
pub async fn configuration(
    source: &impl Source,
    organization: &OrganizationId,
    id: &str,
) -> Result<Option<ShownConfiguration>, StoreError> {
    const SELECT: &str = "SELECT config_version, document FROM gateway_configurations
        WHERE organization_id = $1 AND gateway_id = $2";
    let read = |row: Row| {
        Ok(ShownConfiguration {
            version: row.get("config_version")?,
            document: row.document_opt("document")?,
        })
    };
    sql::row(source, SELECT, values![organization.as_str(), id]).await?.map(read).transpose()
}

/// Keeps what a gateway tells of its own configuration, in the place of what it told before.
pub async fn keep_configuration(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &str,
    told: &ShownConfiguration,
) -> Result<(), StoreError> {
    const UPSERT: &str =
        "INSERT INTO gateway_configurations (organization_id, gateway_id, config_version, document)
        VALUES ($1, $2, $3, $4) ON CONFLICT (organization_id, gateway_id)
        DO UPDATE SET config_version = excluded.config_version, document = excluded.document";
    let document = told.document.as_ref().map(sql::document).transpose()?;
    sql::execute(tx, UPSERT, values![organization.as_str(), id, &told.version, document]).await?;
    Ok(())
}

/// What one gateway is told besides what all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnOrders {
    /// What it is to run, in place of what all are.
    pub configuration: Option<VersionId>,
    /// Whether it is to take no new requests.
    pub is_drained: bool,
}

/// What a gateway is told besides what all are.
pub async fn orders(
    source: &impl Source,
    organization: &OrganizationId,
    id: &str,
) -> Result<OwnOrders, StoreError> {
    const SELECT: &str = "SELECT configuration, is_drained FROM gateway_orders
        WHERE organization_id = $1 AND gateway_id = $2";
    let row = sql::row(source, SELECT, values![organization.as_str(), id]).await?;
    row.as_ref().map_or_else(|| Ok(OwnOrders::default()), read_orders)
}

/// Tells a gateway this from now on. Whoever writes back what they read of it locks its organization first.
pub async fn order(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &str,
    orders: &OwnOrders,
) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO gateway_orders (organization_id, gateway_id, configuration, is_drained)
        VALUES ($1, $2, $3, $4) ON CONFLICT (organization_id, gateway_id)
        DO UPDATE SET configuration = excluded.configuration, is_drained = excluded.is_drained";
    let configuration = orders.configuration.as_ref().map(ToString::to_string);
    sql::execute(tx, UPSERT, values![organization.as_str(), id, configuration, orders.is_drained]).await?;
    Ok(())
}

/// From now on every gateway of an organization is to run what all are.
pub async fn forget_own_configurations(tx: &Tx<'_>, organization: &OrganizationId) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE gateway_orders SET configuration = NULL WHERE organization_id = $1";
    sql::execute(tx, UPDATE, values![organization.as_str()]).await?;
    Ok(())
}

/// The versions that single gateways of an organization are told to run.
pub async fn own_configurations(
    source: &impl Source,
    organization: &OrganizationId,
) -> Result<Vec<VersionId>, StoreError> {
    const SELECT: &str = "SELECT DISTINCT configuration FROM gateway_orders
        WHERE organization_id = $1 AND configuration IS NOT NULL ORDER BY configuration";
    let rows = sql::rows(source, SELECT, values![organization.as_str()]).await?;
    rows.iter().map(|row| row.parsed("configuration")).collect()
}

/// A gateway, and what has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivering {
    /// The gateway.
    pub gateway: Gateway,
    /// What people call the key that it last came with.
    pub key_name: Option<String>,
    /// How many entries of its event log are here, from its beginning on.
    pub entries: u64,
    /// When its last event happened.
    pub last_event_at: Option<Timestamp>,
    /// What it is told besides what all are.
    pub orders: OwnOrders,
}

/// Up to `limit` gateways of an organization whose name or address holds what is searched for, by name, those behind `after`.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    search: Option<&Search>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Delivering>, StoreError> {
    let mut query = of_organization(organization);
    query.and_found_in(["g.id", "g.address"], search).and("g.id > ", after);
    listed(query, source, limit).await
}

/// One gateway of an organization.
pub async fn one(
    source: &impl Source,
    organization: &OrganizationId,
    id: &str,
) -> Result<Option<Delivering>, StoreError> {
    let mut query = of_organization(organization);
    query.and("g.id = ", Some(id));
    Ok(listed(query, source, 1).await?.pop())
}

/// Up to `limit` gateways that last came with this key of an organization, by name.
pub async fn of_key(
    source: &impl Source,
    organization: &OrganizationId,
    key: &ApiKeyId,
    limit: u32,
) -> Result<Vec<Delivering>, StoreError> {
    let mut query = of_organization(organization);
    query.and("g.key_id = ", Some(key.as_str()));
    listed(query, source, limit).await
}

/// The gateways of an organization, to be narrowed.
fn of_organization(organization: &OrganizationId) -> Composed {
    const SELECT: &str = "SELECT g.*, k.name AS key_name, COALESCE(c.seq, 0) AS entries,
            o.configuration AS configuration, COALESCE(o.is_drained, FALSE) AS is_drained,
            (SELECT MAX(e.occurred_at) FROM events e
                WHERE e.organization_id = g.organization_id AND e.gateway_id = g.id) AS last_event_at
        FROM gateways g
        LEFT JOIN api_keys k ON k.id = g.key_id AND k.organization_id = g.organization_id
        LEFT JOIN event_chains c ON c.organization_id = g.organization_id AND c.gateway_id = g.id
        LEFT JOIN gateway_orders o ON o.organization_id = g.organization_id AND o.gateway_id = g.id
        WHERE g.organization_id = ";
    let mut query = Composed::new(SELECT);
    query.value(organization.as_str());
    query
}

async fn listed(
    mut query: Composed,
    source: &impl Source,
    limit: u32,
) -> Result<Vec<Delivering>, StoreError> {
    query.text(" ORDER BY g.id LIMIT ").value(i64::from(limit));
    query.rows(source).await?.iter().map(read_delivering).collect()
}

fn read_delivering(row: &Row) -> Result<Delivering, StoreError> {
    Ok(Delivering {
        gateway: read(row)?,
        key_name: row.get("key_name")?,
        entries: row.get::<i64>("entries")?.cast_unsigned(),
        last_event_at: row.time_opt("last_event_at")?,
        orders: read_orders(row)?,
    })
}

fn read_orders(row: &Row) -> Result<OwnOrders, StoreError> {
    Ok(OwnOrders { configuration: row.parsed_opt("configuration")?, is_drained: row.get("is_drained")? })
}

fn read(row: &Row) -> Result<Gateway, StoreError> {
    Ok(Gateway {
        id: row.get("id")?,
        organization: row.parsed("organization_id")?,
        key: row.parsed_opt("key_id")?,
        software_version: row.get("software_version")?,
        config_version: row.get("config_version")?,
        address: row.get("address")?,
        targets: row.document("targets")?,
        config_source: row.parsed("config_source")?,
        refused: row.document_opt("refused")?,
        is_draining: row.get("is_draining")?,
        shares_counts: row.get("shares_counts")?,
        ip: row.parsed_opt("ip")?,
        enrolled_at: row.time("enrolled_at")?,
        seen_at: row.time("seen_at")?,
    })
}
