//! What a web page may not send behind its reader's back, without a key that no other page has.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, header};

use crate::http1::head::Head;
use crate::reply::Refusal;
use crate::stages::content;
use crate::stages::cors::CorsRules;

/// Where a page comes from, as its browser says it of a request to an origin that it trusts (Fetch Metadata). Its sister
/// `Sec-Fetch-Mode` says nothing: Node sends that as well.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses content of a page that its browser sent without asking first: what is not declared JSON must come with a key.
pub(crate) fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    if !comes_unasked(headers) || !is_of_page(headers) {
        return Ok(());
    }
    let message = "A page may send this without a key only as JSON, with `Content-Type: application/json`.";
    Err(Refusal::invalid(415, "unsupported_media_type", message))
}

/// Refuses an upload, or a request without content, that a page of another site sends behind its reader's back. Nobody but
/// their browser tells them from those that somebody meant, by `Origin` and Fetch Metadata.
pub(crate) fn check_site(headers: &HeaderMap, cors: Option<&CorsRules>) -> Result<(), Refusal> {
    let is_of_own_site = match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        Some(site) => site == b"same-origin" || site == b"none",
        None => !headers.contains_key(header::ORIGIN),
    };
    if is_of_own_site || !comes_unasked(headers) || cors.is_some_and(|cors| cors.allows(headers)) {
        return Ok(());
    }
    let message = "A page of another site may not send this without a key. Send one, or have the gateway's administrator \
                   list the page's origin in `cors.allow_origins`.";
    Err(Refusal::permission(403, "cross_site_request", message))
}

/// Whether a page may have sent this, wherever it comes from.
///
/// Browsers name the origin of every request that is more than a reading. Of a reading they need not say anything that a
/// page cannot keep back, but for the encodings that they take (Fetch standard, "forbidden request-header").
pub(crate) fn may_have_sent(head: &Head) -> bool {
    let only_reads = head.method == Method::GET || head.method == Method::HEAD;
    is_of_page(&head.headers) || (only_reads && head.headers.contains_key(header::ACCEPT_ENCODING))
}

/// Whether a browser says that a page sent this.
fn is_of_page(headers: &HeaderMap) -> bool {
    [header::ORIGIN, SEC_FETCH_SITE, header::REFERER].iter().any(|name| headers.contains_key(name))
}

/// Whether a page could send this without its browser asking first (Fetch standard, "CORS-safelisted request-header").
fn comes_unasked(headers: &HeaderMap) -> bool {
    !content::is_declared_json(headers)
        && !headers.contains_key(header::AUTHORIZATION)
        && !headers.contains_key("x-api-key")
}
