//! `/v1/me/reauthenticate`: a fresh proof of identity before a change that matters.

use axum::Json;
use axum::extract::State;
use kt_control::Reproof;
use kt_domain::error::Error;
use serde::Deserialize;
use utoipa::ToSchema;

use super::sign_in::StatusAnswer;
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// One proof: as good as the best that the session was opened with, or better.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReauthenticateRequest {
    password: Option<String>,
    /// A code of the authenticator app.
    totp_code: Option<String>,
}

impl ReauthenticateRequest {
    fn reproof(&self) -> Result<Reproof<'_>, Error> {
        match (&self.password, &self.totp_code) {
            (Some(password), None) => Ok(Reproof::Password(password)),
            (None, Some(code)) => Ok(Reproof::Totp(code)),
            _ => Err(Error::invalid("body", "Send one proof: `password` or `totp_code`.")),
        }
    }
}

/// Prove again who one is: for ten minutes the session that asks may change settings, people and keys.
#[utoipa::path(post, path = "/v1/me/reauthenticate", tag = "self", request_body = ReauthenticateRequest, responses(
    (status = 200, description = "`reauthenticated`.", body = StatusAnswer),
    (status = 401, description = "Nobody is signed in, or the proof is wrong.", body = ErrorBody),
    (status = 403, description = "The session was opened with a stronger proof.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
    (status = 429, description = "Too many wrong codes.", body = ErrorBody),
))]
pub(crate) async fn reauthenticate(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<ReauthenticateRequest>,
) -> Result<Json<StatusAnswer>, Failure> {
    doors.control.reauthenticate(&ctx, request.reproof()?).await?;
    Ok(Json(StatusAnswer { status: "reauthenticated" }))
}
