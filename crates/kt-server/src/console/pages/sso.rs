//! `/login/sso`: the way to an organization's identity provider; `/sso/…`: the way back.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use kt_control::{Departure, OidcAnswer, SsoJourney, SsoOutcome, TestReport};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::return_to::ReturnTo;
use serde::Deserialize;
use serde_json::Value;

use super::{Fields, sign_in};
use crate::Doors;
use crate::client::anonymous;
use crate::console::answer::{Answer, Frame, leave_for, page, see, see_and_say};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::filters;
use crate::console::visit::{Anybody, REDIRECT, SignedIn, Visit};
use crate::failure::note_written;

/// What the address of the page says.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    organization: String,
    #[serde(rename = "returnTo")]
    return_to: String,
}

#[derive(Template)]
#[template(path = "pages/login-sso.html")]
struct SsoPage {
    frame: Frame,
    organization: String,
    return_to: Option<ReturnTo>,
}

/// The form that asks for the organization's identifier (R202); there is none where no protocol is offered.
pub(crate) async fn show(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Query(asked): Query<Asked>,
) -> Answer {
    doors.control.require_single_sign_on()?;
    let return_to = ReturnTo::parse(&asked.return_to);
    if visit.session.is_some() {
        return Ok(see(return_to.as_ref().map_or("/overview", ReturnTo::as_str)));
    }
    let organization = asked.organization.chars().take(63).collect();
    page(&visit.look, &SsoPage { frame: Frame::of(&visit), organization, return_to })
}

/// Which organization.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    organization: String,
    #[serde(rename = "returnTo", default)]
    return_to: String,
}

/// Leads to the organization's provider (R203).
pub(crate) async fn begin(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
    Fields(wanted): Fields<Wanted>,
) -> Answer {
    let return_to = ReturnTo::parse(&wanted.return_to);
    let journey = journey(&doors, &headers, return_to.as_ref());
    let identifier = wanted.organization.trim().to_lowercase();
    Ok(depart(&doors, &doors.control.begin_sso(&visit.ctx, &identifier, journey).await?))
}

/// Where to go on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoingOn {
    #[serde(rename = "returnTo", default)]
    return_to: String,
}

/// Leads to Google.
pub(crate) async fn begin_google(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
    Fields(wanted): Fields<GoingOn>,
) -> Answer {
    let return_to = ReturnTo::parse(&wanted.return_to);
    let journey = journey(&doors, &headers, return_to.as_ref());
    Ok(depart(&doors, &doors.control.begin_google(&visit.ctx, journey).await?))
}

/// `POST /api/session/reauthenticate/provider`: leads to the provider that the session came through, which asks again who its
/// holder is.
pub(crate) async fn begin_proof(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    headers: HeaderMap,
    Fields(wanted): Fields<GoingOn>,
) -> Answer {
    let return_to = ReturnTo::parse(&wanted.return_to);
    let journey = journey(&doors, &headers, return_to.as_ref());
    Ok(depart(&doors, &doors.control.begin_sso_reauthentication(&visit.ctx, journey).await?))
}

fn journey<'a>(doors: &Doors, headers: &'a HeaderMap, return_to: Option<&'a ReturnTo>) -> SsoJourney<'a> {
    let cookies = Cookies::of(doors);
    SsoJourney {
        return_to,
        device: cookies.read(headers, Cookie::Device).map(str::to_owned),
        browser: cookies.read(headers, Cookie::Sso),
    }
}

/// Leads the browser to a provider, with what it has to keep until it comes back.
pub(crate) fn depart(doors: &Doors, departure: &Departure) -> Response {
    let mut response = leave_for(departure.to.as_str());
    Cookies::of(doors).set(response.headers_mut(), Cookie::Sso, &departure.browser);
    response
}

/// What a provider's answer carries in the address.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Brought {
    state: String,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// `GET /sso/oidc/{organization}/callback` (R204).
pub(crate) async fn come_back(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Path(organization): Path<String>,
    Query(brought): Query<Brought>,
    headers: HeaderMap,
) -> Answer {
    receive(&doors, &visit, &headers, Some(&organization), &brought).await
}

/// `GET /sso/google/callback`.
pub(crate) async fn come_back_from_google(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Query(brought): Query<Brought>,
    headers: HeaderMap,
) -> Answer {
    receive(&doors, &visit, &headers, None, &brought).await
}

