//! What every request passes before its handler, in this order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::RequestId as Id;
use kt_domain::keys;
use kt_domain::network::console_rules::Surface;
use tracing::Instrument;

use crate::client::{anonymous, resolve};
use crate::failure::{Failure, write_failure};
use crate::{Doors, Hosts, allowance, hosts, idempotency, refusals};

/// The largest body that the API reads, in bytes: a batch of events is the largest thing it takes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// The largest body that is read of somebody who is not known, by the API and by the console, in bytes: what strangers send is
/// held in memory until it has come as a whole.
pub(crate) const MAX_BODY_OF_STRANGERS: usize = 64 * 1024;

/// The request's identifier.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

/// Which pages may show an answer (Fetch standard section 3.7).
pub(crate) const OWN_ORIGIN_ALONE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-kt-request-id");

/// Puts the layers around the routes. The last one added is the first that a request passes.
pub(crate) fn around(routes: Router<Doors>, doors: &Doors, hosts: Hosts) -> Router<Doors> {
    routes
        .layer(from_fn_with_state(doors.clone(), idempotency::once))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(doors.clone(), refusals::recorded))
        .layer(from_fn(allowance::told))
        .layer(from_fn(no_key_in_the_address))
        .layer(from_fn_with_state((doors.clone(), Surface::Api), ip_restrictions))
        .layer(from_fn_with_state(doors.clone(), client_address))
        .layer(from_fn_with_state(Arc::new(hosts), hosts::own_name))
        .layer(from_fn(hosts::one_name))
        .layer(from_fn_with_state(doors.clone(), request_id))
        .layer(from_fn_with_state(doors.clone(), headers))
}

/// Names the request, in its answer too.
async fn request_id(State(doors): State<Doors>, mut request: Request, next: Next) -> Response {
    let id = name_request(&doors, &mut request);
    let response = write_failure(answer_of(request, next, &id).await, &id);
    named(response, &id)
}

/// What comes of a request. All that is logged on the way names it, and a defect ends this request alone, in an answer.
pub(crate) async fn answer_of(request: Request, next: Next, id: &str) -> Response {
    let span = tracing::info_span!("request", id);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    async {
        answer.await.unwrap_or_else(|_| {
            let error = Error::internal("a handler panicked; the message is on standard error");
            Failure(error).into_response()
        })
    }
    .instrument(span)
    .await
}

/// Gives a request its identifier.
pub(crate) fn name_request(doors: &Doors, request: &mut Request) -> Arc<str> {
    let now = doors.control.clock().now_micros();
    let id: Arc<str> = doors.control.draw(|random| Id::new(now, random)).to_string().into();
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    id
}

/// The answer with the identifier of its request.
pub(crate) fn named(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Told to browsers that come over https: for two years, come no other way (RFC 6797; OWASP ASVS 5.0, 3.4.1).
pub(crate) fn stay_with_https(doors: &Doors, headers: &mut HeaderMap) {
    // A deployment whose console is reached over https is so as a whole; over http, browsers do not listen to this.
    if doors.console.url().scheme() == "https" {
        let two_years = HeaderValue::from_static("max-age=63072000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, two_years);
    }
}

/// Nothing that the API answers may be kept, framed, guessed at, or shown by a page of another origin (STANDARDS: OWASP
/// REST security).
async fn headers(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OWN_ORIGIN_ALONE, HeaderValue::from_static("same-origin"));
    stay_with_https(&doors, headers);
    response
}

/// Tells the client's address, once, for rules, limits and records alike. The machine in front that looks whether this one
/// lives speaks for itself, and forwards nobody.
pub(crate) async fn client_address(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    if ASKED_BY_MACHINES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match resolve(&doors.addresses, &parts) {
        Ok(ip) => {
            parts.extensions.insert(ip);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => Failure(error).into_response(),
    }
}

/// What machines ask that stand where no person does. They tell nothing.
pub(crate) const ASKED_BY_MACHINES: [&str; 2] = ["/healthz", "/readyz"];

/// Refuses an address that no organization lets in, before anything is read or looked up (R51). Whoever is known is held
/// to the rules of their own organization where they are told apart, by the API and by the console.
pub(crate) async fn ip_restrictions(
    State((doors, surface)): State<(Doors, Surface)>,
    request: Request,
    next: Next,
) -> Response {
    if ASKED_BY_MACHINES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let ctx = anonymous(&doors, &parts);
    match doors.control.require_address(&ctx, surface).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => Failure(error).into_response(),
    }
}

/// Refuses a key in the query string, good or not: addresses are written into logs and histories (OWASP ASVS 5.0, 14.2.1).
async fn no_key_in_the_address(request: Request, next: Next) -> Response {
    if request.uri().query().is_some_and(keys::stands_in_query) {
        let message = "A key in an address ends up in logs. Send it as `Authorization: Bearer …`, and put another in place \
                       of this one.";
        return Failure(Error::new(ErrorKind::Malformed, "key_in_address", message)).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_ends_its_own_request_alone_in_an_answer() {
        async fn broken() -> &'static str {
            panic!("a defect")
        }
        let app = Router::new()
            .route("/broken", get(broken))
            .route("/fine", get(|| async { "fine" }))
            .layer(from_fn(|request: Request, next: Next| async { answer_of(request, next, "req_1").await }));
        for (path, status) in [("/broken", StatusCode::INTERNAL_SERVER_ERROR), ("/fine", StatusCode::OK)] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status, "{path}");
        }
    }
}
