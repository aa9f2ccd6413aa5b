//! `/v1/organization`: what it is called.

use axum::extract::State;
use kt_control::OrganizationView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::versions::{IfMatch, Tagged};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// An organization, as those in it see it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnOrganizationAnswer {
    id: String,
    /// What it is called in addresses and at sign-in; it never changes.
    identifier: String,
    name: String,
    created_at: String,
}

impl From<OrganizationView> for Tagged<OwnOrganizationAnswer> {
    fn from(OrganizationView { organization, version }: OrganizationView) -> Self {
        let body = OwnOrganizationAnswer {
            id: organization.id.to_string(),
            identifier: organization.identifier,
            name: organization.name,
            created_at: organization.created_at.to_string(),
        };
        Self { version, body }
    }
}

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganizationPatch {
    name: String,
}

/// The organization of whoever asks.
#[utoipa::path(get, path = "/v1/organization", tag = "organization", responses(
    (status = 200, description = "It, with its version in `ETag`.", body = OwnOrganizationAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "This kind of key does not reach it.", body = ErrorBody),
))]
pub(crate) async fn read(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Tagged<OwnOrganizationAnswer>, Failure> {
    Ok(doors.control.organization(&ctx).await?.into())
}

/// Give the organization another name.
#[utoipa::path(patch, path = "/v1/organization", tag = "organization", request_body = OrganizationPatch,
    params(("If-Match" = Option<String>, Header, description = "The version that the change is made to.")),
    responses(
    (status = 200, description = "It, with its new version in `ETag`.", body = OwnOrganizationAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 412, description = "It has changed since that version.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn change(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
    Input(patch): Input<OrganizationPatch>,
) -> Result<Tagged<OwnOrganizationAnswer>, Failure> {
    Ok(doors.control.rename_organization(&ctx, &expected, &patch.name).await?.into())
}
