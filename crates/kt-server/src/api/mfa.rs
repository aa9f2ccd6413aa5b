//! `/v1/me/mfa`: the second factors of the person that asks, and `/v1/auth/mfa`: adding one on the way in.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kt_control::{Enrolled, EnrolledAtSignIn, SecondFactors, TotpSetup};
use kt_domain::error::Error;
use kt_domain::mfa::Demand;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sign_in::LoginAnswer;
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::{Caller, Visitor};

/// The second factors of somebody.
#[derive(Serialize, ToSchema)]
pub(crate) struct FactorsAnswer {
    /// Whether there is one: it is asked for at every sign-in.
    enabled: bool,
    /// Whether an organization of theirs asks for one.
    required: bool,
    /// Whether it has to be a passkey.
    passkey_required: bool,
    /// From when on they can do nothing but add what they lack.
    deadline: Option<String>,
    passkeys: i64,
    totp: Option<TotpAnswer>,
    recovery_codes_left: i64,
}

/// An authenticator app.
#[derive(Serialize, ToSchema)]
pub(crate) struct TotpAnswer {
    added_at: String,
    last_used_at: Option<String>,
}

impl From<SecondFactors> for FactorsAnswer {
    fn from(factors: SecondFactors) -> Self {
        Self {
            enabled: factors.totp.is_some() || factors.passkeys > 0,
            required: factors.demand.demand != Demand::Nothing,
            passkey_required: factors.demand.demand == Demand::Passkey,
            deadline: factors.demand.lacking.map(|asked| asked.deadline.to_string()),
            passkeys: factors.passkeys,
            totp: factors.totp.map(|app| TotpAnswer {
                added_at: app.added_at.to_string(),
                last_used_at: app.used_at.map(|at| at.to_string()),
            }),
            recovery_codes_left: factors.recovery_codes,
        }
    }
}

/// The second factors of the person that asks.
#[utoipa::path(get, path = "/v1/me/mfa", tag = "self", responses(
    (status = 200, description = "They.", body = FactorsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key has no second factors.", body = ErrorBody),
))]
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<FactorsAnswer>, Failure> {
    Ok(Json(doors.control.second_factors(&ctx).await?.into()))
}

/// What an authenticator app needs. It is not shown again.
#[derive(Serialize, ToSchema)]
pub(crate) struct TotpSetupAnswer {
    /// The secret in base 32, to be typed in.
    secret: String,
    otpauth_uri: String,
    /// The same as a QR code: an SVG element.
    qr_svg: String,
    expires_at: String,
}

impl From<TotpSetup> for TotpSetupAnswer {
    fn from(setup: TotpSetup) -> Self {
        Self {
            secret: setup.secret,
            otpauth_uri: setup.otpauth_uri,
            qr_svg: setup.qr_svg,
            expires_at: setup.expires_at.to_string(),
        }
    }
}

/// Begin to add an authenticator app, or another in place of the present one. It counts once it is confirmed.
#[utoipa::path(post, path = "/v1/me/mfa/totp", tag = "self", responses(
    (status = 200, description = "What the app needs, shown once.", body = TotpSetupAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A fresh proof of identity is asked for.", body = ErrorBody),
))]
pub(crate) async fn begin_totp(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<TotpSetupAnswer>, Failure> {
    Ok(Json(doors.control.begin_totp(&ctx).await?.into()))
}

/// A code of the app that is being added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmRequest {
    code: String,
}

/// A factor was added.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnrolledAnswer {
    status: &'static str,
    /// The recovery codes that come with the first factor. They are not shown again: store them in a safe place now.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_codes: Option<Vec<String>>,
}

impl From<Enrolled> for EnrolledAnswer {
    fn from(enrolled: Enrolled) -> Self {
        Self { status: "enabled", recovery_codes: enrolled.recovery_codes }
    }
}

/// Confirm an authenticator app by a code of it. Sessions of the account that have shown no second factor end, but for the
/// one that asks.
#[utoipa::path(post, path = "/v1/me/mfa/totp/confirm", tag = "self", request_body = ConfirmRequest, responses(
    (status = 200, description = "`enabled`.", body = EnrolledAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key has no second factors.", body = ErrorBody),
    (status = 409, description = "No app waits to be confirmed.", body = ErrorBody),
    (status = 422, description = "The code is wrong.", body = ErrorBody),
))]
pub(crate) async fn confirm_totp(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<ConfirmRequest>,
) -> Result<Json<EnrolledAnswer>, Failure> {
    Ok(Json(doors.control.confirm_totp(&ctx, &request.code).await?.into()))
}

