//! What every request of the console passes before its handler, in this order: it is named and gets a look, its answer
//! gets the headers of a browser's defences, it must be meant for this host, come from an address that is let in, and,
//! where it would change something, from a page of this console.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use kt_control::Cookie as Held;
use kt_domain::csrf;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::media_type;
use kt_domain::network::console_rules::Surface;
use kt_domain::return_to::ReturnTo;
use serde_json::Value;
use url::Position;

use super::answer;
use super::cookies::{Cookie, Cookies};
use super::look::Look;
use super::messages::Language;
use super::own_host::OwnOrigin;
use super::visit::{CURRENT_PAGE, HOLDER, PARTIAL, REDIRECT, Visit};
use crate::Doors;
use crate::client::anonymous;
use crate::failure::{self, ErrorContent, Failure};
use crate::refusals::{self, Asked};
use crate::{hosts, layers};

/// The largest form, in bytes: a list of address ranges is the largest thing that people paste.
const MAX_FORM: usize = 1024 * 1024;

/// Puts the guard around pages that people ask for.
pub(super) fn around_pages(pages: Router<Doors>, doors: &Doors) -> Router<Doors> {
    pages.layer(from_fn_with_state(doors.clone(), visit))
}

/// Puts around everything what every answer of the console needs, in one layer as at the API.
pub(super) fn around(routes: Router<Doors>, doors: &Doors) -> Router<Doors> {
    routes.layer(from_fn_with_state(doors.clone(), present))
}

/// Names the request, gives it a look, and its answer the headers of a browser's defences. A failure becomes a page for
/// whoever asks for pages; for the script and for programs, the same JSON as at the API.
async fn present(State(doors): State<Doors>, mut request: Request, next: Next) -> Response {
    let id = layers::name_request(&doors, &mut request);
    let look = Look::of(&doors, request.headers());
    let is_partial = is_partial(request.headers());
    let wants_page =
        !is_partial && names_pages(request.headers()) && !request.uri().path().starts_with("/api/");
    request.extensions_mut().insert(look.clone());
    let mut response = layers::answer_of(admitted(&doors, request, next), &id).await;
    if let Some(content) = failure::take(&mut response) {
        let content = in_language(content, look.language);
        response.headers_mut().remove(header::WWW_AUTHENTICATE);
        response = if wants_page {
            answer::problem_page(response, &content, &look, &id)
        } else {
            failure::write_content(response, content, &id)
        };
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept, HX-Request"));
    }
    if !is_partial {
        lead_on(&mut response);
    }
    defend(response.headers_mut(), &doors, &look);
    layers::named(response, &id)
}

/// The failure as people are told it: its sentence, and those of its parts.
fn in_language(mut content: ErrorContent, language: Language) -> ErrorContent {
    content.message = language.said(&content.message).into_owned();
    let parts = content.details.get_mut("violations").and_then(Value::as_array_mut).into_iter().flatten();
    for part in parts {
        if let Some(message) = part.get("message").and_then(Value::as_str).map(|text| language.said(text)) {
            part["message"] = message.into();
        }
    }
    content
}

/// Whether the pages' script asks, and not the browser itself.
fn is_partial(headers: &HeaderMap) -> bool {
    headers.contains_key(PARTIAL)
}

/// Whether pages can be shown where the answer goes. Browsers name them whenever they go to an address.
fn names_pages(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::ACCEPT).iter();
    lines.any(|ranges| media_type::is_among(ranges.as_bytes(), "text/html"))
}

/// Leads on whoever knows nothing of the pages' script and its headers, as HTTP does it.
fn lead_on(response: &mut Response) {
    if response.status().is_success()
        && let Some(place) = response.headers_mut().remove(REDIRECT)
    {
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().insert(header::LOCATION, place);
    }
}

