//! What a provider is answered: resources, lists of them, and failures.

use axum::Json;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kt_control::{ScimGroupView, ScimUserView};
use kt_domain::scim::{GROUP_SCHEMA, ScimType, Selection, USER_SCHEMA};
use kt_domain::sign_in::MembershipState;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::super::{Failure, Params};
use crate::Doors;
use crate::failure as failures;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/scim+json");
const LIST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
const ERROR_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// A user, a group, or a part of how the protocol describes itself; what it consists of stands at `/scim/v2/Schemas`.
#[derive(Serialize, ToSchema)]
#[schema(value_type = Object)]
pub(super) struct ScimResource(Value);

/// A part of a list (RFC 7644 section 3.4.2).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScimList {
    schemas: [&'static str; 1],
    /// How many fit.
    total_results: i64,
    /// The place of the first one here, from 1.
    start_index: i64,
    /// How many are here.
    items_per_page: usize,
    #[serde(rename = "Resources")]
    resources: Vec<ScimResource>,
}

/// A failure (RFC 7644 section 3.12).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScimError<'a> {
    schemas: [&'static str; 1],
    /// The status, as a text.
    status: &'a str,
    /// What to do next, for people.
    detail: &'a str,
    /// What is wrong, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    scim_type: Option<ScimType>,
}

