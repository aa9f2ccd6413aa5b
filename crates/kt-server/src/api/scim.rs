//! `/scim/v2`: provisioning by an identity provider (RFC 7643, RFC 7644). It speaks the protocol's own words: resources with
//! schemas, and failures as RFC 7644 section 3.12 has them.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kt_control::{ScimGroupView, ScimPart, ScimQuery, ScimUserView};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::scim::{
    Equals, GROUP_SCHEMA, GroupChange, MOST_OPERATIONS, USER_SCHEMA, UserChange, operations,
};
use kt_domain::sign_in::MembershipState;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Params};
use crate::Doors;
use crate::client::Caller;
use crate::failure;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/scim+json");
const LIST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
const ERROR_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// How many resources a page holds unless it is said, and at most.
const USUAL: i64 = 100;
const MOST: i64 = 200;

/// Every address. They are not in the OpenAPI document: the protocol describes itself, and its failures have another form.
pub(crate) fn routes() -> Router<Doors> {
    Router::new()
        .route("/scim/v2/ServiceProviderConfig", get(config))
        .route("/scim/v2/ResourceTypes", get(types))
        .route("/scim/v2/ResourceTypes/{name}", get(one_type))
        .route("/scim/v2/Schemas", get(all_schemas))
        .route("/scim/v2/Schemas/{name}", get(one_schema))
        .route("/scim/v2/Users", get(users).post(create_user))
        .route("/scim/v2/Users/{id}", get(user).put(replace_user).patch(patch_user).delete(remove_user))
        .route("/scim/v2/Groups", get(groups).post(create_group))
        .route("/scim/v2/Groups/{id}", get(group).put(replace_group).patch(patch_group).delete(remove_group))
        .layer(from_fn(in_its_own_words))
}

/// Which part of a list.
#[derive(Deserialize)]
struct ScimParams {
    /// One attribute that equals one text, such as `userName eq "ada@example.com"`.
    filter: Option<String>,
    /// The place of the first resource, from 1.
    #[serde(rename = "startIndex")]
    start_index: Option<i64>,
    /// At most how many; 200 at most.
    count: Option<i64>,
}

impl ScimParams {
    /// Out of range is taken for the nearest that is in it (RFC 7644 section 3.4.2.4).
    fn query(&self, attributes: &[&str]) -> Result<ScimQuery, Error> {
        let filter = self.filter.as_deref().map(|filter| Equals::parse(filter, attributes)).transpose()?;
        let from = self.start_index.unwrap_or(1).max(1) - 1;
        Ok(ScimQuery { filter, from, limit: self.count.unwrap_or(USUAL).clamp(0, MOST) })
    }
}

const USER_FILTERS: [&str; 3] = ["username", "externalid", "id"];
const GROUP_FILTERS: [&str; 3] = ["displayname", "externalid", "id"];

/// A JSON body, of the protocol's own type or the usual one.
struct ScimInput(Value);

impl<S: Send + Sync> FromRequest<S> for ScimInput {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let declared = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence =
            declared.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !matches!(essence.as_str(), "application/scim+json" | "application/json") {
            let message = "Send JSON, with the header `Content-Type: application/scim+json`.";
            return Err(Error::new(ErrorKind::Malformed, "invalid_syntax", message).into());
        }
        let unreadable = || Error::new(ErrorKind::Malformed, "invalid_syntax", "The body is no valid JSON.");
        let bytes = Bytes::from_request(request, state).await.map_err(|_| unreadable())?;
        Ok(Self(serde_json::from_slice(&bytes).map_err(|_| unreadable())?))
    }
}

/// Writes failures in the protocol's words, and all answers with its media type.
async fn in_its_own_words(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(content) = failure::take(&mut response) {
        // The protocol has no 422 (RFC 7644 section 3.12).
        if response.status() == StatusCode::UNPROCESSABLE_ENTITY {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        let mut body = json!({
            "schemas": [ERROR_SCHEMA],
            "status": response.status().as_str(),
            "detail": content.message,
        });
        if let Some(word) = word_for(content.code) {
            body["scimType"] = json!(word);
        }
        *response.body_mut() = Body::from(body.to_string());
        response.headers_mut().remove(header::CONTENT_LENGTH);
        failure::note_written(&mut response);
    }
    if response.status() != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
    }
    response
}

fn word_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "invalid_filter" => "invalidFilter",
        "invalid_syntax" => "invalidSyntax",
        "invalid_path" => "invalidPath",
        "invalid_value" | "validation_error" => "invalidValue",
        "no_target" => "noTarget",
        "mutability" => "mutability",
        "uniqueness" => "uniqueness",
        "too_many" => "tooMany",
        _ => return None,
    })
}

