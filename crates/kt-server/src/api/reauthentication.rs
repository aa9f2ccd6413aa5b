//! `/v1/me/reauthenticate`: a fresh proof of identity before a change that matters.

use axum::Json;
use axum::extract::State;
use kt_control::{PasskeyAnswer, Reproof};
use kt_domain::error::Error;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::passkeys::ChallengeAnswer;
use super::sign_in::{CodeMethod, StatusAnswer};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// One proof: as good as the best that the session was opened with, or better.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReauthenticateRequest {
    password: Option<String>,
    /// `totp` or `recovery_code`, with `code`, as at `POST /v1/auth/mfa/verify`: another way to send the next two.
    #[schema(value_type = Option<String>)]
    method: Option<CodeMethod>,
    /// The code of `method`.
    code: Option<String>,
    /// A code of the authenticator app.
    totp_code: Option<String>,
    /// One of the recovery codes. It is used up.
    recovery_code: Option<String>,
    /// A passkey, after `POST /v1/me/reauthenticate/options`.
    passkey: Option<PasskeyProof>,
}

/// The answer of an authenticator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasskeyProof {
    flow_token: String,
    /// What `toJSON()` of the credential gave.
    #[schema(value_type = Object)]
    credential: Value,
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
    let ReauthenticateRequest { password, method, code, totp_code, recovery_code, passkey } = request;
    let passkey =
        passkey.map(|PasskeyProof { flow_token, credential }| PasskeyAnswer { flow_token, credential });
    let of_method = match (method, &code) {
        (Some(CodeMethod::Totp), Some(code)) => Some(Reproof::Totp(code)),
        (Some(CodeMethod::RecoveryCode), Some(code)) => Some(Reproof::RecoveryCode(code)),
        (None, None) => None,
        (None, Some(_)) => return Err(Error::invalid("method", "Send `totp` or `recovery_code`.").into()),
        (Some(_), None) => return Err(Error::invalid("code", "Send the code itself.").into()),
    };
    let sent = [
        password.as_deref().map(Reproof::Password),
        of_method,
        totp_code.as_deref().map(Reproof::Totp),
        recovery_code.as_deref().map(Reproof::RecoveryCode),
        passkey.as_ref().map(Reproof::Passkey),
    ];
    let mut proofs = sent.into_iter().flatten();
    let (Some(reproof), None) = (proofs.next(), proofs.next()) else {
        let message =
            "Send one proof: `password`, `method` with `code`, `totp_code`, `recovery_code` or `passkey`.";
        return Err(Error::invalid("body", message).into());
    };
    doors.control.reauthenticate(&ctx, reproof).await?;
    Ok(Json(StatusAnswer { status: "reauthenticated" }))
}

/// What a browser needs to prove by a passkey who one is.
#[utoipa::path(post, path = "/v1/me/reauthenticate/options", tag = "self", responses(
    (status = 200, description = "A challenge, good for five minutes and one answer.", body = ChallengeAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key has no passkeys.", body = ErrorBody),
))]
pub(crate) async fn passkey_options(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<ChallengeAnswer>, Failure> {
    Ok(Json(doors.control.begin_passkey_reauthentication(&ctx).await?.into()))
}
