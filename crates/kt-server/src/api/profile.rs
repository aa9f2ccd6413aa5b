//! `/v1/me`: a person's profile, and the links that change its address.

use axum::Json;
use axum::extract::State;
use kt_control::{Confirmed, Profile, ProfileChange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sign_in::{StatusAnswer, WhoamiAnswer};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::{Caller, Visitor};

/// A profile.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProfileAnswer {
    #[serde(flatten)]
    whoami: WhoamiAnswer,
    email_verified: bool,
    /// The address that waits to be confirmed in place of the present one.
    pending_email: Option<String>,
    has_password: bool,
    password_set_at: Option<String>,
    created_at: String,
}

impl From<Profile> for ProfileAnswer {
    fn from(profile: Profile) -> Self {
        Self {
            whoami: profile.whoami.into(),
            email_verified: profile.email_verified,
            pending_email: profile.pending_email,
            has_password: profile.password_set_at.is_some(),
            password_set_at: profile.password_set_at.map(|at| at.to_string()),
            created_at: profile.created_at.to_string(),
        }
    }
}

/// One's own profile.
#[utoipa::path(get, path = "/v1/me", tag = "self", responses(
    (status = 200, description = "The profile.", body = ProfileAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "A key has no profile.", body = ErrorBody),
))]
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<ProfileAnswer>, Failure> {
    Ok(Json(doors.control.profile(&ctx).await?.into()))
}

/// What to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileRequest {
    name: Option<String>,
    /// Takes effect once the link that is sent there is used.
    email: Option<String>,
}

/// Change one's name, or ask for another e-mail address.
#[utoipa::path(patch, path = "/v1/me", tag = "self", request_body = ProfileRequest, responses(
    (status = 200, description = "The profile as it is now.", body = ProfileAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Another address asks for a fresh proof of identity.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
    (status = 429, description = "Too many messages were asked for from this network.", body = ErrorBody),
))]
pub(crate) async fn change(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<ProfileRequest>,
) -> Result<Json<ProfileAnswer>, Failure> {
    let change = ProfileChange { name: request.name, email: request.email };
    Ok(Json(doors.control.change_profile(&ctx, change).await?.into()))
}

/// The token of a link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkRequest {
    pub(crate) token: String,
}

/// Confirm an address with the link that was sent to it.
#[utoipa::path(post, path = "/v1/auth/email/verify", tag = "registration", security(()), request_body = LinkRequest, responses(
    (status = 200, description = "`active`: the account can be used. `pending_approval`: an administrator must approve. `email_changed`: the account has this address now.", body = StatusAnswer),
    (status = 422, description = "The link is over (`invalid_token`).", body = ErrorBody),
))]
pub(crate) async fn confirm_email(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<LinkRequest>,
) -> Result<Json<StatusAnswer>, Failure> {
    let status = match doors.control.confirm_email(&ctx, &request.token).await? {
        Confirmed::Active => "active",
        Confirmed::PendingApproval => "pending_approval",
        Confirmed::EmailChanged => "email_changed",
    };
    Ok(Json(StatusAnswer { status }))
}

/// Undo a change of address with the link that was sent to the old one. All sessions end.
#[utoipa::path(post, path = "/v1/auth/email/undo", tag = "self", security(()), request_body = LinkRequest, responses(
    (status = 200, description = "`email_restored`.", body = StatusAnswer),
    (status = 422, description = "The link is over (`invalid_token`).", body = ErrorBody),
))]
pub(crate) async fn undo_email_change(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<LinkRequest>,
) -> Result<Json<StatusAnswer>, Failure> {
    doors.control.undo_email_change(&ctx, &request.token).await?;
    Ok(Json(StatusAnswer { status: "email_restored" }))
}
