//! The session itself: what the browser is told of it, its holder's activity, a fresh proof of who they are, its end.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use kt_control::passwords::Candidate;
use kt_control::{Cookie as Held, PasskeyAnswer, Reproof};
use kt_domain::actor::Role;
use kt_domain::csrf;
use kt_domain::error::Error;
use kt_domain::return_to::ReturnTo;
use serde::{Deserialize, Serialize};

use super::Fields;
use crate::Doors;
use crate::console::answer::{Answer, leave_for, see, see_and_say};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::look::Theme;
use crate::console::messages::Language;
use crate::console::visit::{Anybody, SignedIn};

/// `/`: leads somebody signed in to where they begin and says in which organization that is (R233), and anybody else to
/// the way in.
pub(crate) async fn home(State(doors): State<Doors>, Anybody(visit): Anybody) -> Answer {
    if let Some(session) = &visit.session {
        let person = &session.person;
        let landing = doors.control.landing(&person.organization, &person.user, person.role).await?;
        let said = visit.look.language.text_with(arrival(person.role), &[&session.organization_name]);
        return Ok(see_and_say(&doors, landing, &said));
    }
    Ok(see(if doors.control.is_new().await? { "/setup" } else { "/login" }))
}

/// What is said to somebody who arrives.
fn arrival(role: Role) -> &'static str {
    match role {
        Role::Owner => "You are in {}, as an owner.",
        Role::Admin => "You are in {}, as an administrator.",
        Role::Auditor => "You are in {}, as an auditor.",
        Role::Member => "You are in {}, as a member.",
    }
}

/// What the browser is told of its session, and nothing else (R193).
#[derive(Serialize)]
pub(crate) struct SessionAnswer {
    authenticated: bool,
    csrf_token: String,
    /// When the session ends if its holder does nothing more (RFC 3339).
    expires_at: Option<String>,
}

/// `GET /api/session`.
pub(crate) async fn session(Anybody(visit): Anybody) -> Json<SessionAnswer> {
    let ends_at = visit.session.as_ref().map(|session| session.ends_at.to_string());
    Json(SessionAnswer {
        authenticated: visit.session.is_some(),
        csrf_token: visit.csrf_token(),
        expires_at: ends_at,
    })
}

/// Until when the session lasts.
#[derive(Serialize)]
pub(crate) struct ActivityAnswer {
    expires_at: String,
}

/// `POST /api/session/activity`: mouse or keyboard were used. That it came in is what counts; the guard has noted it.
pub(crate) async fn activity(State(doors): State<Doors>, session: SignedIn) -> Result<Response, Response> {
    let renewed = doors.control.console_session(Held(&session.visit.cookie), session.visit.ctx.now).await;
    let renewed = renewed.map_err(|error| crate::failure::Failure(error).into_response())?;
    Ok(Json(ActivityAnswer { expires_at: renewed.ends_at.to_string() }).into_response())
}

/// A fresh proof of who somebody is: one of the four.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Proof {
    password: String,
    code: String,
    recovery_code: String,
    flow_token: String,
    credential: String,
}

/// `POST /api/session/reauthenticate`. The session has another cookie from then on.
pub(crate) async fn reauthenticate(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(proof): Fields<Proof>,
) -> Answer {
    let passkey = serde_json::from_str(&proof.credential).ok();
    let passkey = passkey.map(|credential| PasskeyAnswer { flow_token: proof.flow_token, credential });
    let reproof = match &passkey {
        Some(answer) => Reproof::Passkey(answer),
        None if !proof.code.is_empty() => Reproof::Totp(&proof.code),
        None if !proof.recovery_code.is_empty() => Reproof::RecoveryCode(&proof.recovery_code),
        None => Reproof::Password(&proof.password),
    };
    doors.control.reauthenticate(&visit.ctx, reproof).await?;
    let cookie = doors.control.renew_console_cookie(&visit.ctx).await?;
    let token = doors.control.new_csrf_token(Held(cookie.expose()));
    let mut response = Json(serde_json::json!({ "csrf_token": token })).into_response();
    Cookies::of(&doors).set(response.headers_mut(), Cookie::Session, cookie.expose());
    if let Ok(token) = HeaderValue::from_str(&token) {
        response.headers_mut().insert(csrf::HEADER, token);
    }
    Ok(response)
}

/// `POST /logout`. The browser forgets everything it has of this console.
pub(crate) async fn sign_out(State(doors): State<Doors>, SignedIn { visit, session }: SignedIn) -> Answer {
    doors.control.sign_out(&visit.ctx).await?;
    // Who is known to a provider still comes back by one click.
    let place = if session.federated { "/login?reason=signed_out_here" } else { "/login" };
    let mut response = leave_for(place);
    Cookies::of(&doors).clear(response.headers_mut(), Cookie::Session);
    // Not the cookies: one of them keeps strangers from locking this device out.
    let cleared = HeaderValue::from_static("\"cache\", \"storage\"");
    response.headers_mut().insert(HeaderName::from_static("clear-site-data"), cleared);
    Ok(response)
}

/// What somebody prefers; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preferences {
    language: Option<String>,
    theme: Option<String>,
    back: Option<String>,
}

/// `POST /preferences`: language and colours, kept in this browser.
pub(crate) async fn prefer(
    State(doors): State<Doors>,
    Anybody(_): Anybody,
    Fields(preferences): Fields<Preferences>,
) -> Answer {
    let back = preferences.back.as_deref().and_then(ReturnTo::parse);
    let mut response = leave_for(back.as_ref().map_or("/login", ReturnTo::as_str));
    let cookies = Cookies::of(&doors);
    if let Some(tag) = preferences.language {
        let language = Language::from_tag(&tag)
            .ok_or_else(|| Error::invalid("language", "Choose one of the languages offered."))?;
        cookies.set(response.headers_mut(), Cookie::Language, language.tag());
    }
    if let Some(theme) = preferences.theme {
        let theme: Theme =
            theme.parse().map_err(|_| Error::invalid("theme", "Choose system, light or dark."))?;
        cookies.set(response.headers_mut(), Cookie::Theme, theme.as_str());
    }
    Ok(response)
}

/// A password while it is typed, and what it must not contain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct Typed {
    password: String,
    name: String,
    email: String,
    organization: String,
    /// That of the link by which it is chosen, where there is one.
    token: String,
}

/// What a password is worth.
#[derive(Serialize)]
pub(crate) struct StrengthAnswer {
    /// From 0 to 4; 3 is strong enough.
    score: u8,
    /// What to do about it; empty when it will do.
    violations: Vec<String>,
}

/// `POST /api/password-strength`.
pub(crate) async fn password_strength(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
    Fields(typed): Fields<Typed>,
) -> Answer {
    let candidate = Candidate {
        password: &typed.password,
        name: &typed.name,
        email: &typed.email,
        organization: &typed.organization,
        link: &typed.token,
        flow: Cookies::of(&doors).read(&headers, Cookie::Flow).unwrap_or_default(),
    };
    let judgement = doors.control.judge_password(&visit.ctx, candidate).await?;
    let language = visit.look.language;
    let violations = judgement.violations.iter().map(|text| language.said(text).into_owned()).collect();
    Ok(Json(StrengthAnswer { score: judgement.score, violations }).into_response())
}
