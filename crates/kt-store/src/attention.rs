//! What in an organization waits for somebody, in figures.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::id::OrganizationId;
use kt_domain::keys::KeyRestrictions;

use crate::database::{Source, StoreError};
use crate::keys;
use crate::sql::{self, values};

/// How much of each waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// People who have registered, verified their address, and wait for an administrator's word.
    pub people: i64,
    /// Living keys that break what the organization demands of keys.
    pub flagged_keys: i64,
    /// Gateways that have stopped reporting.
    pub silent_gateways: i64,
    /// Members who ask that a gateway be set up.
    pub setup_requests: i64,
    /// Domains whose record is gone that shows them to be the organization's.
    pub missing_domains: i64,
}

/// A gateway that has been silent for longer was taken away.
const DISMANTLED_AFTER: Duration = Duration::from_hours(7 * 24);

/// What waits at `now`, where this is demanded of keys. A gateway is silent that was last seen before `silent_since`.
pub async fn waiting(
    source: &impl Source,
    organization: &OrganizationId,
    restrictions: &KeyRestrictions,
    silent_since: Timestamp,
    now: Timestamp,
) -> Result<Waiting, StoreError> {
    const SELECT: &str = "SELECT
        (SELECT COUNT(*) FROM memberships m JOIN users u ON u.id = m.user_id
            WHERE m.organization_id = $1 AND m.state = 'pending_approval' AND u.email_verified_at IS NOT NULL) AS people,
        (SELECT COUNT(*) FROM gateways WHERE organization_id = $1 AND seen_at < $2 AND seen_at >= $3) AS silent_gateways,
        (SELECT COUNT(*) FROM setup_requests s JOIN memberships m ON m.organization_id = s.organization_id
            AND m.user_id = s.user_id AND m.state = 'active'
            WHERE s.organization_id = $1 AND s.closed_at IS NULL) AS setup_requests,
        (SELECT COUNT(*) FROM organization_domains
            WHERE organization_id = $1 AND missing_since IS NOT NULL) AS missing_domains";
    let flagged_keys = keys::count_flagged(source, organization, restrictions, now).await?;
    let row = sql::row(source, SELECT, values![organization.as_str(), silent_since, now - DISMANTLED_AFTER])
        .await?;
    let Some(row) = row else { return Ok(Waiting::default()) };
    Ok(Waiting {
        people: row.get("people")?,
        flagged_keys,
        silent_gateways: row.get("silent_gateways")?,
        setup_requests: row.get("setup_requests")?,
        missing_domains: row.get("missing_domains")?,
    })
}
