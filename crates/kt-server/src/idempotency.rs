//! `Idempotency-Key`: a POST that a caller sends again is carried out once, and answered as it was the first time
//! (IETF draft `draft-ietf-httpapi-idempotency-key-header`).
//!
//! What was refused has changed nothing and is not kept: sent again, it is tried again. Signing in and what belongs to it
//! is left alone, since nobody is known there to whom an answer could be given again; and so are second factors, whose secrets
//! and recovery codes nobody is shown a second time.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kt_control::{Begun, OnceClaim, OnceRequest};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::secret::SecretDigest;
use serde::{Deserialize, Serialize};

use crate::Doors;
use crate::api::unread;
use crate::client::{Identified, identify};
use crate::failure::Failure;

/// The word by which a caller names a request.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that an answer is that of an earlier request.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How a named request may be refused for its name, for the OpenAPI document.
pub(crate) const REFUSALS: [(&str, &str); 3] = [
    ("400", "The `Idempotency-Key` is no word."),
    ("409", "The request of this `Idempotency-Key` is under way, or was cut off."),
    ("422", "The `Idempotency-Key` came with another request before."),
];

/// The longest word.
const MOST_BYTES: usize = 255;

/// Below which addresses no POST is named: at the doors, at provisioning, which has names of its own and refuses what is there
/// already, and where second factors are changed.
const NAMELESS: [&str; 5] = ["/v1/auth/", "/v1/setup", "/scim/", "/v1/me/mfa/", "/v1/me/passkeys"];

/// Whether a POST to this address may be named.
pub(crate) fn is_kept(path: &str) -> bool {
    !NAMELESS.iter().any(|start| path.starts_with(start))
}

/// Carries out a named request once; the others pass.
pub(crate) async fn once(doors: &Doors, request: Request, next: Next) -> Response {
    let is_named = request.method() == Method::POST
        && is_kept(request.uri().path())
        && request.headers().contains_key(IDEMPOTENCY_KEY);
    if !is_named {
        return next.run(request).await;
    }
    Box::pin(answer_once(doors, request, next)).await.unwrap_or_else(Failure::into_response)
}

async fn answer_once(doors: &Doors, request: Request, next: Next) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let key = word(&parts.headers)?;
    let ctx = identify(&parts, doors).await?;
    let whole = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(whole, doors).await.map_err(|why| unread(&why))?;
    let fingerprint = fingerprint(&parts, &body);
    let named = OnceRequest { address: parts.uri.path(), key: &key, fingerprint };
    match doors.control.begin_once(&ctx, &named).await? {
        Begun::Before(answer) => Ok(Kept::parse(&answer)?.into_response()),
        Begun::First(claim) => {
            parts.extensions.insert(Identified(ctx));
            let request = Request::from_parts(parts, Body::from(body));
            // Whoever tries again has often hung up before: what was begun is ended without them.
            let carried_out = tokio::spawn(carry_out(doors.clone(), claim, request, next));
            Ok(carried_out.await.map_err(Error::internal)?)
        }
    }
}

/// The word that names the request: a string of the header's structured form, or the bare word.
fn word(headers: &HeaderMap) -> Result<String, Error> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let text = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok());
    let word = text.map(|text| {
        let text = text.trim();
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
    });
    let is_good = |word: &&str| {
        (1..=MOST_BYTES).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
    };
    word.filter(is_good).map(str::to_owned).ok_or_else(|| {
        let message = format!(
            "Send one `Idempotency-Key` of 1 to {MOST_BYTES} printable characters, such as a UUID, or none."
        );
        Error::new(ErrorKind::Malformed, "invalid_idempotency_key", message)
    })
}

/// Of everything that is asked beside the address. How the body is declared is checked before an answer is kept.
fn fingerprint(parts: &Parts, body: &[u8]) -> SecretDigest {
    let mut asked = parts.uri.query().unwrap_or_default().as_bytes().to_vec();
    asked.push(b'\n');
    asked.extend(body);
    SecretDigest::of(&asked)
}

async fn carry_out(doors: Doors, claim: OnceClaim, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let (response, outcome) = if response.status().is_success() {
        let (parts, body) = response.into_parts();
        // Made in memory by the handler.
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let kept = Kept::of(&parts, &body).to_vec();
        (Response::from_parts(parts, Body::from(body)), doors.control.finish_once(claim, &kept).await)
    } else {
        (response, doors.control.give_up_once(claim).await)
    };
    if let Err(error) = outcome {
        tracing::error!(%error, "what became of a request cannot be kept: sent again, it is told to be unknown");
    }
    response
}

/// An answer at rest.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Kept {
    fn of(parts: &axum::http::response::Parts, body: &Bytes) -> Self {
        let headers = parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        Self {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    fn to_vec(&self) -> Vec<u8> {
        // No map in it has keys that are no text.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn parse(answer: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(answer).map_err(Error::internal)
    }
}

impl IntoResponse for Kept {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = self.headers.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        });
        *response.headers_mut() = headers.collect();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}
