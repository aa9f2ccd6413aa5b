//! Registering, and the queue of those who have.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kt_control::passwords::TemporaryPassword;
use kt_control::{Approval, Register, Registered};
use kt_domain::actor::Role;
use kt_domain::error::Error;
use kt_domain::id::UserId;
use kt_domain::network::console_rules::Surface;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::{Everything, Listing, PageParams};
use super::passwords::AddressRequest;
use super::sign_in::StatusAnswer;
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::{Caller, Visitor};

/// Somebody who wants to come in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterRequest {
    /// The organization's identifier.
    organization: String,
    email: String,
    name: String,
    password: String,
    /// From the link of an invitation; without it the organization must let people register themselves.
    invitation_token: Option<String>,
}

/// Register. An address that has an account gets the same answer, and its holder a message.
#[utoipa::path(post, path = "/v1/auth/register", tag = "registration", security(()), request_body = RegisterRequest, responses(
    (status = 202, description = "`pending_verification`: a link is on its way to the address. With an invitation `active`.", body = StatusAnswer),
    (status = 403, description = "Nobody can register here without an invitation.", body = ErrorBody),
    (status = 409, description = "The invited address has an account: sign in and accept.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule, or the invitation is over (`invalid_token`).", body = ErrorBody),
    (status = 429, description = "Too many messages were asked for from this network.", body = ErrorBody),
    (status = 503, description = "Too many passwords are being checked at once.", body = ErrorBody),
))]
pub(crate) async fn register(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<RegisterRequest>,
) -> Result<(StatusCode, Json<StatusAnswer>), Failure> {
    let register = Register {
        organization: request.organization,
        email: request.email,
        name: request.name,
        password: request.password,
        invitation: request.invitation_token,
        surface: Surface::Api,
    };
    let status = match doors.control.register(&ctx, register).await? {
        Registered::PendingVerification => "pending_verification",
        Registered::Active => "active",
    };
    Ok((StatusCode::ACCEPTED, Json(StatusAnswer { status })))
}

/// Ask for the link to verify an address again. The answer is the same for every address.
#[utoipa::path(post, path = "/v1/auth/email/resend", tag = "registration", security(()), request_body = AddressRequest, responses(
    (status = 202, description = "`accepted`: if the address waits to be verified, a link is on its way.", body = StatusAnswer),
    (status = 422, description = "It is no address.", body = ErrorBody),
    (status = 429, description = "Too many messages were asked for from this network.", body = ErrorBody),
))]
pub(crate) async fn resend(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<AddressRequest>,
) -> Result<(StatusCode, Json<StatusAnswer>), Failure> {
    doors.control.resend_verification(&ctx, &request.email).await?;
    Ok((StatusCode::ACCEPTED, Json(StatusAnswer { status: "accepted" })))
}

/// Somebody who waits.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegistrationAnswer {
    id: String,
    email: String,
    name: String,
    registered_at: String,
}

/// Those who wait.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegistrationsAnswer {
    registrations: Vec<RegistrationAnswer>,
    next_cursor: Option<String>,
}

/// Those who have registered, verified their address and wait for an administrator's word; the longest waiting first.
#[utoipa::path(get, path = "/v1/registrations", tag = "people", params(PageParams), responses(
    (status = 200, description = "A page of them.", body = RegistrationsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<RegistrationsAnswer>, Failure> {
    let page = doors.control.registrations(&ctx, &request).await?;
    let registrations = page.items.into_iter().map(|waiting| RegistrationAnswer {
        id: waiting.user.to_string(),
        email: waiting.email,
        name: waiting.name,
        registered_at: waiting.since.to_string(),
    });
    Ok(Json(RegistrationsAnswer { registrations: registrations.collect(), next_cursor: page.next_cursor }))
}

/// How somebody is let in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ApprovalRequest {
    /// As what; `member` without it, and at most one's own role.
    #[schema(value_type = String)]
    role: Role,
    /// Whether to give them a password for one sign-in in place of the one they chose.
    temporary_password: bool,
}

impl Default for ApprovalRequest {
    fn default() -> Self {
        Self { role: Role::Member, temporary_password: false }
    }
}

/// Somebody was let in.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApprovalAnswer {
    status: &'static str,
    /// Shown once: hand it over by another way than mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    temporary_password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temporary_password_expires_at: Option<String>,
}

/// Let somebody in who waits.
#[utoipa::path(post, path = "/v1/registrations/{id}/approve", tag = "people", params(("id" = String, Path)), request_body = Option<ApprovalRequest>, responses(
    (status = 200, description = "`active`.", body = ApprovalAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "Nobody waits under this id.", body = ErrorBody),
    (status = 409, description = "Decided meanwhile, or a temporary password for an account of another organization too.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn approve(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    request: Option<Input<ApprovalRequest>>,
) -> Result<Json<ApprovalAnswer>, Failure> {
    let request = request.map(|Input(request)| request).unwrap_or_default();
    let approval = Approval { role: request.role, temporary_password: request.temporary_password };
    let temporary =
        doors.control.approve_registration(&ctx, &user_id(&id, "registration")?, approval).await?;
    let (password, expires_at) = temporary.map(TemporaryPasswordAnswer::parts).unzip();
    Ok(Json(ApprovalAnswer {
        status: "active",
        temporary_password: password,
        temporary_password_expires_at: expires_at,
    }))
}

/// Do not let somebody in who waits.
#[utoipa::path(post, path = "/v1/registrations/{id}/reject", tag = "people", params(("id" = String, Path)), responses(
    (status = 204, description = "They were told."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "Nobody waits under this id.", body = ErrorBody),
    (status = 409, description = "Decided meanwhile.", body = ErrorBody),
))]
pub(crate) async fn reject(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.reject_registration(&ctx, &user_id(&id, "registration")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A temporary password.
#[derive(Serialize, ToSchema)]
pub(crate) struct TemporaryPasswordAnswer {
    /// Shown once: hand it over by another way than mail.
    temporary_password: String,
    expires_at: String,
}

impl TemporaryPasswordAnswer {
    fn parts(temporary: TemporaryPassword) -> (String, String) {
        (temporary.password, temporary.expires_at.to_string())
    }
}

/// Set a temporary password for a member of no higher role. All their sessions end.
#[utoipa::path(post, path = "/v1/members/{id}/temporary-password", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, description = "The password, shown once.", body = TemporaryPasswordAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "There is no such member.", body = ErrorBody),
    (status = 409, description = "It is one's own account, or belongs to another organization too.", body = ErrorBody),
))]
pub(crate) async fn temporary_password(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<TemporaryPasswordAnswer>, Failure> {
    let temporary = doors.control.set_temporary_password(&ctx, &user_id(&id, "member")?).await?;
    let (temporary_password, expires_at) = TemporaryPasswordAnswer::parts(temporary);
    Ok(Json(TemporaryPasswordAnswer { temporary_password, expires_at }))
}

fn user_id(text: &str, noun: &str) -> Result<UserId, Error> {
    text.parse().map_err(|_| Error::not_found(noun))
}