/// STANDARDS: OWASP ASVS 5.0, 3.4. Script runs only from files that carry the answer's nonce; no other origin is asked for
/// anything; no page may be framed.
fn defend(headers: &mut HeaderMap, doors: &Doors, look: &Look) {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{}' 'strict-dynamic'; style-src 'self'; img-src 'self' data:; \
         font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'; trusted-types default; \
         report-uri /csp-report",
        look.nonce
    );
    let fixed: [(HeaderName, &'static str); 7] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (layers::OWN_ORIGIN_ALONE, "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=(), \
             publickey-credentials-get=(self), publickey-credentials-create=(self)",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    layers::stay_with_https(doors, headers);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The answer to a request that may reach its page, or why it may not.
async fn admitted(doors: &Doors, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(doors, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => Failure(error).into_response(),
    }
}

/// Refuses a request for another host: no link, cookie or origin of this console belongs to it (ATTACKS I52). A page is
/// told where the console is. Then refuses one from an address that may not reach it.
async fn admit(doors: &Doors, parts: &mut Parts) -> Result<(), Error> {
    hosts::require_one_name(&parts.headers)?;
    let is_asked_by_machine = layers::is_asked_by_machine(parts);
    if let Some(own) = OwnOrigin::of(doors, parts) {
        parts.extensions.insert(own);
    } else if !is_asked_by_machine {
        let message = format!("The console is at {}. Open it there.", doors.console.url());
        return Err(Error::new(ErrorKind::Misdirected, "unknown_host", message));
    }
    if is_asked_by_machine { Ok(()) } else { layers::require_address(doors, parts, Surface::Console).await }
}

/// Finds out who asks, and so how much is read of them, and refuses a change that no page of this console asks for.
async fn visit(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let cookies = Cookies::of(&doors);
    let mut ctx = anonymous(&doors, &parts);
    let held = cookies.read(&parts.headers, Cookie::Session).map(str::to_owned);
    let session = match session_of(&doors, &mut ctx, held.as_deref()).await {
        Ok(session) => session,
        Err(error) => return refused(error),
    };
    if let Err(error) = require_same_holder(session.as_ref(), &parts.headers) {
        return refused(error);
    }
    let visitor = cookies.read(&parts.headers, Cookie::Visit).map(str::to_owned);
    let is_new_visitor = session.is_none() && visitor.is_none();
    let cookie: Arc<str> = match (&session, held, visitor) {
        (Some(_), Some(held), _) => held.into(),
        (_, _, Some(visitor)) => visitor.into(),
        _ => doors.control.draw(kt_domain::secret::Token::generate).expose().into(),
    };
    let has_timed_out = session.is_none() && cookies.read(&parts.headers, Cookie::Session).is_some();
    let flash = cookies.read(&parts.headers, Cookie::Flash).and_then(answer::read_flash);
    let is_told = flash.is_some();
    let look = parts.extensions.get::<Look>().cloned().unwrap_or_else(|| Look::of(&doors, &parts.headers));
    let mut visit = Visit {
        look,
        has_timed_out,
        asked: parts.uri.path_and_query().map_or("/", |asked| asked.as_str()).into(),
        is_partial: is_partial(&parts.headers),
        page: page_of(&parts),
        flash,
        cookie: Arc::clone(&cookie),
        control: Arc::clone(&doors.control),
        session,
        ctx,
    };
    let is_change = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let asked = Asked::of(&parts.method, parts.extensions.get());
    if is_change && let Err(error) = require_own_page(&doors, &visit, &parts).await {
        refusals::record(&doors, &visit.ctx, &asked, error.code).await;
        return refused(error);
    }
    if is_change || is_gone_to(&parts.headers) {
        visit = match note_activity(&doors, visit).await {
            Ok(visit) => visit,
            Err(error) => return refused(error),
        };
    }
    parts.extensions.insert(visit.clone());
    let mut request = Request::from_parts(parts, body);
    let most = if visit.session.is_some() { MAX_FORM } else { layers::MAX_BODY_OF_STRANGERS };
    DefaultBodyLimit::max(most).apply(&mut request);
    let mut response = next.run(request).await;
    if let Some(rule) = refusals::rule_of(&response) {
        refusals::record(&doors, &visit.ctx, &asked, rule).await;
    }
    answer::keep_frame(&mut response, &visit);
    let headers = response.headers_mut();
    let sets_session = headers.get_all(header::SET_COOKIE).iter().any(|line| names(line, "kt_session="));
    if is_new_visitor && !sets_session {
        cookies.set(headers, Cookie::Visit, &cookie);
    }
    if is_told && !is_change {
        cookies.clear(headers, Cookie::Flash);
    }
    if is_change
        && !headers.contains_key(csrf::HEADER)
        && !sets_session
        && let Ok(token) = HeaderValue::from_str(&visit.csrf_token())
    {
        headers.insert(csrf::HEADER, token);
    }
    vary(headers);
    response
}

/// The page that somebody has before them: the one that they go to, or the one whose script asks.
fn page_of(parts: &Parts) -> Option<ReturnTo> {
    if !is_partial(&parts.headers) {
        let asked = parts.uri.path_and_query().filter(|_| parts.method == Method::GET)?;
        return ReturnTo::parse(asked.as_str());
    }
    let own = OwnOrigin::found(parts)?;
    let address = parts.headers.get(CURRENT_PAGE)?.to_str().ok().filter(|address| own.holds(address))?;
    let page = url::Url::parse(address).ok()?;
    ReturnTo::parse(&page[Position::BeforePath..Position::AfterQuery])
}

/// A refusal that another request to the same address might not get.
fn refused(error: Error) -> Response {
    let mut response = Failure(error).into_response();
    vary(response.headers_mut());
    response
}

/// Names what an answer goes by, for whoever keeps it (RFC 9110 section 12.5.5).
fn vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Cookie, Sec-Fetch-Site, Origin, HX-Request"));
}

fn names(line: &HeaderValue, name: &str) -> bool {
    line.to_str().is_ok_and(|line| line.trim_start_matches("__Host-").starts_with(name))
}

/// The session of a cookie, in whose name `ctx` is from then on; none where it is over.
async fn session_of(
    doors: &Doors,
    ctx: &mut Ctx,
    cookie: Option<&str>,
) -> Result<Option<kt_control::ConsoleSession>, Error> {
    let Some(cookie) = cookie else { return Ok(None) };
    match doors.control.console_session(Held(cookie), ctx.now).await {
        Ok(session) => {
            ctx.actor = session.actor();
            doors.control.require_address(ctx, Surface::Console).await?;
            Ok(Some(session))
        }
        Err(error) if error.kind == ErrorKind::Unauthenticated => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses what a page asks for that was made for another account or organization than those of the session now: what was
/// decided there is not meant for here, and what is here does not belong among what is shown there.
fn require_same_holder(
    session: Option<&kt_control::ConsoleSession>,
    headers: &HeaderMap,
) -> Result<(), Error> {
    let told = headers.get(HOLDER).map(HeaderValue::as_bytes).filter(|mark| !mark.is_empty());
    match (told, session) {
        (Some(mark), Some(session)) if mark != session.holder_mark().as_bytes() => {
            let message = "You are signed in as somebody else now. Reload the page.";
            Err(Error::new(ErrorKind::Conflict, "signed_in_as_another", message))
        }
        _ => Ok(()),
    }
}

/// A change must be asked for by a page of this console, which alone can read the token, and which the browser itself
/// names as the origin (OWASP CSRF Prevention: Fetch Metadata first, then `Origin`, then `Referer`). Who names none is
/// told of a missing token first, so that a program learns what a change takes.
async fn require_own_page(doors: &Doors, visit: &Visit, parts: &Parts) -> Result<(), Error> {
    let headers = &parts.headers;
    let is_own = comes_from_own_page(parts);
    if is_own == Some(false) {
        // A form that is sent without the page's script names no origin, as the console's pages refer nobody anywhere.
        let message = if headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin") {
            "The script of this page has not run, so nothing was changed. Load the page again, and let its script run."
        } else {
            "Another site has sent this, so nothing was changed. Use the pages of the console."
        };
        return Err(Error::new(ErrorKind::Forbidden, "cross_site_request", message));
    }
    let token = headers.get(csrf::HEADER).and_then(|token| token.to_str().ok());
    let cookie = Held(&visit.cookie);
    doors.control.require_csrf_token(&visit.ctx, cookie, visit.session.as_ref(), token).await?;
    is_own.map(drop).ok_or_else(|| {
        let message = "Nothing says which site has sent this, so nothing was changed. Send `Origin` with the address of this console.";
        Error::new(ErrorKind::Forbidden, "cross_site_request", message)
    })
}

/// Whether a page of this console has sent this; `None` where nothing says so.
fn comes_from_own_page(parts: &Parts) -> Option<bool> {
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_own = |address: &str| OwnOrigin::found(parts).is_some_and(|own| own.holds(address));
    let origin_fits = text("origin").map(is_own);
    match text("sec-fetch-site") {
        Some(site) => Some(site == "same-origin" && origin_fits != Some(false)),
        None => origin_fits.or_else(|| text("referer").map(is_own)),
    }
}

/// Whether a person has gone to this page by an act of theirs: a link, a bookmark, the address bar. A page that goes
/// somewhere by itself sends no `Sec-Fetch-User` (Fetch Metadata section 2.4). Nor do some browsers: there the page's script
/// reports what mouse and keyboard did.
fn is_gone_to(headers: &HeaderMap) -> bool {
    let is = |name: &str, expected: &str| headers.get(name).is_some_and(|value| value == expected);
    is("sec-fetch-mode", "navigate") && is("sec-fetch-user", "?1")
}

/// A page that was gone to and a change that was asked for are acts of the person; what a page fetches by itself is
/// none (R17, SPEC section 8). The visit afterwards knows until when its session lasts now.
async fn note_activity(doors: &Doors, visit: Visit) -> Result<Visit, Error> {
    let Some(session) = &visit.session else { return Ok(visit) };
    if !doors.control.note_console_activity(&visit.ctx, session).await? {
        return Ok(visit);
    }
    let session = doors.control.console_session(Held(&visit.cookie), visit.ctx.now).await?;
    Ok(Visit { session: Some(session), ..visit })
}
