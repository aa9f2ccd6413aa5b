//! Versions over HTTP: `ETag` on what can be changed, `If-Match` on changes (RFC 9110 sections 8.8.3 and 13.1.1).

use std::convert::Infallible;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use kt_control::Expected;
use serde::Serialize;

/// The versions that `If-Match` names; any, where there is no such header or it holds `*`.
pub(crate) struct IfMatch(pub(crate) Expected);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let lines = parts.headers.get_all(header::IF_MATCH).iter();
        let tags: Vec<String> = lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(|tag| String::from_utf8_lossy(tag).trim().to_owned())
            .collect();
        Ok(Self(if tags.is_empty() || tags.iter().any(|tag| tag == "*") {
            Expected::Any
        } else {
            Expected::OneOf(tags.iter().filter_map(|tag| opaque(tag)).map(str::to_owned).collect())
        }))
    }
}

/// What a strong entity tag holds; weak ones match nothing here.
fn opaque(tag: &str) -> Option<&str> {
    tag.strip_prefix('"')?.strip_suffix('"')
}

/// A body with its version in `ETag`.
pub(crate) struct Tagged<T> {
    pub(crate) version: String,
    pub(crate) body: T,
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.version)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}
