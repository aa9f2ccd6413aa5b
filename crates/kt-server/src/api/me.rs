//! `/v1/whoami` and `/v1/me`: what concerns the person that asks.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kt_control::SessionView;
use serde::Serialize;
use utoipa::ToSchema;

use super::paging::{Everything, Listing, PageParams};
use super::sign_in::WhoamiAnswer;
use super::{ErrorBody, Failure};
use crate::Doors;
use crate::client::Caller;

/// Who asks, and where.
#[utoipa::path(get, path = "/v1/whoami", tag = "self", responses(
    (status = 200, description = "Somebody.", body = WhoamiAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
))]
pub(crate) async fn whoami(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<WhoamiAnswer>, Failure> {
    Ok(Json(doors.control.whoami(&ctx).await?.into()))
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionAnswer {
    id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// `api`, `console` or `cli`.
    door: String,
    /// What was proven in it, by the words of RFC 8176, such as `pwd` and `otp`.
    proofs: Vec<&'static str>,
    created_at: String,
    active_at: String,
    ip_address: Option<String>,
    user_agent: Option<String>,
}

impl From<SessionView> for SessionAnswer {
    fn from(view: SessionView) -> Self {
        Self {
            id: view.id.to_string(),
            current: view.is_current,
            door: view.door.to_string(),
            proofs: view.proofs.words().collect(),
            created_at: view.created_at.to_string(),
            active_at: view.active_at.to_string(),
            ip_address: view.ip.map(|ip| ip.to_string()),
            user_agent: view.user_agent,
        }
    }
}

/// Sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsAnswer {
    sessions: Vec<SessionAnswer>,
    next_cursor: Option<String>,
}

/// The sessions of the person that asks.
#[utoipa::path(get, path = "/v1/me/sessions", tag = "self", params(PageParams), responses(
    (status = 200, description = "The newest first.", body = SessionsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn sessions(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<SessionsAnswer>, Failure> {
    let all = doors.control.my_sessions(&ctx).await?;
    let place = |session: &SessionView| (Reverse(session.created_at), session.id.clone());
    let page = doors.control.page_of_whole("my_sessions", &request, all, place)?;
    let sessions = page.items.into_iter().map(SessionAnswer::from).collect();
    Ok(Json(SessionsAnswer { sessions, next_cursor: page.next_cursor }))
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = "/v1/me/sessions/{id}", tag = "self", params(("id" = String, Path)), responses(
    (status = 204, description = "It is over."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "There is no such session.", body = ErrorBody),
))]
pub(crate) async fn end_session(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let id = id.parse().map_err(|_| kt_domain::error::Error::not_found("session"))?;
    doors.control.end_my_session(&ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all of one's own sessions but the one that asks.
#[utoipa::path(delete, path = "/v1/me/sessions", tag = "self", responses(
    (status = 204, description = "They are over."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A fresh proof of identity is asked for.", body = ErrorBody),
))]
pub(crate) async fn end_other_sessions(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<StatusCode, Failure> {
    doors.control.end_my_other_sessions(&ctx).await?;
    Ok(StatusCode::NO_CONTENT)
}
