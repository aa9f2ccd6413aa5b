//! `/v1/organization/sessions`: who is signed in.

use axum::Json;
use axum::extract::State;
use kt_control::{LivingSession, WhichSessions};
use kt_domain::order::{Order, SessionColumn};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::paging::{Listing, PageParams};
use super::{ErrorBody, Failure};
use crate::Doors;
use crate::client::Caller;

/// Which sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionsParams {
    /// Those alone whose holder's name or address, or the address that they were made from, holds this.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    q: String,
    /// In which order: `created`, `email` or `active`, with a minus in front for the greatest first; without it, the newest
    /// first. A cursor goes on in the order in which it was begun.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    sort: Order<SessionColumn>,
}

/// A session of the organization.
#[derive(Serialize, ToSchema)]
pub(crate) struct LivingSessionAnswer {
    user_id: String,
    email: String,
    name: String,
    /// `api`, `console` or `cli`.
    door: &'static str,
    created_at: String,
    /// Its holder's last act, to the minute.
    active_at: String,
    /// From where it was made.
    ip_address: Option<String>,
}

impl From<LivingSession> for LivingSessionAnswer {
    fn from(session: LivingSession) -> Self {
        Self {
            user_id: session.user.to_string(),
            email: session.email,
            name: session.name,
            door: session.door.as_str(),
            created_at: session.created_at.to_string(),
            active_at: session.active_at.to_string(),
            ip_address: session.ip.map(|ip| ip.to_string()),
        }
    }
}

/// Sessions of the organization.
#[derive(Serialize, ToSchema)]
pub(crate) struct LivingSessionsAnswer {
    sessions: Vec<LivingSessionAnswer>,
    next_cursor: Option<String>,
}

/// Who is signed in: the sessions of the organization that live.
#[utoipa::path(get, path = "/v1/organization/sessions", tag = "organization", params(SessionsParams, PageParams),
    responses(
    (status = 200, description = "A page of sessions.", body = LivingSessionsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { filter: params, page: request }: Listing<SessionsParams>,
) -> Result<Json<LivingSessionsAnswer>, Failure> {
    let which = WhichSessions { search: params.q, order: params.sort };
    let page = doors.control.living_sessions(&ctx, &request, &which).await?;
    let sessions = page.items.into_iter().map(LivingSessionAnswer::from).collect();
    Ok(Json(LivingSessionsAnswer { sessions, next_cursor: page.next_cursor }))
}
