//! Failures as answers: status and class follow from what an error means, here and nowhere else.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kt_domain::error::{Error, ErrorKind};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::allowance::seconds;

/// The body of every failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorContent,
}

/// What went wrong.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct ErrorContent {
    /// The class: `authentication_error`, `permission_denied`, `not_found`, `conflict`, `validation_error`,
    /// `request_too_large`, `rate_limit`, `unavailable` or `internal_error`.
    pub(crate) r#type: &'static str,
    /// The case, for programs.
    pub(crate) code: &'static str,
    /// What to do next, for people.
    pub(crate) message: String,
    /// The request, as in the header `X-KT-Request-Id`.
    pub(crate) request_id: String,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) param: Option<String>,
    /// Facts that a program needs to go on.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub(crate) details: Map<String, Value>,
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
        // What has nothing to tell the operator is no failure but a refusal, such as of a crowd that signs in at once: strangers
        // must not fill the log with it.
        if status.is_server_error() && error.private.is_some() {
            tracing::error!(%error, "a request failed");
        }
        let mut response = status.into_response();
        if let Some(wait) = error.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
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
        ErrorKind::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "validation_error"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
        ErrorKind::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "validation_error"),
        ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "validation_error"),
        ErrorKind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "rate_limit"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

/// A failure whose body was written by whoever speaks another protocol.
#[derive(Clone, Copy)]
struct Written;

/// Lets the answer be as it is: its failure has been told.
pub(crate) fn note_written(response: &mut Response) {
    response.extensions_mut().insert(Written);
}

/// What went wrong in making this answer, if something did. Refusals of the router itself (no such path, no such
/// method, a path or query that cannot be read) count too.
pub(crate) fn take(response: &mut Response) -> Option<ErrorContent> {
    if response.extensions().get::<Written>().is_some() {
        return None;
    }
    response.extensions_mut().remove::<ErrorContent>().or_else(|| of_router(response.status()))
}

/// Writes the body of a failure, now that it is known which request failed.
pub(crate) fn write_failure(mut response: Response, request_id: &str) -> Response {
    match take(&mut response) {
        Some(content) => write_content(response, content, request_id),
        None => response,
    }
}

/// The same for a failure that was taken out of its answer.
pub(crate) fn write_content(mut response: Response, content: ErrorContent, request_id: &str) -> Response {
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
        StatusCode::BAD_REQUEST => (
            "validation_error",
            "unreadable_address",
            "A part of this address cannot be read. Check how it is written.",
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