/// A resource with the address where it is.
fn answer(status: StatusCode, resource: &Value) -> Response {
    let mut response = (status, resource.to_string()).into_response();
    let location =
        resource["meta"]["location"].as_str().and_then(|location| HeaderValue::from_str(location).ok());
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn list(total: i64, start: i64, resources: Vec<Value>) -> Response {
    let list = json!({
        "schemas": [LIST_SCHEMA],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    });
    list.to_string().into_response()
}

fn user_resource(doors: &Doors, view: &ScimUserView) -> Value {
    let ScimUserView { user, groups } = view;
    let groups: Vec<_> = groups
        .iter()
        .map(
            |(id, name)| json!({ "value": id, "display": name, "$ref": place(doors, "Groups", id.as_str()) }),
        )
        .collect();
    let mut resource = json!({
        "schemas": [USER_SCHEMA],
        "id": user.user,
        "userName": user.email,
        "displayName": user.name,
        "name": { "formatted": user.names.whole().unwrap_or_else(|| user.name.clone()) },
        "emails": [{ "value": user.email, "type": "work", "primary": true }],
        "active": user.state == MembershipState::Active,
        "groups": groups,
        "meta": {
            "resourceType": "User",
            "created": user.created_at,
            "lastModified": user.changed_at,
            "location": place(doors, "Users", user.user.as_str()),
        },
    });
    if let Some(given) = &user.names.given {
        resource["name"]["givenName"] = json!(given);
    }
    if let Some(family) = &user.names.family {
        resource["name"]["familyName"] = json!(family);
    }
    if let Some(external) = &user.external_id {
        resource["externalId"] = json!(external);
    }
    resource
}

fn group_resource(doors: &Doors, view: &ScimGroupView) -> Value {
    let ScimGroupView { group, members } = view;
    let members: Vec<_> = members
        .iter()
        .map(|(id, name)| {
            json!({ "value": id, "display": name, "type": "User", "$ref": place(doors, "Users", id.as_str()) })
        })
        .collect();
    let mut resource = json!({
        "schemas": [GROUP_SCHEMA],
        "id": group.id,
        "displayName": group.display_name,
        "members": members,
        "meta": {
            "resourceType": "Group",
            "created": group.created_at,
            "lastModified": group.changed_at,
            "location": place(doors, "Groups", group.id.as_str()),
        },
    });
    if let Some(external) = &group.external_id {
        resource["externalId"] = json!(external);
    }
    resource
}

/// The address of a resource, by what the operator has configured and never by what a request says.
fn place(doors: &Doors, kind: &str, id: &str) -> String {
    format!("{}/scim/v2/{kind}/{id}", doors.control.api_address().trim_end_matches('/'))
}

/// What of the protocol is spoken here.
async fn config(State(doors): State<Doors>, Caller(ctx): Caller) -> Result<Response, Failure> {
    doors.control.require_provisioning(&ctx)?;
    Ok(answer(
        StatusCode::OK,
        &json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": { "supported": true },
            "bulk": { "supported": false, "maxOperations": MOST_OPERATIONS, "maxPayloadSize": 0 },
            "filter": { "supported": true, "maxResults": MOST },
            "changePassword": { "supported": false },
            "sort": { "supported": false },
            "etag": { "supported": false },
            "authenticationSchemes": [{
                "type": "oauthbearertoken",
                "name": "Provisioning key",
                "description": "A key of the type `scim`, as a bearer token.",
                "primary": true,
            }],
            "meta": {
                "resourceType": "ServiceProviderConfig",
                "location": format!("{}/scim/v2/ServiceProviderConfig", doors.control.api_address().trim_end_matches('/')),
            },
        }),
    ))
}

fn resource_types(doors: &Doors) -> [Value; 2] {
    [("User", "/Users", USER_SCHEMA), ("Group", "/Groups", GROUP_SCHEMA)].map(|(name, endpoint, schema)| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name,
            "name": name,
            "endpoint": endpoint,
            "schema": schema,
            "meta": { "resourceType": "ResourceType", "location": place(doors, "ResourceTypes", name) },
        })
    })
}

/// The kinds of resources.
async fn types(State(doors): State<Doors>, Caller(ctx): Caller) -> Result<Response, Failure> {
    doors.control.require_provisioning(&ctx)?;
    Ok(list(2, 1, resource_types(&doors).into()))
}

/// One of them.
async fn one_type(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    doors.control.require_provisioning(&ctx)?;
    find(resource_types(&doors), "id", &name)
}

