//! Whether this process lives and can serve, and the keys that verify its tokens.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kt_control::JwkSet;

use super::Failure;
use crate::Doors;

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()), responses((status = 200, description = "It lives.")))]
pub(crate) async fn healthz() -> StatusCode {
    StatusCode::OK
}

/// Whether the store answers.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()), responses(
    (status = 200, description = "It can serve."),
    (status = 503, description = "It cannot serve at this moment.", body = super::ErrorBody),
))]
pub(crate) async fn readyz(State(doors): State<Doors>) -> Result<StatusCode, Failure> {
    doors.control.ready().await?;
    Ok(StatusCode::OK)
}

/// The public keys that verify access tokens (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "operations", security(()), responses(
    (status = 200, description = "The keys.", body = Object),
    (status = 503, description = "It cannot be told at this moment which keys are good.", body = super::ErrorBody),
))]
pub(crate) async fn jwks(State(doors): State<Doors>) -> Result<Json<JwkSet>, Failure> {
    Ok(Json(doors.control.jwk_set().await?))
}
