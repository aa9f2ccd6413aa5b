//! `/v1/provider-credentials`: providers' keys. They go in and never come out.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kt_control::CredentialView;
use kt_domain::configurations::{Credential, KeptName};
use kt_domain::error::Error;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::{Everything, Listing, PageParams};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// A provider's key to be stored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCredentialRequest {
    /// What configurations will call it: 1 to 40 small letters, digits and hyphens between them.
    name: String,
    /// The key.
    key: String,
}

/// Another key for a name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialRequest {
    /// The key.
    key: String,
}

/// A provider's key, without the key.
#[derive(Serialize, ToSchema)]
pub(crate) struct CredentialAnswer {
    name: String,
    created_at: String,
    /// When another key was last put in its place.
    replaced_at: Option<String>,
    /// The versions of configurations that gateways are told to run and that name it.
    used_by: Vec<String>,
}

/// Providers' keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct CredentialsAnswer {
    provider_credentials: Vec<CredentialAnswer>,
    next_cursor: Option<String>,
}

impl From<CredentialView> for CredentialAnswer {
    fn from(view: CredentialView) -> Self {
        Self {
            name: view.credential.name.into(),
            created_at: view.credential.created_at.to_string(),
            replaced_at: view.credential.replaced_at.map(|at| at.to_string()),
            used_by: view.used_by.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The providers' keys that are kept here, without the keys.
#[utoipa::path(get, path = "/v1/provider-credentials", tag = "keys", params(PageParams), responses(
    (status = 200, description = "By name.", body = CredentialsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<CredentialsAnswer>, Failure> {
    let page = doors.control.provider_credentials(&ctx, &request).await?;
    let provider_credentials = page.items.into_iter().map(CredentialAnswer::from).collect();
    Ok(Json(CredentialsAnswer { provider_credentials, next_cursor: page.next_cursor }))
}

/// Store a provider's key under a name that is free. Nothing shows it again.
#[utoipa::path(post, path = "/v1/provider-credentials", tag = "keys", request_body = NewCredentialRequest, responses(
    (status = 204, description = "It was stored."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 409, description = "The name is taken.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn store(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<NewCredentialRequest>,
) -> Result<StatusCode, Failure> {
    let name: KeptName = request.name.parse().map_err(|why| Error::invalid("name", format!("{why}")))?;
    doors.control.store_credential(&ctx, &name, &credential(&request.key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Put another key in the place of one. Gateways that use it are handed the new one.
#[utoipa::path(patch, path = "/v1/provider-credentials/{name}", tag = "keys", params(("name" = String, Path)),
    request_body = CredentialRequest, responses(
    (status = 204, description = "It was replaced."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such credential.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn replace(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(name): Path<String>,
    Input(request): Input<CredentialRequest>,
) -> Result<StatusCode, Failure> {
    doors.control.replace_credential(&ctx, &kept(&name)?, &credential(&request.key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a key that no gateway is told to use.
#[utoipa::path(delete, path = "/v1/provider-credentials/{name}", tag = "keys", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such credential.", body = ErrorBody),
    (status = 409, description = "Gateways are told to run a configuration that names it.", body = ErrorBody),
))]
pub(crate) async fn remove(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.remove_credential(&ctx, &kept(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A text that is no name names nothing.
fn kept(name: &str) -> Result<KeptName, Error> {
    name.parse().map_err(|_| Error::not_found("provider credential"))
}

fn credential(text: &str) -> Result<Credential, Error> {
    Credential::parse(text).map_err(|why| Error::invalid("key", format!("{why}")))
}
