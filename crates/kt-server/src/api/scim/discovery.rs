//! How the protocol describes itself (RFC 7644 section 4): what is offered, which kinds of resources there are, and what
//! they consist of.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::scim::{GROUP_SCHEMA, ScimType, USER_SCHEMA};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::{Failure, Params};
use super::MOST;
use super::answers::{Answers, ScimError, ScimList, ScimResource, Wanted, list, resource};
use crate::Doors;
use crate::client::Caller;

pub(super) fn routes() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(config))
        .routes(routes!(types))
        .routes(routes!(one_type))
        .routes(routes!(schemas))
        .routes(routes!(one_schema))
}

/// What these lists do not take.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filtered {
    /// Refused: the lists are short.
    filter: Option<String>,
}

/// A provider that may ask, and how it is answered.
struct Asked(Answers);

impl FromRequestParts<Doors> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Failure> {
        let Caller(ctx) = Caller::from_request_parts(parts, doors).await?;
        doors.control.require_provisioning(&ctx)?;
        let Params(Filtered { filter }) = Params::from_request_parts(parts, doors).await?;
        if filter.is_some() {
            // So that nobody takes the whole list for what fits (RFC 7644 section 4).
            let message = "This list has no filter. Ask for all of it, or for one by its name.";
            let refusal = ScimType::InvalidFilter.refusal(message);
            return Err(Error { kind: ErrorKind::Forbidden, ..refusal }.into());
        }
        Ok(Self(Answers::from_request_parts(parts, doors).await?))
    }
}

/// What of the protocol is offered.
#[utoipa::path(get, path = "/scim/v2/ServiceProviderConfig", tag = "provisioning",
    params(Filtered, Wanted),
    responses(
    (status = 200, description = "It.", body = ScimResource, content_type = "application/scim+json"),
    (status = 400, description = "What was sent cannot be read, or breaks a rule; `scimType` says which.", body = ScimError, content_type = "application/scim+json"),
    (status = 401, description = "The bearer is no key, or one that has ended.", body = ScimError, content_type = "application/scim+json"),
    (status = 403, description = "The bearer is no provisioning key, or one that reaches less.", body = ScimError, content_type = "application/scim+json"),
    (status = 429, description = "Too many requests.", body = ScimError, content_type = "application/scim+json"),
))]
async fn config(Asked(answers): Asked) -> Response {
    let location = answers.place("ServiceProviderConfig", "");
    let location = location.trim_end_matches('/');
    let config = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": MOST },
        "changePassword": { "supported": false },
        "sort": { "supported": false },
        "etag": { "supported": false },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Provisioning key",
            "description": "A provisioning key of the organization, as a bearer token.",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": { "resourceType": "ServiceProviderConfig", "location": location },
    });
    resource(StatusCode::OK, location, &config)
}

/// The kinds of resources.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes", tag = "provisioning",
    params(Filtered, Wanted),
    responses(
    (status = 200, description = "They.", body = ScimList, content_type = "application/scim+json"),
    (status = 400, description = "What was sent cannot be read, or breaks a rule; `scimType` says which.", body = ScimError, content_type = "application/scim+json"),
    (status = 401, description = "The bearer is no key, or one that has ended.", body = ScimError, content_type = "application/scim+json"),
    (status = 403, description = "The bearer is no provisioning key, or one that reaches less.", body = ScimError, content_type = "application/scim+json"),
    (status = 429, description = "Too many requests.", body = ScimError, content_type = "application/scim+json"),
))]
async fn types(Asked(answers): Asked) -> Response {
    list(2, 0, resource_types(&answers).into_iter())
}

/// One of them.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes/{name}", tag = "provisioning",
    params(("name" = String, Path, description = "Its identifier."), Filtered, Wanted),
    responses(
    (status = 200, description = "It.", body = ScimResource, content_type = "application/scim+json"),
    (status = 400, description = "What was sent cannot be read, or breaks a rule; `scimType` says which.", body = ScimError, content_type = "application/scim+json"),
    (status = 401, description = "The bearer is no key, or one that has ended.", body = ScimError, content_type = "application/scim+json"),
    (status = 403, description = "The bearer is no provisioning key, or one that reaches less.", body = ScimError, content_type = "application/scim+json"),
    (status = 404, description = "There is none in this organization.", body = ScimError, content_type = "application/scim+json"),
    (status = 429, description = "Too many requests.", body = ScimError, content_type = "application/scim+json"),
))]
async fn one_type(Asked(answers): Asked, Path(name): Path<String>) -> Result<Response, Failure> {
    find(resource_types(&answers), &name)
}

/// What users and groups consist of.
#[utoipa::path(get, path = "/scim/v2/Schemas", tag = "provisioning",
    params(Filtered, Wanted),
    responses(
    (status = 200, description = "They.", body = ScimList, content_type = "application/scim+json"),
    (status = 400, description = "What was sent cannot be read, or breaks a rule; `scimType` says which.", body = ScimError, content_type = "application/scim+json"),
    (status = 401, description = "The bearer is no key, or one that has ended.", body = ScimError, content_type = "application/scim+json"),
    (status = 403, description = "The bearer is no provisioning key, or one that reaches less.", body = ScimError, content_type = "application/scim+json"),
    (status = 429, description = "Too many requests.", body = ScimError, content_type = "application/scim+json"),
))]
async fn schemas(Asked(answers): Asked) -> Response {
    list(2, 0, schema_resources(&answers).into_iter())
}

