//! How an organization stands in figures, at this moment and on the days before.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use kt_domain::id::OrganizationId;
use kt_domain::keys::SOON;
use serde::{Deserialize, Serialize};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, values};

/// The figures of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Sessions that live.
    pub active_sessions: i64,
    /// Sign-ins that were refused within the last day.
    pub failed_logins_24h: i64,
    /// Keys that expire within seven days.
    pub keys_expiring_soon: i64,
    /// Active members without a second factor.
    pub users_without_2fa: i64,
    /// Whether an allow list is applied.
    pub allowlist_enforced: bool,
}

/// How far back sign-ins are counted that failed.
pub const DAY: Duration = Duration::from_hours(24);

/// The figures at `now`. A session lives that was made and active since the moments of `living`.
pub async fn figures(
    source: &impl Source,
    organization: &OrganizationId,
    (made, active): (Timestamp, Timestamp),
    allowlist_enforced: bool,
    now: Timestamp,
) -> Result<Figures, StoreError> {
    const SESSIONS: &str = "SELECT COUNT(*) AS count FROM sessions s
        JOIN users u ON u.id = s.user_id AND u.epoch = s.epoch
        JOIN memberships m ON m.organization_id = s.organization_id AND m.user_id = s.user_id AND m.state = 'active'
        WHERE s.organization_id = $1 AND s.ended_at IS NULL AND s.created_at >= $2 AND s.active_at >= $3";
    const FAILED: &str = "SELECT CAST(COALESCE(SUM(stands_for), 0) AS BIGINT) AS count FROM audit_records
        WHERE organization_id = $1 AND action = 'auth.sign_in' AND outcome = 'failure' AND recorded_at >= $2";
    const KEYS: &str = "SELECT COUNT(*) AS count FROM api_keys
        WHERE organization_id = $1 AND expires_at > $2 AND expires_at <= $3 AND (ends_at IS NULL OR ends_at > $2)";
    const WITHOUT_FACTOR: &str = "SELECT COUNT(*) AS count FROM memberships m
        WHERE m.organization_id = $1 AND m.state = 'active'
            AND NOT EXISTS (SELECT 1 FROM totp_secrets t WHERE t.user_id = m.user_id)
            AND NOT EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = m.user_id)";
    let id = organization.as_str();
    Ok(Figures {
        active_sessions: count(source, SESSIONS, values![id, made, active]).await?,
        failed_logins_24h: count(source, FAILED, values![id, now - DAY]).await?,
        keys_expiring_soon: count(source, KEYS, values![id, now, now + SOON]).await?,
        users_without_2fa: count(source, WITHOUT_FACTOR, values![id]).await?,
        allowlist_enforced,
    })
}

async fn count(
    source: &impl Source,
    sql: &'static str,
    values: impl IntoIterator<Item = sea_orm::Value>,
) -> Result<i64, StoreError> {
    sql::row(source, sql, values).await?.map_or(Ok(0), |row| row.get("count"))
}

/// The organizations of which there is no snapshot of this day.
pub async fn without_snapshot(source: &impl Source, day: Date) -> Result<Vec<OrganizationId>, StoreError> {
    const SELECT: &str = "SELECT o.id FROM organizations o
        LEFT JOIN posture_snapshots p ON p.organization_id = o.id AND p.day = $1
        WHERE p.day IS NULL ORDER BY o.id";
    let rows = sql::rows(source, SELECT, values![day.to_string()]).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Keeps the snapshot of a day, unless another process was first.
pub async fn keep_snapshot(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    day: Date,
    figures: &Figures,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO posture_snapshots (organization_id, day, figures) VALUES ($1, $2, $3)
        ON CONFLICT (organization_id, day) DO NOTHING";
    let values = values![organization.as_str(), day.to_string(), sql::document(figures)?];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// Forgets the snapshots of days before this one.
pub async fn forget_snapshots(tx: &Tx<'_>, before: Date) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM posture_snapshots WHERE day < $1", values![before.to_string()]).await?;
    Ok(())
}

/// The snapshots of an organization, the oldest first.
pub async fn snapshots(
    source: &impl Source,
    organization: &OrganizationId,
) -> Result<Vec<(Date, Figures)>, StoreError> {
    const SELECT: &str = "SELECT day, figures FROM posture_snapshots WHERE organization_id = $1 ORDER BY day";
    let rows = sql::rows(source, SELECT, values![organization.as_str()]).await?;
    rows.iter().map(|row| Ok((row.parsed("day")?, row.document("figures")?))).collect()
}
