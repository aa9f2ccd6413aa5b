//! Passkeys: `/v1/me/passkeys`, and signing in with one.
//!
//! Options and answers are in the JSON of WebAuthn level 3 section 5.1: a page gives `options` to
//! `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`, and sends what `toJSON()` of the
//! credential gives.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kt_control::{PasskeyAnswer, PasskeyChallenge, PasskeySignIn, PasskeyView};
use kt_domain::error::Error;
use kt_domain::id::PasskeyId;
use kt_domain::sessions::Door;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::mfa::EnrolledStepAnswer;
use super::paging::{Everything, Listing, PageParams};
use super::sign_in::LoginAnswer;
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::{Caller, Visitor};

/// What a browser is asked.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChallengeAnswer {
    /// To be sent back with the answer, within five minutes.
    flow_token: String,
    /// For `parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`.
    #[schema(value_type = Object)]
    options: Value,
}

impl From<PasskeyChallenge> for ChallengeAnswer {
    fn from(challenge: PasskeyChallenge) -> Self {
        Self { flow_token: challenge.flow_token, options: challenge.options }
    }
}

/// Somebody's passkeys.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasskeysAnswer {
    passkeys: Vec<PasskeyItem>,
    /// Null without a `limit`: nobody has more than 20. A part of them is not for `signalAllAcceptedCredentials`.
    next_cursor: Option<String>,
    /// For `PublicKeyCredential.signalAllAcceptedCredentials` and `signalCurrentUserDetails`.
    rp_id: String,
    /// The same.
    user_handle: String,
}

/// A passkey.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasskeyItem {
    id: String,
    name: String,
    /// The product that made it, where that is known.
    authenticator: Option<&'static str>,
    aaguid: String,
    credential_id: String,
    /// Whether there is a copy of it in some cloud.
    backed_up: bool,
    created_at: String,
    last_used_at: Option<String>,
}

impl From<PasskeyView> for PasskeyItem {
    fn from(passkey: PasskeyView) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name,
            authenticator: passkey.authenticator,
            aaguid: passkey.aaguid,
            credential_id: passkey.credential_id,
            backed_up: passkey.backed_up,
            created_at: passkey.added_at.to_string(),
            last_used_at: passkey.used_at.map(|at| at.to_string()),
        }
    }
}

/// The passkeys of the person that asks.
#[utoipa::path(get, path = "/v1/me/passkeys", tag = "self", params(PageParams), responses(
    (status = 200, description = "In the order in which they were added.", body = PasskeysAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key has no passkeys.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<PasskeysAnswer>, Failure> {
    let all = doors.control.passkeys(&ctx).await?;
    let place = |passkey: &PasskeyView| (passkey.added_at, passkey.id.clone());
    let page = doors.control.page_of_whole("my_passkeys", &request, all.passkeys, place)?;
    Ok(Json(PasskeysAnswer {
        passkeys: page.items.into_iter().map(PasskeyItem::from).collect(),
        next_cursor: page.next_cursor,
        rp_id: all.rp_id,
        user_handle: all.user_handle,
    }))
}

/// What a browser needs to make a passkey.
#[utoipa::path(post, path = "/v1/me/passkeys/options", tag = "self", responses(
    (status = 200, description = "A challenge, good for five minutes and one answer.", body = ChallengeAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A fresh proof of identity is asked for.", body = ErrorBody),
    (status = 409, description = "There are twenty already.", body = ErrorBody),
))]
pub(crate) async fn options(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<ChallengeAnswer>, Failure> {
    Ok(Json(doors.control.begin_passkey(&ctx).await?.into()))
}

/// A passkey that a browser has made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddRequest {
    /// The token that came with the options.
    flow_token: String,
    /// Without it, it is called after the product that made it.
    name: Option<String>,
    /// What `toJSON()` of the credential gave.
    #[schema(value_type = Object)]
    credential: Value,
}

