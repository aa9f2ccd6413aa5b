//! The gateways that have reported to the control plane.

use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::gateways::TargetReport;
use kt_domain::id::{ApiKeyId, OrganizationId};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

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
    /// From where it came.
    pub ip: Option<IpAddr>,
    /// When it first came.
    pub enrolled_at: Timestamp,
    /// When it last came, to a quarter of a minute.
    pub seen_at: Timestamp,
}

/// The gateway of this name, whichever organisation it belongs to.
pub async fn find(source: &impl Source, id: &str) -> Result<Option<Gateway>, StoreError> {
    sql::row(source, "SELECT * FROM gateways WHERE id = $1", values![id])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// Every gateway of an organisation, by name.
pub async fn all(source: &impl Source, organization: &OrganizationId) -> Result<Vec<Gateway>, StoreError> {
    const SELECT: &str = "SELECT * FROM gateways WHERE organization_id = $1 ORDER BY id";
    sql::rows(source, SELECT, values![organization.as_str()]).await?.iter().map(read).collect()
}

/// Adds a gateway; [`StoreError::Exists`] when one of this name came first.
pub async fn insert(tx: &Tx<'_>, gateway: &Gateway) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO gateways (id, organization_id, key_id, software_version, config_version,
            address, targets, ip, enrolled_at, seen_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let values = values![
        &gateway.id,
        gateway.organization.as_str(),
        gateway.key.as_ref().map(|key| key.as_str().to_owned()),
        &gateway.software_version,
        &gateway.config_version,
        gateway.address.clone(),
        sql::document(&gateway.targets)?,
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
            targets = $7, ip = $8, seen_at = $9
        WHERE id = $1 AND organization_id = $2";
    let values = values![
        &gateway.id,
        gateway.organization.as_str(),
        gateway.key.as_ref().map(|key| key.as_str().to_owned()),
        &gateway.software_version,
        &gateway.config_version,
        gateway.address.clone(),
        sql::document(&gateway.targets)?,
        gateway.ip.map(|ip| ip.to_string()),
        gateway.seen_at,
    ];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
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
}

/// Up to `limit` gateways of an organisation, by name, those behind `after`.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Delivering>, StoreError> {
    const SELECT: &str = "SELECT g.*, k.name AS key_name, COALESCE(c.seq, 0) AS entries,
            (SELECT MAX(e.occurred_at) FROM events e
                WHERE e.organization_id = g.organization_id AND e.gateway_id = g.id) AS last_event_at
        FROM gateways g
        LEFT JOIN api_keys k ON k.id = g.key_id AND k.organization_id = g.organization_id
        LEFT JOIN event_chains c ON c.organization_id = g.organization_id AND c.gateway_id = g.id
        WHERE g.organization_id = $1 AND g.id > $2 ORDER BY g.id LIMIT $3";
    let values = values![organization.as_str(), after.unwrap_or_default(), i64::from(limit)];
    sql::rows(source, SELECT, values).await?.iter().map(read_delivering).collect()
}

fn read_delivering(row: &Row) -> Result<Delivering, StoreError> {
    Ok(Delivering {
        gateway: read(row)?,
        key_name: row.get("key_name")?,
        entries: row.get::<i64>("entries")?.cast_unsigned(),
        last_event_at: row.time_opt("last_event_at")?,
    })
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
        ip: row.parsed_opt("ip")?,
        enrolled_at: row.time("enrolled_at")?,
        seen_at: row.time("seen_at")?,
    })
}