/// Remove the authenticator app. Recovery codes go with the last factor.
#[utoipa::path(delete, path = "/v1/me/mfa/totp", tag = "self", responses(
    (status = 204, description = "It is removed."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "There is none.", body = ErrorBody),
    (status = 409, description = "It is the last factor, and one is asked for.", body = ErrorBody),
))]
pub(crate) async fn remove_totp(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<StatusCode, Failure> {
    doors.control.remove_totp(&ctx).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// New recovery codes.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryCodesAnswer {
    /// Each works once, and they are not shown again.
    recovery_codes: Vec<String>,
}

/// Make new recovery codes; all earlier ones stop working.
#[utoipa::path(post, path = "/v1/me/mfa/recovery-codes", tag = "self", responses(
    (status = 200, description = "Ten codes, shown once.", body = RecoveryCodesAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A fresh proof of identity is asked for.", body = ErrorBody),
    (status = 409, description = "There is no second factor.", body = ErrorBody),
))]
pub(crate) async fn renew_recovery_codes(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<RecoveryCodesAnswer>, Failure> {
    let recovery_codes = doors.control.renew_recovery_codes(&ctx).await?;
    Ok(Json(RecoveryCodesAnswer { recovery_codes }))
}

/// A step of a sign-in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepRequest {
    flow_token: String,
}

/// What an authenticator app needs, and how to go on.
#[derive(Serialize, ToSchema)]
pub(crate) struct TotpSetupStepAnswer {
    /// Takes the place of the one that was sent.
    flow_token: String,
    #[serde(flatten)]
    setup: TotpSetupAnswer,
}

/// Begin to add an authenticator app at a sign-in that answered `mfa_enrollment_required`.
#[utoipa::path(post, path = "/v1/auth/mfa/totp", tag = "sign-in", security(()), request_body = StepRequest, responses(
    (status = 200, description = "What the app needs, shown once.", body = TotpSetupStepAnswer),
    (status = 401, description = "The step is over, or something else comes next.", body = ErrorBody),
    (status = 409, description = "An app is not enough: a passkey is asked for (`passkey_required`).", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn begin_totp_at_sign_in(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<StepRequest>,
) -> Result<Json<TotpSetupStepAnswer>, Failure> {
    let (setup, flow_token) = doors.control.begin_totp_at_sign_in(&ctx, &request.flow_token).await?;
    Ok(Json(TotpSetupStepAnswer { flow_token, setup: setup.into() }))
}

/// A code of the app that is being added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmStepRequest {
    flow_token: String,
    code: String,
}

/// A factor was added on the way in.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnrolledStepAnswer {
    #[serde(flatten)]
    next: LoginAnswer,
    /// The recovery codes that come with the first factor. They are not shown again: store them in a safe place now.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_codes: Option<Vec<String>>,
}

impl TryFrom<EnrolledAtSignIn> for EnrolledStepAnswer {
    type Error = Error;

    fn try_from(done: EnrolledAtSignIn) -> Result<Self, Error> {
        Ok(Self { next: done.outcome.try_into()?, recovery_codes: done.enrolled.recovery_codes })
    }
}

/// Confirm an authenticator app at a sign-in, and go on with it.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/confirm", tag = "sign-in", security(()), request_body = ConfirmStepRequest, responses(
    (status = 200, description = "What comes next; with `authenticated`, a session.", body = EnrolledStepAnswer),
    (status = 401, description = "The step is over.", body = ErrorBody),
    (status = 409, description = "No app waits to be confirmed.", body = ErrorBody),
    (status = 422, description = "The code is wrong: the same flow token can be used again.", body = ErrorBody),
))]
pub(crate) async fn confirm_totp_at_sign_in(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<ConfirmStepRequest>,
) -> Result<Json<EnrolledStepAnswer>, Failure> {
    let done = doors.control.confirm_totp_at_sign_in(&ctx, &request.flow_token, &request.code).await?;
    Ok(Json(done.try_into()?))
}