/// One of them.
#[utoipa::path(get, path = "/scim/v2/Schemas/{name}", tag = "provisioning",
    params(("name" = String, Path, description = "Its identifier."), Filtered, Wanted),
    responses(
    (status = 200, description = "It.", body = ScimResource, content_type = "application/scim+json"),
    (status = 400, description = "What was sent cannot be read, or breaks a rule; `scimType` says which.", body = ScimError, content_type = "application/scim+json"),
    (status = 401, description = "The bearer is no key, or one that has ended.", body = ScimError, content_type = "application/scim+json"),
    (status = 403, description = "The bearer is no provisioning key, or one that reaches less.", body = ScimError, content_type = "application/scim+json"),
    (status = 404, description = "There is none in this organization.", body = ScimError, content_type = "application/scim+json"),
    (status = 429, description = "Too many requests.", body = ScimError, content_type = "application/scim+json"),
))]
async fn one_schema(Asked(answers): Asked, Path(name): Path<String>) -> Result<Response, Failure> {
    find(schema_resources(&answers), &name)
}

fn find(all: [Value; 2], id: &str) -> Result<Response, Failure> {
    let found = all.into_iter().find(|one| one["id"] == id).ok_or_else(|| Error::not_found("resource"))?;
    Ok(resource(StatusCode::OK, found["meta"]["location"].as_str().unwrap_or_default(), &found))
}

fn resource_types(answers: &Answers) -> [Value; 2] {
    [
        ("User", "/Users", USER_SCHEMA, "A member of the organization"),
        ("Group", "/Groups", GROUP_SCHEMA, "A group of the provider's, by which roles are given"),
    ]
    .map(|(name, endpoint, schema, description)| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name,
            "name": name,
            "description": description,
            "endpoint": endpoint,
            "schema": schema,
            "meta": { "resourceType": "ResourceType", "location": answers.place("ResourceTypes", name) },
        })
    })
}

fn schema_resources(answers: &Answers) -> [Value; 2] {
    [
        (USER_SCHEMA, "User", "A member of the organization", user_attributes()),
        (GROUP_SCHEMA, "Group", "A group of the provider's, by which roles are given", group_attributes()),
    ]
    .map(|(id, name, description, attributes)| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": id,
            "name": name,
            "description": description,
            "attributes": attributes,
            "meta": { "resourceType": "Schema", "location": answers.place("Schemas", id) },
        })
    })
}

fn user_attributes() -> Vec<Value> {
    let name = [
        text("formatted", "The whole name", "readWrite"),
        text("givenName", "The given name", "readWrite"),
        text("familyName", "The family name", "readWrite"),
    ];
    let email = [
        text("value", "The address", "readOnly"),
        text("type", "Always `work`", "readOnly"),
        truth("primary", "Always true", "readOnly"),
    ];
    let group = [
        text("value", "The identifier of the group", "readOnly"),
        reference("Group", "readOnly"),
        text("display", "The name of the group", "readOnly"),
        text("type", "Always `direct`", "readOnly"),
    ];
    vec![
        with(
            text(
                "userName",
                "The address to sign in with, in a domain of the organization's own",
                "immutable",
            ),
            &json!({ "required": true, "uniqueness": "server" }),
        ),
        text("displayName", "What they are called", "readWrite"),
        complex("name", "The parts of the name", "readWrite", &name, false),
        complex("emails", "The address of `userName`", "readOnly", &email, true),
        with(truth("active", "Whether they may come in", "readWrite"), &json!({ "required": true })),
        complex("groups", "The groups they are in", "readOnly", &group, true),
    ]
}

fn group_attributes() -> Vec<Value> {
    let member = [
        text("value", "The identifier of the user", "immutable"),
        reference("User", "immutable"),
        with(text("type", "Always `User`", "immutable"), &json!({ "canonicalValues": ["User"] })),
    ];
    let name = text("displayName", "The name by which single sign-on gives a role", "readWrite");
    vec![
        with(name, &json!({ "required": true, "uniqueness": "server" })),
        complex("members", "Who is in the group", "readWrite", &member, true),
    ]
}

fn text(name: &str, description: &str, mutability: &str) -> Value {
    let more = json!({ "caseExact": false, "uniqueness": "none" });
    with(attribute(name, "string", description, mutability), &more)
}

fn truth(name: &str, description: &str, mutability: &str) -> Value {
    attribute(name, "boolean", description, mutability)
}

fn reference(kind: &str, mutability: &str) -> Value {
    let more = json!({ "referenceTypes": [kind], "caseExact": true, "uniqueness": "none" });
    with(attribute("$ref", "reference", "The address of the resource", mutability), &more)
}

fn complex(name: &str, description: &str, mutability: &str, parts: &[Value], is_list: bool) -> Value {
    let more = json!({ "multiValued": is_list, "subAttributes": parts });
    with(attribute(name, "complex", description, mutability), &more)
}

/// One attribute (RFC 7643 section 7).
fn attribute(name: &str, kind: &str, description: &str, mutability: &str) -> Value {
    json!({
        "name": name,
        "type": kind,
        "multiValued": false,
        "description": description,
        "required": false,
        "mutability": mutability,
        "returned": "default",
    })
}

fn with(mut attribute: Value, more: &Value) -> Value {
    if let (Some(attribute), Some(more)) = (attribute.as_object_mut(), more.as_object()) {
        attribute.extend(more.clone());
    }
    attribute
}