/// What anybody may be told.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it is named in the document alone")]
pub(super) enum RefusedToAll {
    /// The bearer is no key, or one that has ended.
    #[response(status = 401, content_type = "application/scim+json")]
    NoKey(ScimError<'static>),
    /// The bearer is no provisioning key, or one that reaches less.
    #[response(status = 403, content_type = "application/scim+json")]
    OtherKey(ScimError<'static>),
    /// Too many requests.
    #[response(status = 429, content_type = "application/scim+json")]
    TooMany(ScimError<'static>),
}

/// What cannot be read, or breaks a rule.
#[derive(IntoResponses)]
#[response(
    status = 400,
    description = "What was sent cannot be read, or breaks a rule; `scimType` says which.",
    content_type = "application/scim+json"
)]
#[expect(dead_code, reason = "it is named in the document alone")]
pub(super) struct Unreadable(ScimError<'static>);

/// What is asked for and not there.
#[derive(IntoResponses)]
#[response(
    status = 404,
    description = "There is none in this organization.",
    content_type = "application/scim+json"
)]
#[expect(dead_code, reason = "it is named in the document alone")]
pub(super) struct Absent(ScimError<'static>);

/// What cannot be beside what is there.
#[derive(IntoResponses)]
#[response(
    status = 409,
    description = "There is another of this name, or it would leave the organization without an owner.",
    content_type = "application/scim+json"
)]
#[expect(dead_code, reason = "it is named in the document alone")]
pub(super) struct Conflicting(ScimError<'static>);

/// A body that is not looked at.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it is named in the document alone")]
pub(super) enum UnreadableBody {
    /// The body is larger than 1 MiB.
    #[response(status = 413, content_type = "application/scim+json")]
    TooLarge(ScimError<'static>),
    /// The body is not JSON (`application/scim+json`, `application/json`).
    #[response(status = 415, content_type = "application/scim+json")]
    OfAnotherType(ScimError<'static>),
}

/// How one request is answered: where resources are, and what of them is asked for.
pub(super) struct Answers {
    base: String,
    selection: Selection,
}

/// What of a resource is asked for (RFC 7644 section 3.9).
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// These attributes alone, with commas between their names.
    attributes: Option<String>,
    /// All but these.
    #[serde(rename = "excludedAttributes")]
    excluded_attributes: Option<String>,
}

impl FromRequestParts<Doors> for Answers {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Failure> {
        let Params(wanted) = Params::<Wanted>::from_request_parts(parts, doors).await?;
        let selection = Selection::read(wanted.attributes.as_deref(), wanted.excluded_attributes.as_deref())?;
        Ok(Self { base: doors.control.provisioning_address(), selection })
    }
}

impl Answers {
    /// The address of a resource.
    pub(super) fn place(&self, kind: &str, id: &str) -> String {
        format!("{}/{kind}/{id}", self.base)
    }

    /// Whether anything was said of what is asked for.
    pub(super) fn are_asked_for(&self) -> bool {
        self.selection.is_said()
    }

    /// Whether an attribute is asked for.
    pub(super) fn asks_for(&self, attribute: &str) -> bool {
        self.selection.asks_for(attribute)
    }

    /// A user.
    pub(super) fn user(&self, status: StatusCode, view: &ScimUserView) -> Response {
        resource(status, &self.place("Users", view.user.user.as_str()), &self.user_resource(view))
    }

    /// A group.
    pub(super) fn group(&self, status: StatusCode, view: &ScimGroupView) -> Response {
        resource(status, &self.place("Groups", view.group.id.as_str()), &self.group_resource(view))
    }

    pub(super) fn user_resource(&self, ScimUserView { user, groups }: &ScimUserView) -> Value {
        let group = |group: &kt_control::ScimGroup| {
            json!({
                "value": group.id,
                "$ref": self.place("Groups", group.id.as_str()),
                "display": group.display_name,
                "type": "direct",
            })
        };
        self.selected(json!({
            "schemas": [USER_SCHEMA],
            "id": user.user,
            "externalId": user.external_id,
            "userName": user.email,
            "displayName": user.names.display,
            "name": {
                "formatted": user.names.formatted,
                "givenName": user.names.given,
                "familyName": user.names.family,
            },
            "emails": [{ "value": user.email, "type": "work", "primary": true }],
            "active": user.state == MembershipState::Active,
            "groups": groups.iter().map(group).collect::<Vec<_>>(),
            "meta": {
                "resourceType": "User",
                "created": user.created_at,
                "lastModified": user.changed_at,
                "location": self.place("Users", user.user.as_str()),
            },
        }))
    }

    pub(super) fn group_resource(&self, ScimGroupView { group, members }: &ScimGroupView) -> Value {
        let member = |id: &kt_domain::id::UserId| json!({ "value": id, "$ref": self.place("Users", id.as_str()), "type": "User" });
        self.selected(json!({
            "schemas": [GROUP_SCHEMA],
            "id": group.id,
            "externalId": group.external_id,
            "displayName": group.display_name,
            "members": members.iter().map(member).collect::<Vec<_>>(),
            "meta": {
                "resourceType": "Group",
                "created": group.created_at,
                "lastModified": group.changed_at,
                "location": self.place("Groups", group.id.as_str()),
            },
        }))
    }

    fn selected(&self, mut resource: Value) -> Value {
        remove_unassigned(&mut resource);
        self.selection.apply(&mut resource);
        resource
    }
}

/// An attribute without a value is left out (RFC 7643 section 2.5).
fn remove_unassigned(value: &mut Value) {
    if let Value::Object(attributes) = value {
        attributes.values_mut().for_each(remove_unassigned);
        attributes
            .retain(|_, value| !value.is_null() && value.as_object().is_none_or(|parts| !parts.is_empty()));
    }
}

/// A resource, with the address where it is.
pub(super) fn resource(status: StatusCode, location: &str, resource: &Value) -> Response {
    let mut response = (status, resource.to_string()).into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A part of a list; the first place is 0 here and 1 there.
pub(super) fn list(total: i64, from: i64, resources: impl Iterator<Item = Value>) -> Response {
    let resources: Vec<_> = resources.map(ScimResource).collect();
    let list = ScimList {
        schemas: [LIST_SCHEMA],
        total_results: total,
        start_index: from + 1,
        items_per_page: resources.len(),
        resources,
    };
    Json(list).into_response()
}

/// A failure, as RFC 7644 section 3.12 has it.
pub(super) fn failure(status: StatusCode, detail: &str, word: Option<ScimType>) -> Response {
    let error = ScimError { schemas: [ERROR_SCHEMA], status: status.as_str(), detail, scim_type: word };
    (status, Json(error)).into_response()
}

/// Writes failures in the protocol's words, and all answers with its media type.
pub(super) async fn in_its_own_words(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(content) = failures::take(&mut response) {
        // The protocol has no 422.
        let status = match response.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        let told = failure(status, &content.message, word_for(content.code));
        *response.status_mut() = status;
        *response.body_mut() = told.into_body();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        failures::note_written(&mut response);
    }
    if response.status() != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
    }
    response
}

/// The protocol's word for what is wrong; the usual refusal of a value is one of its own.
fn word_for(code: &str) -> Option<ScimType> {
    if code == "validation_error" { Some(ScimType::InvalidValue) } else { code.parse().ok() }
}