impl AddRequest {
    fn into_parts(self) -> (Option<String>, PasskeyAnswer) {
        (self.name, PasskeyAnswer { flow_token: self.flow_token, credential: self.credential })
    }
}

/// A passkey was added.
#[derive(Serialize, ToSchema)]
pub(crate) struct AddedAnswer {
    #[serde(flatten)]
    passkey: PasskeyItem,
    /// The recovery codes that come with the first factor. They are not shown again: store them in a safe place now.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_codes: Option<Vec<String>>,
}

/// Add a passkey. Sessions of the account that have shown no second factor end, but for the one that asks.
#[utoipa::path(post, path = "/v1/me/passkeys", tag = "self", request_body = AddRequest, responses(
    (status = 201, description = "It is added.", body = AddedAnswer),
    (status = 401, description = "Nobody is signed in, or the challenge is over.", body = ErrorBody),
    (status = 403, description = "A key has no passkeys.", body = ErrorBody),
    (status = 409, description = "It is known already.", body = ErrorBody),
    (status = 422, description = "Something about it is wrong.", body = ErrorBody),
))]
pub(crate) async fn add(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<AddRequest>,
) -> Result<(StatusCode, Json<AddedAnswer>), Failure> {
    let (name, answer) = request.into_parts();
    let (passkey, enrolled) = doors.control.add_passkey(&ctx, name.as_deref(), &answer).await?;
    let added = AddedAnswer { passkey: passkey.into(), recovery_codes: enrolled.recovery_codes };
    Ok((StatusCode::CREATED, Json(added)))
}

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenameRequest {
    name: String,
}

/// Give a passkey another name.
#[utoipa::path(patch, path = "/v1/me/passkeys/{id}", tag = "self", params(("id" = String, Path)),
    request_body = RenameRequest, responses(
    (status = 204, description = "It has that name."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key has no passkeys.", body = ErrorBody),
    (status = 404, description = "You have no such passkey.", body = ErrorBody),
    (status = 422, description = "It is no name.", body = ErrorBody),
))]
pub(crate) async fn rename(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    Input(request): Input<RenameRequest>,
) -> Result<StatusCode, Failure> {
    doors.control.rename_passkey(&ctx, &passkey(&id)?, &request.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a passkey. Recovery codes go with the last factor.
#[utoipa::path(delete, path = "/v1/me/passkeys/{id}", tag = "self", params(("id" = String, Path)), responses(
    (status = 204, description = "It is removed."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "You have no such passkey.", body = ErrorBody),
    (status = 409, description = "It is the last factor, and one is asked for.", body = ErrorBody),
))]
pub(crate) async fn remove(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.remove_passkey(&ctx, &passkey(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is no identifier is answered as one that nobody has.
fn passkey(id: &str) -> Result<PasskeyId, Error> {
    id.parse().map_err(|_| Error::not_found("passkey"))
}

/// Where a sign-in stands.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInOptionsRequest {
    /// Of a sign-in that answered `mfa_required`; without it, the sign-in begins with the passkey.
    flow_token: Option<String>,
}

/// What a browser needs to sign somebody in with a passkey. The answer tells nothing about any account.
#[utoipa::path(post, path = "/v1/auth/passkey/options", tag = "sign-in", security(()), request_body = Option<SignInOptionsRequest>, responses(
    (status = 200, description = "A challenge, good for five minutes and one answer.", body = ChallengeAnswer),
    (status = 401, description = "The step is over.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
    (status = 429, description = "Too many were asked for from this network.", body = ErrorBody),
))]
pub(crate) async fn sign_in_options(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    request: Option<Input<SignInOptionsRequest>>,
) -> Result<Json<ChallengeAnswer>, Failure> {
    let flow_token = request.and_then(|Input(request)| request.flow_token);
    Ok(Json(doors.control.begin_passkey_sign_in(&ctx, flow_token.as_deref(), None).await?.into()))
}

