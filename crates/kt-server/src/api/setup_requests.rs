//! `/v1/setup-requests`: members who have nothing to work with, and ask for it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kt_control::SetupRequest;
use kt_domain::error::Error;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::{Everything, Listing, PageParams};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// What somebody asks for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestInput {
    /// What the administrators should know, at most 500 characters.
    #[serde(default)]
    note: Option<String>,
}

/// A request.
#[derive(Serialize, ToSchema)]
pub(crate) struct RequestAnswer {
    id: String,
    user_id: String,
    name: String,
    email: String,
    note: Option<String>,
    created_at: String,
}

/// Requests.
#[derive(Serialize, ToSchema)]
pub(crate) struct RequestsAnswer {
    setup_requests: Vec<RequestAnswer>,
    next_cursor: Option<String>,
}

impl From<SetupRequest> for RequestAnswer {
    fn from(request: SetupRequest) -> Self {
        Self {
            id: request.id.to_string(),
            user_id: request.user.to_string(),
            name: request.name,
            email: request.email,
            note: request.note,
            created_at: request.created_at.to_string(),
        }
    }
}

/// Ask the administrators to set a gateway up. They are told by e-mail and in the console. While a request of yours is
/// open, it is answered, and nobody is told again.
#[utoipa::path(post, path = "/v1/setup-requests", tag = "people", request_body = Option<RequestInput>, responses(
    (status = 200, description = "Your request that is open already.", body = RequestAnswer),
    (status = 201, description = "They were told.", body = RequestAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key cannot ask.", body = ErrorBody),
    (status = 422, description = "A field is not valid.", body = ErrorBody),
))]
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    input: Option<Input<RequestInput>>,
) -> Result<(StatusCode, Json<RequestAnswer>), Failure> {
    let note = input.and_then(|Input(input)| input.note);
    let (request, is_new) = doors.control.request_setup(&ctx, note.as_deref()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(request.into())))
}

/// The open requests of members.
#[utoipa::path(get, path = "/v1/setup-requests", tag = "people", params(PageParams), responses(
    (status = 200, description = "The earliest first.", body = RequestsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<RequestsAnswer>, Failure> {
    let page = doors.control.setup_requests(&ctx, &request).await?;
    let setup_requests = page.items.into_iter().map(RequestAnswer::from).collect();
    Ok(Json(RequestsAnswer { setup_requests, next_cursor: page.next_cursor }))
}

/// Close a request: it was done, or will not be. Whoever asked can ask again.
#[utoipa::path(post, path = "/v1/setup-requests/{id}/close", tag = "people",
    params(("id" = String, Path, description = "The request")), responses(
    (status = 204, description = "It is closed."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 404, description = "There is no such open request.", body = ErrorBody),
))]
pub(crate) async fn close(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let id = id.parse().map_err(|_| Error::not_found("open request"))?;
    doors.control.close_setup_request(&ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