async fn receive(
    doors: &Doors,
    visit: &Visit,
    headers: &HeaderMap,
    organization: Option<&str>,
    brought: &Brought,
) -> Answer {
    let answer = OidcAnswer {
        organization,
        state: &brought.state,
        code: brought.code.as_deref(),
        issuer: brought.iss.as_deref(),
        error: brought.error.as_deref(),
        error_description: brought.error_description.as_deref(),
        browser: Cookies::of(doors).read(headers, Cookie::Sso),
    };
    arrive(doors, visit, doors.control.receive_oidc(&visit.ctx, answer).await).await
}

#[derive(Template)]
#[template(path = "pages/sso-test.html")]
struct TestPage {
    frame: Frame,
    report: TestReport,
    /// What the provider sent, part by part, as people read it.
    sent: Vec<(String, String)>,
}

impl TestPage {
    fn works(&self) -> bool {
        self.report.steps.iter().all(|step| step.passed)
    }
}

/// Somebody has come back from a provider, whatever it speaks: where they go on. Whoever is not let in is led to the sign-in
/// page, which says so.
pub(crate) async fn arrive(doors: &Doors, visit: &Visit, came: Result<SsoOutcome, Error>) -> Answer {
    let outcome = match came {
        Ok(outcome) => outcome,
        Err(error) if error.kind == ErrorKind::Unauthenticated => {
            return Ok(see("/login?reason=sso_refused"));
        }
        Err(error) => return Err(error.into()),
    };
    match outcome {
        SsoOutcome::SignIn(arrival) => {
            let response = sign_in::next(doors, arrival.outcome, arrival.return_to.as_ref())?;
            Ok(by_navigation(response))
        }
        SsoOutcome::Reauthenticated { return_to } => {
            let cookie = doors.control.renew_console_cookie(&visit.ctx).await?;
            let place = return_to.as_ref().map_or("/settings/profile", ReturnTo::as_str);
            let said = visit.look.language.text("It is confirmed that it is you. Repeat what you did.");
            let mut response = see_and_say(doors, place, said);
            Cookies::of(doors).set(response.headers_mut(), Cookie::Session, cookie.expose());
            Ok(response)
        }
        SsoOutcome::Tested(report) => tested(visit, report),
    }
}

/// What trying out a provider has shown.
pub(crate) fn tested(visit: &Visit, report: TestReport) -> Answer {
    let sent = report.sent.iter().map(|(part, content)| (part.clone(), as_read(content))).collect();
    page(&visit.look, &TestPage { frame: Frame::of(visit), report, sent })
}

/// A text as it is, and anything else as people read JSON.
fn as_read(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

/// The same answer for a browser that has come by itself, and not for the pages' script.
fn by_navigation(mut response: Response) -> Response {
    if let Some(place) = response.headers_mut().remove(REDIRECT) {
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// What a provider sends when it ends sessions.
#[derive(Deserialize)]
pub(crate) struct LogoutToken {
    logout_token: String,
}

/// `POST /sso/oidc/{organization}/logout`: 200 or 400, and nothing else is told (OpenID Connect Back-Channel Logout 1.0
/// section 2.8).
pub(crate) async fn log_out(
    State(doors): State<Doors>,
    Path(organization): Path<String>,
    request: axum::extract::Request,
) -> Response {
    use axum::extract::FromRequest;
    let (parts, body) = request.into_parts();
    let ctx = anonymous(&doors, &parts);
    let request = axum::extract::Request::from_parts(parts, body);
    let status = match Form::<LogoutToken>::from_request(request, &()).await {
        Ok(Form(LogoutToken { logout_token })) => {
            let ended = doors.control.end_sessions_by_logout_token(&ctx, &organization, &logout_token).await;
            match ended {
                Ok(()) => StatusCode::OK,
                Err(error) => {
                    // A token that was refused is recorded and logged already; a failure of ours is told here alone.
                    if error.kind != ErrorKind::Malformed {
                        tracing::error!(%error, "a logout token could not be judged");
                    }
                    StatusCode::BAD_REQUEST
                }
            }
        }
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let mut response = (status, [(CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response();
    note_written(&mut response);
    response
}