/// A passkey that is shown.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInRequest {
    /// The token that came with the options.
    flow_token: String,
    /// What `toJSON()` of the credential gave.
    #[schema(value_type = Object)]
    credential: Value,
    /// The organization's identifier, for those who belong to several.
    organization: Option<String>,
    /// The `device_token` that an earlier sign-in on this device gave.
    device_token: Option<String>,
}

/// Sign in with a passkey, or go on with the sign-in that it was asked for.
#[utoipa::path(post, path = "/v1/auth/passkey/verify", tag = "sign-in", security(()), request_body = SignInRequest, responses(
    (status = 200, description = "What comes next; with `authenticated`, a session.", body = LoginAnswer),
    (status = 401, description = "Not let in, or the challenge is over.", body = ErrorBody),
    (status = 403, description = "The organization signs in through its identity provider alone (`sso_required`), or its address rules refuse this (`ip_denied`).", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn sign_in(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<SignInRequest>,
) -> Result<Json<LoginAnswer>, Failure> {
    let sign_in = PasskeySignIn {
        answer: PasskeyAnswer { flow_token: request.flow_token, credential: request.credential },
        organization: request.organization,
        device: request.device_token,
        door: Door::Api,
        browser: None,
    };
    Ok(Json(doors.control.sign_in_by_passkey(&ctx, sign_in).await?.try_into()?))
}

/// A step of a sign-in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepOptionsRequest {
    flow_token: String,
}

/// What a browser needs to make a passkey at a sign-in that answered `mfa_enrollment_required`.
#[utoipa::path(post, path = "/v1/auth/mfa/passkey/options", tag = "sign-in", security(()), request_body = StepOptionsRequest, responses(
    (status = 200, description = "A challenge, good for five minutes and one answer.", body = ChallengeAnswer),
    (status = 401, description = "The step is over, or something else comes next.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn options_at_sign_in(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<StepOptionsRequest>,
) -> Result<Json<ChallengeAnswer>, Failure> {
    Ok(Json(doors.control.begin_passkey_at_sign_in(&ctx, &request.flow_token).await?.into()))
}

/// Add a passkey at a sign-in, and go on with it.
#[utoipa::path(post, path = "/v1/auth/mfa/passkey", tag = "sign-in", security(()), request_body = AddRequest, responses(
    (status = 200, description = "What comes next; with `authenticated`, a session.", body = EnrolledStepAnswer),
    (status = 401, description = "The challenge or the step is over.", body = ErrorBody),
    (status = 409, description = "It is known already.", body = ErrorBody),
    (status = 422, description = "Something about it is wrong.", body = ErrorBody),
))]
pub(crate) async fn add_at_sign_in(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<AddRequest>,
) -> Result<Json<EnrolledStepAnswer>, Failure> {
    let (name, answer) = request.into_parts();
    let done = doors.control.add_passkey_at_sign_in(&ctx, name.as_deref(), &answer).await?;
    Ok(Json(done.try_into()?))
}

/// Where passkeys are added and looked after, for password managers (W3C, A Well-Known URL for Relying Party Passkey
/// Endpoints).
#[derive(Serialize, ToSchema)]
pub(crate) struct EndpointsAnswer {
    enroll: String,
    manage: String,
}

impl EndpointsAnswer {
    /// The pages of this deployment's console.
    pub(crate) fn of(doors: &Doors) -> Self {
        let page = |path| doors.console.page(path).to_string();
        Self { enroll: page("/mfa/setup"), manage: page("/settings/security") }
    }
}

/// Where passkeys are added and looked after.
#[utoipa::path(get, path = "/.well-known/passkey-endpoints", tag = "sign-in", security(()), responses(
    (status = 200, description = "The pages of the console.", body = EndpointsAnswer),
))]
pub(crate) async fn endpoints(State(doors): State<Doors>) -> Json<EndpointsAnswer> {
    Json(EndpointsAnswer::of(&doors))
}
