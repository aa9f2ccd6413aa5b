//! `/v1/invitations`: asking people in.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use kt_control::{Invitation, InvitationView};
use kt_domain::actor::Role;
use kt_domain::error::Error;
use kt_domain::id::InvitationId;
use kt_domain::network::console_rules::Surface;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::{Everything, Listing, PageParams};
use super::profile::LinkRequest;
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::{Caller, Visitor};

/// Whom to invite, as what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvitationRequest {
    email: String,
    /// `member` without it, and at most one's own role.
    #[serde(default = "usual_role")]
    #[schema(value_type = String)]
    role: Role,
}

fn usual_role() -> Role {
    Role::Member
}

/// An invitation.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitationAnswer {
    id: String,
    email: String,
    role: String,
    /// `open`, `accepted`, `revoked` or `expired`.
    status: &'static str,
    invited_by: String,
    created_at: String,
    expires_at: String,
}

impl InvitationAnswer {
    fn at(now: Timestamp, invitation: &Invitation) -> Self {
        let status = if invitation.accepted_at.is_some() {
            "accepted"
        } else if invitation.revoked_at.is_some() {
            "revoked"
        } else if invitation.expires_at <= now {
            "expired"
        } else {
            "open"
        };
        Self {
            id: invitation.id.to_string(),
            email: invitation.email.to_string(),
            role: invitation.role.to_string(),
            status,
            invited_by: invitation.invited_by.to_string(),
            created_at: invitation.created_at.to_string(),
            expires_at: invitation.expires_at.to_string(),
        }
    }
}

/// Invitations.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitationsAnswer {
    invitations: Vec<InvitationAnswer>,
    next_cursor: Option<String>,
}

/// Invite somebody by mail.
#[utoipa::path(post, path = "/v1/invitations", tag = "people", request_body = InvitationRequest, responses(
    (status = 201, description = "The invitation; its link is on its way to the address alone.", body = InvitationAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 409, description = "The address belongs here already, or is invited.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<InvitationRequest>,
) -> Result<(StatusCode, Json<InvitationAnswer>), Failure> {
    let invitation = doors.control.invite(&ctx, &request.email, request.role).await?;
    Ok((StatusCode::CREATED, Json(InvitationAnswer::at(ctx.now, &invitation))))
}

/// The organization's invitations, the newest first.
#[utoipa::path(get, path = "/v1/invitations", tag = "people", params(PageParams), responses(
    (status = 200, description = "A page of them.", body = InvitationsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<InvitationsAnswer>, Failure> {
    let page = doors.control.invitations(&ctx, &request).await?;
    let invitations = page.items.iter().map(|invitation| InvitationAnswer::at(ctx.now, invitation));
    Ok(Json(InvitationsAnswer { invitations: invitations.collect(), next_cursor: page.next_cursor }))
}

/// Send an invitation again: another link, another seven days.
#[utoipa::path(post, path = "/v1/invitations/{id}/resend", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, description = "The invitation; the earlier link is dead.", body = InvitationAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "There is no such invitation.", body = ErrorBody),
    (status = 409, description = "It was accepted or revoked.", body = ErrorBody),
))]
pub(crate) async fn resend(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<InvitationAnswer>, Failure> {
    let invitation = doors.control.resend_invitation(&ctx, &invitation_id(&id)?).await?;
    Ok(Json(InvitationAnswer::at(ctx.now, &invitation)))
}

/// Take an invitation back.
#[utoipa::path(delete, path = "/v1/invitations/{id}", tag = "people", params(("id" = String, Path)), responses(
    (status = 204, description = "Its link is dead."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "There is no such invitation.", body = ErrorBody),
    (status = 409, description = "It was accepted or revoked.", body = ErrorBody),
))]
pub(crate) async fn revoke(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.revoke_invitation(&ctx, &invitation_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where an invitation leads.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitedAnswer {
    /// The identifier of the organization.
    organization: String,
    organization_name: String,
    email: String,
    role: String,
    expires_at: String,
}

impl From<InvitationView> for InvitedAnswer {
    fn from(view: InvitationView) -> Self {
        Self {
            organization: view.organization.identifier,
            organization_name: view.organization.name,
            email: view.invitation.email.to_string(),
            role: view.invitation.role.to_string(),
            expires_at: view.invitation.expires_at.to_string(),
        }
    }
}

/// What an invitation says, to whoever holds its link; it is not used up.
#[utoipa::path(post, path = "/v1/auth/invitation", tag = "registration", security(()), request_body = LinkRequest, responses(
    (status = 200, description = "Where it leads.", body = InvitedAnswer),
    (status = 422, description = "The link is over (`invalid_token`).", body = ErrorBody),
))]
pub(crate) async fn show(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<LinkRequest>,
) -> Result<Json<InvitedAnswer>, Failure> {
    Ok(Json(doors.control.invitation_of(&ctx, Surface::Api, &request.token).await?.into()))
}

/// Join the organization that has invited one's address. Whoever has no account yet registers instead.
#[utoipa::path(post, path = "/v1/invitations/accept", tag = "people", request_body = LinkRequest, responses(
    (status = 200, description = "Joined: sign in there.", body = InvitedAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The invitation was sent to another address.", body = ErrorBody),
    (status = 409, description = "The address belongs there already.", body = ErrorBody),
    (status = 422, description = "The link is over (`invalid_token`).", body = ErrorBody),
))]
pub(crate) async fn accept(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<LinkRequest>,
) -> Result<Json<InvitedAnswer>, Failure> {
    Ok(Json(doors.control.accept_invitation(&ctx, Surface::Api, &request.token).await?.into()))
}

fn invitation_id(text: &str) -> Result<InvitationId, Error> {
    text.parse().map_err(|_| Error::not_found("invitation"))
}