fn schemas(doors: &Doors) -> [Value; 2] {
    let text = |name: &str, required: bool, mutability: &str| {
        json!({
            "name": name, "type": "string", "multiValued": false, "description": name, "required": required,
            "caseExact": false, "mutability": mutability, "returned": "default", "uniqueness": "none",
        })
    };
    let complex = |name: &str, many: bool, mutability: &str, parts: &[Value]| {
        json!({
            "name": name, "type": "complex", "multiValued": many, "description": name, "required": false,
            "mutability": mutability, "returned": "default", "subAttributes": parts,
        })
    };
    let mut user_name = text("userName", true, "immutable");
    user_name["uniqueness"] = json!("server");
    let active = json!({
        "name": "active", "type": "boolean", "multiValued": false, "description": "Whether they may come in",
        "required": false, "mutability": "readWrite", "returned": "default",
    });
    let name = ["formatted", "givenName", "familyName"].map(|part| text(part, false, "readWrite"));
    let read = |parts: &[&str]| parts.iter().map(|part| text(part, false, "readOnly")).collect::<Vec<_>>();
    let member = ["value", "display", "type"].map(|part| text(part, false, "immutable"));
    let user = vec![
        user_name,
        text("displayName", false, "readWrite"),
        complex("name", false, "readWrite", &name),
        complex("emails", true, "readOnly", &read(&["value", "type"])),
        active,
        complex("groups", true, "readOnly", &read(&["value", "display"])),
    ];
    let group = vec![text("displayName", true, "readWrite"), complex("members", true, "readWrite", &member)];
    [(USER_SCHEMA, "User", user), (GROUP_SCHEMA, "Group", group)].map(|(id, name, attributes)| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": id,
            "name": name,
            "description": name,
            "attributes": attributes,
            "meta": { "resourceType": "Schema", "location": place(doors, "Schemas", id) },
        })
    })
}

/// What users and groups consist of.
async fn all_schemas(State(doors): State<Doors>, Caller(ctx): Caller) -> Result<Response, Failure> {
    doors.control.require_provisioning(&ctx)?;
    Ok(list(2, 1, schemas(&doors).into()))
}

/// One of them.
async fn one_schema(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    doors.control.require_provisioning(&ctx)?;
    find(schemas(&doors), "id", &name)
}

fn find(all: [Value; 2], field: &str, value: &str) -> Result<Response, Failure> {
    let found = all.into_iter().find(|one| one[field] == value);
    let found = found.ok_or_else(|| Error::not_found("resource"))?;
    Ok(answer(StatusCode::OK, &found))
}

fn user_page(doors: &Doors, query: &ScimQuery, part: &ScimPart<ScimUserView>) -> Response {
    list(part.total, query.from + 1, part.items.iter().map(|view| user_resource(doors, view)).collect())
}

/// The users.
async fn users(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Params(params): Params<ScimParams>,
) -> Result<Response, Failure> {
    let query = params.query(&USER_FILTERS)?;
    Ok(user_page(&doors, &query, &doors.control.scim_users(&ctx, &query).await?))
}

/// Make a user.
async fn create_user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let made = doors.control.create_scim_user(&ctx, &UserChange::of_resource(&body)?).await?;
    Ok(answer(StatusCode::CREATED, &user_resource(&doors, &made)))
}

/// One user.
async fn user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let found = doors.control.scim_user(&ctx, &id).await?;
    Ok(answer(StatusCode::OK, &user_resource(&doors, &found)))
}

/// Put a whole user in place of what is there.
async fn replace_user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let changed = doors.control.change_scim_user(&ctx, &id, &UserChange::of_resource(&body)?).await?;
    Ok(answer(StatusCode::OK, &user_resource(&doors, &changed)))
}

/// Change a part of a user.
async fn patch_user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let change = UserChange::of_operations(&operations(&body)?)?;
    let changed = doors.control.change_scim_user(&ctx, &id, &change).await?;
    Ok(answer(StatusCode::OK, &user_resource(&doors, &changed)))
}

/// End a user's membership. Their sessions and keys are refused from the next request on.
async fn remove_user(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.remove_scim_user(&ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The groups.
async fn groups(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Params(params): Params<ScimParams>,
) -> Result<Response, Failure> {
    let query = params.query(&GROUP_FILTERS)?;
    let part = doors.control.scim_groups(&ctx, &query).await?;
    Ok(list(part.total, query.from + 1, part.items.iter().map(|view| group_resource(&doors, view)).collect()))
}

/// Add a group.
async fn create_group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let made = doors.control.create_scim_group(&ctx, &GroupChange::of_resource(&body)?).await?;
    Ok(answer(StatusCode::CREATED, &group_resource(&doors, &made)))
}

/// One group.
async fn group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let found = doors.control.scim_group(&ctx, &id).await?;
    Ok(answer(StatusCode::OK, &group_resource(&doors, &found)))
}

/// Put a whole group in place of what is there.
async fn replace_group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let changed = doors.control.change_scim_group(&ctx, &id, &GroupChange::of_resource(&body)?).await?;
    Ok(answer(StatusCode::OK, &group_resource(&doors, &changed)))
}

/// Change a part of a group.
async fn patch_group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    ScimInput(body): ScimInput,
) -> Result<Response, Failure> {
    let change = GroupChange::of_operations(&operations(&body)?)?;
    let changed = doors.control.change_scim_group(&ctx, &id, &change).await?;
    Ok(answer(StatusCode::OK, &group_resource(&doors, &changed)))
}

/// Remove a group. Its members stay members of the organization.
async fn remove_group(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.remove_scim_group(&ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
