//! One request of the console: who makes it, and what its answer needs.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use kt_control::{ConsoleSession, Control, Cookie};
use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::return_to::ReturnTo;

use super::look::Look;
use crate::Doors;
use crate::failure::Failure;

/// The header by which the pages' script says that it asks for a part of a page.
pub(crate) const PARTIAL: HeaderName = HeaderName::from_static("hx-request");

/// The header by which the pages' script says on which page it runs.
pub(crate) const CURRENT_PAGE: HeaderName = HeaderName::from_static("hx-current-url");

/// The header by which the pages' script says whose page it runs on.
pub(crate) const HOLDER: HeaderName = HeaderName::from_static("x-keeptrusts-holder");

/// Where the pages' script is to lead the browser.
pub(crate) const REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// One request of the console.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) ctx: Ctx,
    pub(crate) look: Look,
    /// The session, where somebody is signed in.
    pub(crate) session: Option<ConsoleSession>,
    /// Whether the browser holds a session that is over.
    pub(crate) has_timed_out: bool,
    /// Path and query that were asked for.
    pub(crate) asked: Arc<str>,
    /// Whether the script asks.
    pub(crate) is_partial: bool,
    /// The page that somebody has before them, if it may be come back to.
    pub(crate) page: Option<ReturnTo>,
    /// What this page is to say besides, once.
    pub(crate) flash: Option<String>,
    /// What form tokens are bound to: the session's cookie, or the visit's.
    pub(crate) cookie: Arc<str>,
    pub(crate) control: Arc<Control>,
}

impl Visit {
    /// A form token for the next change.
    pub(crate) fn csrf_token(&self) -> String {
        self.control.new_csrf_token(Cookie(&self.cookie))
    }

    /// Whether whoever is signed in may do this.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.ctx.actor.may(permission)
    }

    /// Leads to the sign-in page, and from there back to the page that somebody has before them.
    fn to_sign_in(&self) -> Response {
        let reason = self.has_timed_out.then_some("timeout");
        let place = self.page.as_ref().map_or_else(|| "/login".to_owned(), |page| page.sign_in(reason));
        let place = HeaderValue::from_str(&place).unwrap_or(HeaderValue::from_static("/login"));
        if self.is_partial {
            let message = "You are not signed in, or your session is over. Sign in.";
            let mut answer =
                Failure(Error::new(ErrorKind::Unauthenticated, "signed_out", message)).into_response();
            answer.headers_mut().insert(REDIRECT, place);
            return answer;
        }
        (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
    }
}

/// A request of anybody, signed in or not.
pub(crate) struct Anybody(pub(crate) Visit);

impl FromRequestParts<Doors> for Anybody {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Doors) -> Result<Self, Failure> {
        let visit = parts.extensions.get::<Visit>().cloned();
        visit.map(Self).ok_or_else(|| Failure(Error::internal("a route outside the console's guard")))
    }
}

/// A request of somebody signed in. Everybody else is led to the sign-in page.
pub(crate) struct SignedIn {
    pub(crate) visit: Visit,
    pub(crate) session: ConsoleSession,
}

impl FromRequestParts<Doors> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Response> {
        let Anybody(visit) =
            Anybody::from_request_parts(parts, doors).await.map_err(IntoResponse::into_response)?;
        match visit.session.clone() {
            Some(session) => Ok(Self { visit, session }),
            None => Err(visit.to_sign_in()),
        }
    }
}
