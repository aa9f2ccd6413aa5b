//! `/v1/setup`: the first owner, made by whoever holds the one-time link.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kt_control::SetUp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Visitor;

/// The first owner and organization.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetUpRequest {
    /// The token of the one-time link that the server has printed.
    token: String,
    /// The organization's identifier: small letters, digits and hyphens.
    organization: String,
    organization_name: String,
    email: String,
    name: String,
    password: String,
}

/// What was set up.
#[derive(Serialize, ToSchema)]
pub(crate) struct SetUpAnswer {
    organization_id: String,
    user_id: String,
}

/// Make the first owner and organization. The door closes behind it.
#[utoipa::path(post, path = "/v1/setup", tag = "sign-in", security(()), request_body = SetUpRequest, responses(
    (status = 201, description = "They are made: sign in.", body = SetUpAnswer),
    (status = 409, description = "The link is no good, or everything is set up.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn set_up(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<SetUpRequest>,
) -> Result<(StatusCode, Json<SetUpAnswer>), Failure> {
    let set_up = SetUp {
        organization: request.organization,
        organization_name: request.organization_name,
        email: request.email,
        name: request.name,
        password: request.password,
    };
    let done = doors.control.set_up_by_link(&ctx, &request.token, set_up).await?;
    let answer =
        SetUpAnswer { organization_id: done.organization.to_string(), user_id: done.user.to_string() };
    Ok((StatusCode::CREATED, Json(answer)))
}
