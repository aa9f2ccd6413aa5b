//! `/scim/v2`: provisioning by an identity provider (RFC 7643, RFC 7644). It speaks the protocol's own words: resources with
//! schemas, and failures as RFC 7644 section 3.12 has them. What resources consist of is described by the protocol itself, at
//! `/scim/v2/Schemas`; the OpenAPI document leads there.

mod answers;
mod discovery;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use kt_control::ScimQuery;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::media_type;
use kt_domain::scim::{Equals, GroupChange, ScimType, UserChange, UserRequest, operations};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Failure, Params};
use crate::Doors;
use crate::client::Caller;
use answers::{
    Absent, Answers, Conflicting, RefusedToAll, ScimList, ScimResource, Unreadable, UnreadableBody, Wanted,
};

/// The largest body that is read, in bytes: a group of seven thousand.
const MAX_BODY: usize = 1024 * 1024;

/// How many resources a page holds unless it is said, and at most.
const USUAL: i64 = 100;
const MOST: i64 = 200;

/// Every address.
pub(crate) fn routes() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .merge(discovery::routes())
        .routes(routes!(users, create_user))
        .routes(routes!(user, replace_user, patch_user, remove_user))
        .routes(routes!(groups, create_group))
        .routes(routes!(group, replace_group, patch_group, remove_group))
        .route("/scim/v2/Users/.search", any(not_spoken))
        .route("/scim/v2/Groups/.search", any(not_spoken))
        .route("/scim/v2/.search", any(not_spoken))
        .route("/scim/v2/Bulk", any(not_spoken))
        .route("/scim/v2/Me", any(not_spoken))
        .route("/scim/v2/{*rest}", any(nothing))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        // Of these routes alone: `layer` would also speak for every address that there is not.
        .route_layer(from_fn(answers::in_its_own_words))
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ScimParams {
    /// One attribute that equals one text, such as `userName eq "ada@example.com"`; or two of these with `and` between them.
    filter: Option<String>,
    /// The place of the first resource, from 1.
    #[serde(rename = "startIndex")]
    start_index: Option<i64>,
    /// At most how many; 100 without it, 200 at most.
    count: Option<i64>,
}

impl ScimParams {
    /// Out of range is taken for the nearest that is in it (RFC 7644 section 3.4.2.4).
    fn query(&self, attributes: &[&str], with_places: bool) -> Result<ScimQuery, Error> {
        let filter = self.filter.as_deref().map(|filter| Equals::all(filter, attributes)).transpose()?;
        let from = self.start_index.unwrap_or(1).max(1) - 1;
        let limit = self.count.unwrap_or(USUAL).clamp(0, MOST);
        Ok(ScimQuery { filter: filter.unwrap_or_default(), from, limit, with_places })
    }
}

/// By what users are found. Their one address is `userName`, of the kind `work`.
const USER_FILTERS: [&str; 5] =
    ["username", "externalid", "id", "emails.value", r#"emails[type eq "work"].value"#];
const GROUP_FILTERS: [&str; 5] = ["displayname", "externalid", "id", "members", "members.value"];

/// A JSON body, of the protocol's own type or the usual one.
struct ScimInput(Value);

impl<S: Send + Sync> FromRequest<S> for ScimInput {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let declared =
            request.headers().get(header::CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
        let is_ours = |name| media_type::is(declared, name);
        if !is_ours("application/scim+json") && !is_ours("application/json") {
            let message = "Send JSON, with the header `Content-Type: application/scim+json`.";
            let refusal = Error::new(ErrorKind::UnsupportedMediaType, "unsupported_media_type", message);
            return Err(Failure(refusal).into_response());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|why| {
            let message = format!("The body is larger than {MAX_BODY} bytes, or broke off.");
            answers::failure(why.status(), &message, None)
        })?;
        let unreadable = |_| ScimType::InvalidSyntax.refusal("The body is no valid JSON.");
        Ok(Self(
            serde_json::from_slice(&bytes)
                .map_err(unreadable)
                .map_err(Failure)
                .map_err(Failure::into_response)?,
        ))
    }
}

/// The users.
#[utoipa::path(get, path = "/scim/v2/Users", tag = "provisioning",
    params(ScimParams, Wanted),
    responses(
    (status = 200, description = "They, page by page.", body = ScimList, content_type = "application/scim+json"),
    Unreadable, RefusedToAll,
))]
async fn users(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    Params(params): Params<ScimParams>,
) -> Result<Response, Failure> {
    let query = params.query(&USER_FILTERS, answers.asks_for("groups"))?;
    let part = doors.control.scim_users(&ctx, &query).await?;
    Ok(answers::list(part.total, query.from, part.items.iter().map(|view| answers.user_resource(view))))
}

