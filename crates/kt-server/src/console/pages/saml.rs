//! What a SAML provider and a browser that comes from it ask for: our metadata, the place where responses are posted, the
//! way on from there, and logout.
//!
//! Responses and requests to log out are posted from the provider's site. The guard of the pages would refuse them as it
//! should; so they stand outside it. Nothing is lost by that: a response counts only together with the cookie of the browser
//! that asked for it, which is why that one is sent from other sites too (`SameSite=None`), and a request to log out only with
//! the provider's signature. Neither looks at a session.

use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use kt_control::{LogoutMessage, SamlAnswer};
use kt_domain::error::{Error, ErrorKind};
use serde::Deserialize;

use super::{Fields, sso};
use crate::Doors;
use crate::client::Visitor;
use crate::console::answer::{Answer, see};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::visit::Anybody;
use crate::failure::Failure;

/// The largest form of a provider that is read, in bytes: a message of 128 KiB in Base64 and percent signs.
pub(crate) const MAX_FORM: usize = 256 * 1024;

/// `GET /sso/saml/{organization}/metadata`: what we publish for the provider of an organization.
pub(crate) async fn metadata(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Path(organization): Path<String>,
) -> Answer {
    let document = doors.control.saml_metadata(&ctx, &organization).await?;
    // SAML metadata, appendix A.
    let content_type = HeaderValue::from_static("application/samlmetadata+xml");
    Ok(([(header::CONTENT_TYPE, content_type)], document).into_response())
}

/// What the provider has the browser post: it may hold more.
#[derive(Deserialize)]
pub(crate) struct Posted {
    #[serde(rename = "SAMLResponse")]
    response: String,
    #[serde(rename = "RelayState", default)]
    relay_state: String,
}

/// `POST /sso/saml/{organization}/acs`: verifies a response, and leads the browser on to [`arrive`].
pub(crate) async fn land(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Path(organization): Path<String>,
    headers: HeaderMap,
    Fields(posted): Fields<Posted>,
) -> Answer {
    let answer = SamlAnswer {
        organization: &organization,
        relay_state: &posted.relay_state,
        response: &posted.response,
        browser: Cookies::of(&doors).read(&headers, Cookie::Sso),
    };
    match doors.control.land_saml(&ctx, answer).await {
        Ok(ticket) => Ok(see(&format!("/sso/saml/arrive?ticket={}", ticket.expose()))),
        Err(error) => not_let_in(error),
    }
}

/// What the address of the next step says.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Ticket {
    ticket: String,
}

/// `GET /sso/saml/arrive`: somebody goes on whose response was verified, now with all cookies of this console.
pub(crate) async fn arrive(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
    Query(Ticket { ticket }): Query<Ticket>,
) -> Answer {
    let browser = Cookies::of(&doors).read(&headers, Cookie::Sso);
    let came = doors.control.receive_saml(&visit.ctx, &ticket, browser).await;
    sso::arrive(&doors, &visit, came).await
}

fn not_let_in(error: Error) -> Answer {
    if error.kind != ErrorKind::Unauthenticated {
        return Err(error.into());
    }
    Ok(see("/login?reason=sso_refused"))
}

/// A request to log out that the provider has the browser post.
#[derive(Deserialize)]
pub(crate) struct PostedLogout {
    #[serde(rename = "SAMLRequest")]
    request: String,
    #[serde(rename = "RelayState")]
    relay_state: Option<String>,
}

/// `GET /sso/saml/{organization}/logout`: a request to log out, by redirect.
pub(crate) async fn log_out_by_redirect(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Path(organization): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let ended = doors.control.end_sessions_by_saml(&ctx, &organization, LogoutMessage::Query(&query)).await;
    answer_logout(ended)
}

/// `POST /sso/saml/{organization}/logout`: the same, by form.
pub(crate) async fn log_out_by_form(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Path(organization): Path<String>,
    Fields(posted): Fields<PostedLogout>,
) -> Answer {
    let message =
        LogoutMessage::Form { request: &posted.request, relay_state: posted.relay_state.as_deref() };
    let ended = doors.control.end_sessions_by_saml(&ctx, &organization, message).await;
    answer_logout(ended)
}

/// Takes the answer to the provider, or the person to where they can sign in again.
fn answer_logout(ended: Result<Option<url::Url>, Error>) -> Result<Response, Failure> {
    let to = ended?;
    Ok(see(to.as_ref().map_or("/login", url::Url::as_str)))
}
