//! What every request passes before its handler, in this order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::RequestId as Id;
use kt_domain::keys;
use kt_domain::network::console_rules::Surface;
use tracing::Instrument;

use crate::allowance::AllowanceNote;
use crate::client::{anonymous, resolve};
use crate::failure::{Failure, write_failure};
use crate::refusals::{Asked, CallerNote};
use crate::{Doors, Hosts, hosts, idempotency, refusals};

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

/// Puts around the routes what every request passes. It is one layer: each one of several would copy, for every request, all
/// that stand behind it.
pub(crate) fn around(routes: Router<Doors>, doors: &Doors, hosts: Hosts) -> Router<Doors> {
    routes.layer(from_fn_with_state((doors.clone(), Arc::new(hosts)), pass))
}

/// Names the request, in its answer too, and tells browsers what they may do with that.
async fn pass(
    State((doors, hosts)): State<(Doors, Arc<Hosts>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = name_request(&doors, &mut request);
    let answer = answer_of(admitted(&doors, &hosts, request, next), &id).await;
    let mut response = named(write_failure(answer, &id), &id);
    defend(response.headers_mut(), &doors);
    response
}

/// The answer to a request that may reach its handler, or why it may not.
async fn admitted(doors: &Doors, hosts: &Hosts, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(doors, hosts, &mut parts).await {
        Ok(()) => handled(doors, Request::from_parts(parts, body), next).await,
        Err(error) => Failure(error).into_response(),
    }
}

/// Refuses a request before anything of it is read. Machines that ask how this one is use whatever they know it by.
async fn admit(doors: &Doors, hosts: &Hosts, parts: &mut Parts) -> Result<(), Error> {
    hosts::require_one_name(&parts.headers)?;
    if !is_asked_by_machine(parts) {
        hosts.require(parts)?;
        require_address(doors, parts, Surface::Api).await?;
    }
    require_no_key_in_address(parts)
}

/// What the handler answers, with what is left of the uses of the key; a refusal that is worth it is recorded.
async fn handled(doors: &Doors, mut request: Request, next: Next) -> Response {
    let asked = Asked::of(request.method(), request.extensions().get());
    let (caller, allowance) = (CallerNote::default(), AllowanceNote::default());
    request.extensions_mut().insert(caller.clone());
    request.extensions_mut().insert(allowance.clone());
    DefaultBodyLimit::max(MAX_BODY).apply(&mut request);
    let mut response = idempotency::once(doors, request, next).await;
    if let Some((ctx, rule)) = caller.read().zip(refusals::rule_of(&response)) {
        // Few requests get here: the others carry no room for it.
        Box::pin(refusals::record(doors, ctx, &asked, rule)).await;
    }
    allowance.tell(response.headers_mut());
    response
}

/// What comes of a request. All that is logged on the way names it, and a defect ends this request alone, in an answer.
pub(crate) fn answer_of(answer: impl Future<Output = Response>, id: &str) -> impl Future<Output = Response> {
    let outcome = AssertUnwindSafe(answer).catch_unwind();
    let answer = outcome.map(|outcome| {
        outcome.unwrap_or_else(|_| {
            let error = Error::internal("a handler panicked; the message is on standard error");
            Failure(error).into_response()
        })
    });
    answer.instrument(tracing::info_span!("request", id))
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
fn defend(headers: &mut HeaderMap, doors: &Doors) {
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OWN_ORIGIN_ALONE, HeaderValue::from_static("same-origin"));
    stay_with_https(doors, headers);
}

/// Tells the client's address, once, for rules, limits and records alike, and refuses one that no organization lets in, before
/// anything is read or looked up (R51). Whoever is known is held to the rules of their own organization where they are told
/// apart, by the API and by the console.
pub(crate) async fn require_address(doors: &Doors, parts: &mut Parts, surface: Surface) -> Result<(), Error> {
    let ip = resolve(&doors.addresses, parts)?;
    parts.extensions.insert(ip);
    doors.control.require_address(&anonymous(doors, parts), surface).await
}

/// What machines ask that stand where no person does. They tell nothing.
pub(crate) const ASKED_BY_MACHINES: [&str; 2] = ["/healthz", "/readyz"];

/// The machine in front that looks whether this one lives speaks for itself, and forwards nobody.
pub(crate) fn is_asked_by_machine(parts: &Parts) -> bool {
    ASKED_BY_MACHINES.contains(&parts.uri.path())
}

/// Refuses a key in the query string, good or not: addresses are written into logs and histories (OWASP ASVS 5.0, 14.2.1).
fn require_no_key_in_address(parts: &Parts) -> Result<(), Error> {
    if parts.uri.query().is_some_and(keys::stands_in_query) {
        let message = "A key in an address ends up in logs. Send it as `Authorization: Bearer …`, and put another in place \
                       of this one.";
        return Err(Error::new(ErrorKind::Malformed, "key_in_address", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
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
            .layer(from_fn(|request: Request, next: Next| answer_of(next.run(request), "req_1")));
        for (path, status) in [("/broken", StatusCode::INTERNAL_SERVER_ERROR), ("/fine", StatusCode::OK)] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status, "{path}");
        }
    }
}
