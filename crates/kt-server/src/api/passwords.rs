//! Passwords outside a sign-in: forgotten, reset and changed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kt_domain::network::console_rules::Surface;
use serde::Deserialize;
use utoipa::ToSchema;

use super::sign_in::StatusAnswer;
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::{Caller, Visitor};

/// An address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressRequest {
    pub(crate) email: String,
}

/// Ask for a link to choose a new password. The answer is the same for every address.
#[utoipa::path(post, path = "/v1/auth/password/forgot", tag = "passwords", security(()), request_body = AddressRequest, responses(
    (status = 202, description = "`accepted`: if the address has an account, a link is on its way.", body = StatusAnswer),
    (status = 422, description = "It is no address.", body = ErrorBody),
    (status = 429, description = "Too many messages were asked for from this network.", body = ErrorBody),
))]
pub(crate) async fn forgot(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<AddressRequest>,
) -> Result<(StatusCode, Json<StatusAnswer>), Failure> {
    doors.control.forgot_password(&ctx, &request.email).await?;
    Ok((StatusCode::ACCEPTED, Json(StatusAnswer { status: "accepted" })))
}

/// The token of a link, and a new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordResetRequest {
    token: String,
    new_password: String,
}

/// Choose a new password on the strength of a link; then sign in with it. All sessions end.
#[utoipa::path(post, path = "/v1/auth/password/reset", tag = "passwords", security(()), request_body = PasswordResetRequest, responses(
    (status = 200, description = "`password_changed`.", body = StatusAnswer),
    (status = 403, description = "The organization signs in through its identity provider alone (`sso_required`), or its address rules refuse this (`ip_denied`).", body = ErrorBody),
    (status = 422, description = "The link is over (`invalid_token`), or the password breaks rules; `violations` lists them.", body = ErrorBody),
    (status = 503, description = "Too many passwords are being checked at once.", body = ErrorBody),
))]
pub(crate) async fn reset(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<PasswordResetRequest>,
) -> Result<Json<StatusAnswer>, Failure> {
    doors.control.reset_password(&ctx, Surface::Api, &request.token, &request.new_password).await?;
    Ok(Json(StatusAnswer { status: "password_changed" }))
}

/// The present password and a new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeRequest {
    /// Left out by an account that has no password yet.
    current_password: Option<String>,
    new_password: String,
}

/// Change one's password, or add a first one; then sign in with it. All sessions end, this one too.
#[utoipa::path(post, path = "/v1/me/password", tag = "self", request_body = ChangeRequest, responses(
    (status = 200, description = "`password_changed`.", body = StatusAnswer),
    (status = 401, description = "Nobody is signed in, or the present password is wrong.", body = ErrorBody),
    (status = 403, description = "A first password asks for a fresh proof of identity.", body = ErrorBody),
    (status = 422, description = "The password breaks rules; `violations` lists them.", body = ErrorBody),
))]
pub(crate) async fn change(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<ChangeRequest>,
) -> Result<Json<StatusAnswer>, Failure> {
    let current = request.current_password.as_deref();
    doors.control.change_password(&ctx, current, &request.new_password).await?;
    Ok(Json(StatusAnswer { status: "password_changed" }))
}