/// Make a user.
#[utoipa::path(post, path = "/scim/v2/Users", tag = "provisioning",
    params(Wanted),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses(
    (status = 201, description = "It.", body = ScimResource, content_type = "application/scim+json"),
    Unreadable, Conflicting, UnreadableBody, RefusedToAll,
))]
async fn create_user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let made = doors.control.create_scim_user(&ctx, &UserChange::of_resource(&body)?).await?;
    Ok(answers.user(StatusCode::CREATED, &made))
}

/// One user.
#[utoipa::path(get, path = "/scim/v2/Users/{id}", tag = "provisioning",
    params(("id" = String, Path, description = "Its identifier here."), Wanted),
    responses(
    (status = 200, description = "It.", body = ScimResource, content_type = "application/scim+json"),
    Unreadable, Absent, RefusedToAll,
))]
async fn user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let found = doors.control.scim_user(&ctx, &id).await?;
    Ok(answers.user(StatusCode::OK, &found))
}

/// Put a whole user in place of what is there.
#[utoipa::path(put, path = "/scim/v2/Users/{id}", tag = "provisioning",
    params(("id" = String, Path, description = "Its identifier here."), Wanted),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses(
    (status = 200, description = "It, as it is now.", body = ScimResource, content_type = "application/scim+json"),
    Unreadable, Absent, Conflicting, UnreadableBody, RefusedToAll,
))]
async fn replace_user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    Path(id): Path<String>,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let changed = doors.control.change_scim_user(&ctx, &id, UserRequest::of_resource(&body)).await?;
    Ok(answers.user(StatusCode::OK, &changed))
}

/// Change a part of a user.
#[utoipa::path(patch, path = "/scim/v2/Users/{id}", tag = "provisioning",
    params(("id" = String, Path, description = "Its identifier here."), Wanted),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses(
    (status = 200, description = "It, as it is now.", body = ScimResource, content_type = "application/scim+json"),
    Unreadable, Absent, Conflicting, UnreadableBody, RefusedToAll,
))]
async fn patch_user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    Path(id): Path<String>,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let changed = doors.control.change_scim_user(&ctx, &id, UserRequest::of_operations(&body)).await?;
    Ok(answers.user(StatusCode::OK, &changed))
}

/// End a user's membership. Their sessions and keys are refused from the next request on.
#[utoipa::path(delete, path = "/scim/v2/Users/{id}", tag = "provisioning",
    params(("id" = String, Path, description = "Its identifier here.")),
    responses(
    (status = 204, description = "They are no member any more."),
    Absent, Conflicting, RefusedToAll,
))]
async fn remove_user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.remove_scim_user(&ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The groups.
#[utoipa::path(get, path = "/scim/v2/Groups", tag = "provisioning",
    params(ScimParams, Wanted),
    responses(
    (status = 200, description = "They, page by page.", body = ScimList, content_type = "application/scim+json"),
    Unreadable, RefusedToAll,
))]
async fn groups(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    Params(params): Params<ScimParams>,
) -> Result<Response, Failure> {
    let query = params.query(&GROUP_FILTERS, answers.asks_for("members"))?;
    let part = doors.control.scim_groups(&ctx, &query).await?;
    Ok(answers::list(part.total, query.from, part.items.iter().map(|view| answers.group_resource(view))))
}

