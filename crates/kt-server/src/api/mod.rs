//! The JSON API. One file for each area; how requests are read and failures are told is here.

pub(crate) mod audit_log;
pub(crate) mod device;
pub(crate) mod events;
pub(crate) mod gateways;
pub(crate) mod health;
pub(crate) mod invitations;
pub(crate) mod ip_restrictions;
pub(crate) mod me;
pub(crate) mod members;
pub(crate) mod mfa;
pub(crate) mod organization;
pub(crate) mod passkeys;
pub(crate) mod passwords;
pub(crate) mod posture;
pub(crate) mod profile;
pub(crate) mod reauthentication;
pub(crate) mod registration;
pub(crate) mod security;
pub(crate) mod set_up;
pub(crate) mod sign_in;
pub(crate) mod tokens;
mod versions;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kt_domain::error::{Error, ErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The body of every failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorContent,
}

/// What went wrong.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct ErrorContent {
    /// The class: `authentication_error`, `permission_denied`, `not_found`, `conflict`, `validation_error`, `rate_limit`,
    /// `unavailable` or `internal_error`.
    r#type: &'static str,
    /// The case, for programs.
    code: &'static str,
    /// What to do next, for people.
    message: String,
    /// The request, as in the header `X-KT-Request-Id`.
    request_id: String,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<String>,
    /// Facts that a program needs to go on.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    details: Map<String, Value>,
}

/// A failure as an answer: status and type follow from its meaning, here and nowhere else.
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = self.0;
        let (status, class) = status_of(error.kind);
        if status.is_server_error() {
            tracing::error!(%error, "a request failed");
        }
        let mut response = status.into_response();
        if let Some(wait) = error.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let content = ErrorContent {
            r#type: class,
            code: error.code,
            message: error.message.into_owned(),
            request_id: String::new(),
            param: error.param.map(std::borrow::Cow::into_owned),
            details: error.details,
        };
        response.extensions_mut().insert(content);
        response
    }
}

fn status_of(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "authentication_error"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "permission_denied"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
        ErrorKind::VersionMismatch => (StatusCode::PRECONDITION_FAILED, "conflict"),
        ErrorKind::Malformed => (StatusCode::BAD_REQUEST, "validation_error"),
        ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "validation_error"),
        ErrorKind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "rate_limit"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

/// Writes the body of a failure, now that it is known which request failed. Refusals of the router itself (no such
/// path, no such method) get the same body.
pub(crate) fn write_failure(mut response: Response, request_id: &str) -> Response {
    let content = response.extensions_mut().remove::<ErrorContent>().or_else(|| of_router(response.status()));
    let Some(content) = content else { return response };
    let body = ErrorBody { error: ErrorContent { request_id: request_id.to_owned(), ..content } };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
    response
}

fn of_router(status: StatusCode) -> Option<ErrorContent> {
    let (class, code, message) = match status {
        StatusCode::NOT_FOUND => {
            ("not_found", "not_found", "There is no such address. `GET /openapi.json` lists all.")
        }
        StatusCode::METHOD_NOT_ALLOWED => (
            "not_found",
            "method_not_allowed",
            "This address does not take this method; the header Allow lists those it takes.",
        ),
        _ => return None,
    };
    Some(ErrorContent {
        r#type: class,
        code,
        message: message.to_owned(),
        request_id: String::new(),
        param: None,
        details: Map::new(),
    })
}

/// A JSON body, read strictly: unknown fields are refused by the types themselves, with the field's name.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if !is_json(&request) {
            let message = "Send JSON, with the header `Content-Type: application/json`.";
            return Err(Error::new(ErrorKind::Invalid, "unsupported_media_type", message).into());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|_| {
            let message = "The body is too large or broke off.";
            Error::new(ErrorKind::Invalid, "unreadable_body", message)
        })?;
        Ok(Self(parse(&bytes)?))
    }
}

/// A body that may be left out; what is there is read as strictly.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Input<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Failure> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

/// Only what a page of another site cannot send without being asked first (ATTACKS: requests forged by forms).
fn is_json(request: &Request) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // A list would be taken for the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::invalid("body", "Send a JSON object, not a list."));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|why| {
        let path = why.path().to_string();
        let inner = why.into_inner();
        if inner.is_data() {
            let message = format!("{inner}");
            Error::invalid(if path == "." { "body".to_owned() } else { path }, message)
        } else {
            Error::new(ErrorKind::Invalid, "invalid_json", format!("The body is not valid JSON: {inner}"))
        }
    })?;
    reader.end().map_err(|why| {
        Error::new(
            ErrorKind::Invalid,
            "invalid_json",
            format!("The body holds more than one JSON value: {why}"),
        )
    })?;
    Ok(value)
}

/// The parameters of a query string, read strictly: unknown and repeated ones are refused by the types themselves.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(why) => Err(Error::invalid("query", why.body_text()).into()),
        }
    }
}
