//! The JSON API. One file for each area; how requests are read and failures are told is here.

pub(crate) mod audit_log;
pub(crate) mod configurations;
pub(crate) mod device;
pub(crate) mod events;
pub(crate) mod gateways;
pub(crate) mod health;
mod identity_providers;
pub(crate) mod invitations;
pub(crate) mod ip_restrictions;
pub(crate) mod me;
pub(crate) mod members;
pub(crate) mod mfa;
pub(crate) mod organization;
pub(crate) mod paging;
pub(crate) mod passkeys;
pub(crate) mod passwords;
pub(crate) mod posture;
pub(crate) mod profile;
pub(crate) mod provider_credentials;
pub(crate) mod reauthentication;
pub(crate) mod registration;
pub(crate) mod saml;
pub(crate) mod scim;
pub(crate) mod security;
pub(crate) mod sessions;
pub(crate) mod set_up;
pub(crate) mod setup_requests;
pub(crate) mod sign_in;
pub(crate) mod sso;
pub(crate) mod tokens;
pub(crate) mod usage;
mod versions;

use axum::body::{Bytes, HttpBody};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::media_type;
use serde::de::DeserializeOwned;

use crate::client::Known;
pub(crate) use crate::failure::{ErrorBody, Failure};
use crate::layers::MAX_BODY_OF_STRANGERS;

/// A JSON body, read strictly: unknown fields are refused by the types themselves, with the field's name.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Failure;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Failure> {
        if !is_json(&request) {
            let message = "Send JSON, with the header `Content-Type: application/json`.";
            return Err(Error::new(ErrorKind::UnsupportedMediaType, "unsupported_media_type", message).into());
        }
        if request.extensions().get::<Known>().is_none() {
            DefaultBodyLimit::max(MAX_BODY_OF_STRANGERS).apply(&mut request);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|why| unread(&why))?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Why a body was not read.
pub(crate) fn unread(why: &BytesRejection) -> Error {
    if why.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = "The body is longer than this address takes. Send less at a time.";
        return Error::new(ErrorKind::TooLarge, "request_too_large", message);
    }
    Error::new(ErrorKind::Malformed, "unreadable_body", "The body broke off. Send it again.")
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
    let declared = request.headers().get(header::CONTENT_TYPE);
    declared.is_some_and(|declared| media_type::is(declared.as_bytes(), "application/json"))
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
            Error::invalid(field_at_fault(path, &message), message)
        } else {
            Error::new(ErrorKind::Malformed, "invalid_json", format!("The body is not valid JSON: {inner}"))
        }
    })?;
    reader.end().map_err(|why| {
        Error::new(
            ErrorKind::Malformed,
            "invalid_json",
            format!("The body holds more than one JSON value: {why}"),
        )
    })?;
    Ok(value)
}

/// The field that a body was refused for. One that is missing, or there twice, is named in the message alone, and the path
/// leads to what lacks it.
fn field_at_fault(path: String, message: &str) -> String {
    let beginnings = ["missing field `", "duplicate field `"];
    let rest = beginnings.iter().find_map(|beginning| message.strip_prefix(beginning));
    let field = rest.and_then(|rest| rest.split('`').next());
    match (path.as_str(), field) {
        (".", Some(field)) => field.to_owned(),
        (".", None) => "body".to_owned(),
        (_, Some(field)) if path != field && !path.ends_with(&format!(".{field}")) => {
            format!("{path}.{field}")
        }
        _ => path,
    }
}

/// The parameters of a query string, read strictly: unknown and repeated ones are refused by the types themselves.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(paging::read(&paging::pairs_of(&parts.uri))?))
    }
}