/// Add a group.
#[utoipa::path(post, path = "/scim/v2/Groups", tag = "provisioning",
    params(Wanted),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses(
    (status = 201, description = "It.", body = ScimResource, content_type = "application/scim+json"),
    Unreadable, Conflicting, UnreadableBody, RefusedToAll,
))]
async fn create_group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let made = doors.control.create_scim_group(&ctx, &GroupChange::of_resource(&body)?).await?;
    Ok(answers.group(StatusCode::CREATED, &made))
}

/// One group.
#[utoipa::path(get, path = "/scim/v2/Groups/{id}", tag = "provisioning",
    params(("id" = String, Path, description = "Its identifier here."), Wanted),
    responses(
    (status = 200, description = "It.", body = ScimResource, content_type = "application/scim+json"),
    Unreadable, Absent, RefusedToAll,
))]
async fn group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let found = doors.control.scim_group(&ctx, &id, answers.asks_for("members")).await?;
    Ok(answers.group(StatusCode::OK, &found))
}

/// Put a whole group in place of what is there.
#[utoipa::path(put, path = "/scim/v2/Groups/{id}", tag = "provisioning",
    params(("id" = String, Path, description = "Its identifier here."), Wanted),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses(
    (status = 200, description = "It, as it is now.", body = ScimResource, content_type = "application/scim+json"),
    Unreadable, Absent, Conflicting, UnreadableBody, RefusedToAll,
))]
async fn replace_group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    Path(id): Path<String>,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let changed = doors.control.change_scim_group(&ctx, &id, &GroupChange::of_resource(&body)?).await?;
    Ok(answers.group(StatusCode::OK, &changed))
}

/// Change a part of a group. A group may have thousands of members, so it is answered where somebody asks for attributes of
/// it, and not otherwise (RFC 7644 section 3.5.2).
#[utoipa::path(patch, path = "/scim/v2/Groups/{id}", tag = "provisioning",
    params(("id" = String, Path, description = "Its identifier here."), Wanted),
    request_body(content = ScimResource, content_type = "application/scim+json"),
    responses(
    (status = 200, description = "It, as it is now, where attributes are asked for.", body = ScimResource, content_type = "application/scim+json"),
    (status = 204, description = "It is changed."),
    Unreadable, Absent, Conflicting, UnreadableBody, RefusedToAll,
))]
async fn patch_group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    answers: Answers,
    Path(id): Path<String>,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let change = GroupChange::of_operations(&operations(&body)?)?;
    let changed = doors.control.change_scim_group(&ctx, &id, &change).await?;
    if answers.are_asked_for() {
        return Ok(answers.group(StatusCode::OK, &changed));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Remove a group. Its members stay members of the organization.
#[utoipa::path(delete, path = "/scim/v2/Groups/{id}", tag = "provisioning",
    params(("id" = String, Path, description = "Its identifier here.")),
    responses(
    (status = 204, description = "It is removed."),
    Absent, Conflicting, RefusedToAll,
))]
async fn remove_group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.remove_scim_group(&ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A part of the protocol that is not spoken here.
async fn not_spoken(State(doors): State<Doors>, Caller(ctx): Caller) -> Result<Response, Failure> {
    doors.control.require_provisioning(&ctx)?;
    Ok(answers::failure(
        StatusCode::NOT_IMPLEMENTED,
        "This is not offered; see `/ServiceProviderConfig`.",
        None,
    ))
}

/// No address of the protocol.
async fn nothing(State(doors): State<Doors>, Caller(ctx): Caller) -> Result<Response, Failure> {
    doors.control.require_provisioning(&ctx)?;
    Err(Error::not_found("address").into())
}
