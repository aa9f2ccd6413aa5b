//! `/v1/auth/device` and `/v1/me/device-requests`: signing in what has no browser (RFC 8628), in the API's own JSON.

use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::{Form, Json};
use kt_domain::device::{INTERVAL, LIFETIME};
use kt_domain::error::Error;
use kt_domain::media_type;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sign_in::LoginAnswer;
use super::{ErrorBody, Failure, Input, unread};
use crate::Doors;
use crate::client::{Caller, Visitor};
use crate::layers::MAX_BODY_OF_STRANGERS;

/// What a device is given that asks to sign in.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceAnswer {
    /// The device keeps it to itself.
    device_code: String,
    /// The device shows it.
    user_code: String,
    /// Where the person types it.
    verification_uri: String,
    /// The same with the code in it.
    verification_uri_complete: String,
    /// Seconds.
    expires_in: u64,
    /// How many seconds lie between two questions at least.
    interval: u64,
}

/// Ask to sign in a device: show the code, then ask `/v1/auth/device/token` until somebody has approved it.
#[utoipa::path(post, path = "/v1/auth/device/authorize", tag = "sign-in", security(()), responses(
    (status = 200, description = "The codes.", body = DeviceAnswer),
    (status = 429, description = "Too many devices from one network.", body = ErrorBody),
))]
pub(crate) async fn authorize(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
) -> Result<Json<DeviceAnswer>, Failure> {
    let codes = doors.control.ask_for_device(&ctx).await?;
    let user_code = codes.user_code.to_string();
    let page = doors.console.page("/device");
    let mut with_code = page.clone();
    with_code.query_pairs_mut().append_pair("user_code", &user_code);
    Ok(Json(DeviceAnswer {
        device_code: codes.device_code.expose().to_owned(),
        user_code,
        verification_uri: page.to_string(),
        verification_uri_complete: with_code.to_string(),
        expires_in: LIFETIME.as_secs(),
        interval: INTERVAL.as_secs(),
    }))
}

/// What a device asks with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceTokenRequest {
    device_code: String,
    /// `urn:ietf:params:oauth:grant-type:device_code`, or nothing.
    #[serde(default, rename = "grant_type")]
    _grant_type: Option<GrantType>,
    /// Is read and means nothing: every device is anybody's until somebody approves it.
    #[serde(default, rename = "client_id")]
    _client_id: Option<String>,
}

/// The one grant that is made here.
#[derive(Deserialize, ToSchema)]
enum GrantType {
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
}

/// How forms are declared.
const FORM: &str = "application/x-www-form-urlencoded";

/// The same as JSON, or as a form in the words of RFC 8628 section 3.4.
pub(crate) struct DeviceTokenInput(DeviceTokenRequest);

impl<S: Send + Sync> FromRequest<S> for DeviceTokenInput {
    type Rejection = Failure;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Failure> {
        let declared = request.headers().get(header::CONTENT_TYPE);
        if declared.is_some_and(|declared| media_type::is(declared.as_bytes(), FORM)) {
            DefaultBodyLimit::max(MAX_BODY_OF_STRANGERS).apply(&mut request);
            let form = Form::<DeviceTokenRequest>::from_request(request, state).await;
            let Form(fields) = form.map_err(|why| match why {
                FormRejection::BytesRejection(why) => unread(&why),
                why => Error::invalid("body", why.body_text()),
            })?;
            return Ok(Self(fields));
        }
        let Input(fields) =
            <Input<DeviceTokenRequest> as FromRequest<S>>::from_request(request, state).await?;
        Ok(Self(fields))
    }
}

/// Fetch the session that somebody has approved. Works once.
#[utoipa::path(post, path = "/v1/auth/device/token", tag = "sign-in", security(()), request_body = DeviceTokenRequest, responses(
    (status = 200, description = "What comes next; with `authenticated`, a session.", body = LoginAnswer),
    (status = 401, description = "`expired_token`.", body = ErrorBody),
    (status = 403, description = "`access_denied`.", body = ErrorBody),
    (status = 409, description = "`authorization_pending`.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
    (status = 429, description = "`slow_down`.", body = ErrorBody),
))]
pub(crate) async fn token(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    DeviceTokenInput(request): DeviceTokenInput,
) -> Result<Json<LoginAnswer>, Failure> {
    let outcome = doors.control.sign_in_device(&ctx, &request.device_code).await?;
    Ok(Json(outcome.try_into()?))
}

/// A device that waits for a decision.
#[derive(Serialize, ToSchema)]
pub(crate) struct WaitingDeviceAnswer {
    /// From where it asks.
    ip_address: Option<String>,
    /// What it calls itself; nobody has checked that.
    user_agent: Option<String>,
    asked_at: String,
}

/// Look at the device that shows this code, before deciding about it.
#[utoipa::path(get, path = "/v1/me/device-requests/{user_code}", tag = "self", params(("user_code" = String, Path,)), responses(
    (status = 200, description = "The device.", body = WaitingDeviceAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key asks, and this is for people.", body = ErrorBody),
    (status = 404, description = "No device shows this code now.", body = ErrorBody),
    (status = 422, description = "It is no code.", body = ErrorBody),
    (status = 429, description = "Too many codes were tried.", body = ErrorBody),
))]
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(user_code): Path<String>,
) -> Result<Json<WaitingDeviceAnswer>, Failure> {
    let device = doors.control.waiting_device(&ctx, &user_code).await?;
    Ok(Json(WaitingDeviceAnswer {
        ip_address: device.ip.map(|ip| ip.to_string()),
        user_agent: device.user_agent,
        asked_at: device.asked_at.to_string(),
    }))
}

/// Let the device that shows this code sign in as you.
#[utoipa::path(post, path = "/v1/me/device-requests/{user_code}/approve", tag = "self", params(("user_code" = String, Path,)), responses(
    (status = 204, description = "It may fetch its session."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key asks, and this is for people.", body = ErrorBody),
    (status = 404, description = "No device shows this code now.", body = ErrorBody),
    (status = 422, description = "It is no code.", body = ErrorBody),
    (status = 429, description = "Too many codes were tried.", body = ErrorBody),
))]
pub(crate) async fn approve(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(user_code): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.approve_device(&ctx, &user_code).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuse the device that shows this code.
#[utoipa::path(post, path = "/v1/me/device-requests/{user_code}/deny", tag = "self", params(("user_code" = String, Path,)), responses(
    (status = 204, description = "It is told so."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key asks, and this is for people.", body = ErrorBody),
    (status = 404, description = "No device shows this code now.", body = ErrorBody),
    (status = 422, description = "It is no code.", body = ErrorBody),
    (status = 429, description = "Too many codes were tried.", body = ErrorBody),
))]
pub(crate) async fn deny(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(user_code): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.deny_device(&ctx, &user_code).await?;
    Ok(StatusCode::NO_CONTENT)
}
