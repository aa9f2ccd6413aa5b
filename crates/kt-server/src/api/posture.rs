//! `/v1/organization/security/posture`: how well the organization stands, in figures.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use kt_control::Posture;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ErrorBody, Failure};
use crate::Doors;
use crate::client::Caller;

/// The figures of this moment, where their lists are, and the days before.
#[derive(Serialize, ToSchema)]
pub(crate) struct PostureAnswer {
    active_sessions: i64,
    failed_logins_24h: i64,
    /// Keys that expire within seven days.
    keys_expiring_soon: i64,
    users_without_2fa: i64,
    /// `enforced`, `empty` where there is nothing in it to enforce, or `off`.
    allowlist_status: &'static str,
    links: PostureLinks,
    /// Once a day, the oldest first, for at most 90 days.
    history: Vec<PostureDay>,
}

/// The list behind each figure.
#[derive(Serialize, ToSchema)]
struct PostureLinks {
    active_sessions: &'static str,
    failed_logins_24h: String,
    keys_expiring_soon: &'static str,
    users_without_2fa: &'static str,
    allowlist_status: &'static str,
}

impl PostureLinks {
    /// Where each figure comes from.
    fn since(failed_since: Timestamp) -> Self {
        let failed = "/v1/audit-log?action=auth.sign_in&outcome=failure&since=";
        Self {
            active_sessions: "/v1/organization/sessions",
            failed_logins_24h: format!("{failed}{failed_since}"),
            keys_expiring_soon: "/v1/tokens?state=expiring",
            users_without_2fa: "/v1/members?mfa=none",
            allowlist_status: "/v1/organization/ip-restrictions",
        }
    }
}

/// The figures of a day's beginning.
#[derive(Serialize, ToSchema)]
struct PostureDay {
    /// Such as `2026-03-15`, UTC.
    date: String,
    active_sessions: i64,
    failed_logins_24h: i64,
    keys_expiring_soon: i64,
    users_without_2fa: i64,
    allowlist_enforced: bool,
}

impl From<Posture> for PostureAnswer {
    fn from(Posture { figures, failed_since, allowlist, history }: Posture) -> Self {
        let history = history.into_iter().map(|(date, figures)| PostureDay {
            date: date.to_string(),
            active_sessions: figures.active_sessions,
            failed_logins_24h: figures.failed_logins_24h,
            keys_expiring_soon: figures.keys_expiring_soon,
            users_without_2fa: figures.users_without_2fa,
            allowlist_enforced: figures.allowlist_enforced,
        });
        Self {
            active_sessions: figures.active_sessions,
            failed_logins_24h: figures.failed_logins_24h,
            keys_expiring_soon: figures.keys_expiring_soon,
            users_without_2fa: figures.users_without_2fa,
            allowlist_status: allowlist.as_str(),
            links: PostureLinks::since(failed_since),
            history: history.collect(),
        }
    }
}

/// How well the organization stands.
#[utoipa::path(get, path = "/v1/organization/security/posture", tag = "organization", responses(
    (status = 200, description = "The figures of this moment and of the days before.", body = PostureAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it.", body = ErrorBody),
))]
pub(crate) async fn read(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<PostureAnswer>, Failure> {
    Ok(Json(doors.control.posture(&ctx).await?.into()))
}
