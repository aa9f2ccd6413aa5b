//! `/login` and the steps that may follow a password: a replacement for it, and waiting for approval.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use kt_control::{Credentials, SignIn, SignInOutcome, SignedIn};
use kt_domain::error::Error;
use kt_domain::return_to::ReturnTo;
use kt_domain::sessions::Door;
use serde::Deserialize;

use super::Fields;
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_for, page, see};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::filters;
use crate::console::visit::Anybody;

/// Leads on to where somebody begins who has asked for no page.
pub(crate) const HOME: &str = "/";

/// What the address of the sign-in page says.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    #[serde(rename = "returnTo")]
    return_to: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "pages/login.html")]
struct LoginPage {
    frame: Frame,
    return_to: Option<ReturnTo>,
    note: Option<Note>,
    /// Whether this deployment lets organizations sign in through a provider of their own.
    offers_sso: bool,
    offers_google: bool,
}

/// Why somebody was led here.
struct Note {
    text: &'static str,
    /// Whether they have done something that is complete now.
    is_good: bool,
}

impl Note {
    fn of(reason: &str) -> Option<Self> {
        let good = |text| Some(Self { text, is_good: true });
        match reason {
            "timeout" => Some(Self {
                text: "Your session is over: nothing was done in it for too long, or it was ended. Sign in to go on.",
                is_good: false,
            }),
            "sso_refused" => Some(Self {
                text: "Signing in through your identity provider did not work. Try again; if it stays, ask an administrator \
                       of your organization.",
                is_good: false,
            }),
            "signed_out_here" => good(
                "You are signed out here. Your identity provider may still know you: on a computer that others use, sign out \
                 there as well.",
            ),
            "password_changed" => good("Your password was changed. Sign in with the new one."),
            "set_up" => good("Everything is set up. Sign in as the first owner."),
            "registered" => good("Your account is ready. Sign in; then you can add a second factor."),
            "verified" => good(
                "Your address is confirmed. Sign in with the password that you chose; then you can add a second factor.",
            ),
            "email_changed" => good("Your account has its new address now. Sign in with it."),
            "email_restored" => good(
                "Your account has its former address back. Choose another password, if the change was not yours.",
            ),
            _ => None,
        }
    }
}

/// The form.
pub(crate) async fn show(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Query(asked): Query<Asked>,
) -> Answer {
    let return_to = ReturnTo::parse(&asked.return_to);
    if visit.session.is_some() {
        return Ok(see(return_to.as_ref().map_or(HOME, ReturnTo::as_str)));
    }
    if doors.control.is_new().await? {
        return Ok(see("/setup"));
    }
    let template = LoginPage {
        frame: Frame::of(&visit),
        return_to,
        note: Note::of(&asked.reason),
        offers_sso: doors.control.offers_single_sign_on(),
        offers_google: doors.control.offers_google(),
    };
    page(&visit.look, &template)
}

/// An address and a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    email: String,
    password: String,
    #[serde(default)]
    organization: String,
    #[serde(rename = "returnTo", default)]
    return_to: String,
}

/// Signs in, or leads to the next step.
pub(crate) async fn sign_in(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: axum::http::HeaderMap,
    Fields(credential): Fields<Credential>,
) -> Answer {
    let device = Cookies::of(&doors).read(&headers, Cookie::Device).map(str::to_owned);
    let sign_in = SignIn {
        email: credential.email,
        password: credential.password,
        organization: Some(credential.organization).filter(|named| !named.is_empty()),
        device,
        door: Door::Console,
    };
    let outcome = doors.control.sign_in(&visit.ctx, sign_in).await?;
    next(&doors, outcome, ReturnTo::parse(&credential.return_to).as_ref())
}

/// The next step of a sign-in, whatever door it came through. What carries it on stays in a cookie that no script reads.
pub(crate) fn next(doors: &Doors, outcome: SignInOutcome, return_to: Option<&ReturnTo>) -> Answer {
    let lead_on = |path: &str, flow_token: &str| {
        let mut response = leave_for(&with_return(path, return_to));
        Cookies::of(doors).set(response.headers_mut(), Cookie::Flow, flow_token);
        response
    };
    Ok(match outcome {
        SignInOutcome::Authenticated(signed_in) => come_in(doors, *signed_in, return_to)?,
        SignInOutcome::PasswordChangeRequired { flow_token, .. } => lead_on("/change-password", &flow_token),
        SignInOutcome::PendingVerification => leave_for("/verify-email"),
        SignInOutcome::PendingApproval => leave_for("/pending"),
        SignInOutcome::MfaRequired { flow_token, methods } => {
            let methods: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
            lead_on(&format!("/login/verify?methods={}", methods.join(",")), &flow_token)
        }
        SignInOutcome::MfaEnrollmentRequired { flow_token } => lead_on("/mfa/setup", &flow_token),
    })
}

/// The address of a step that leads on to the page that was asked for.
fn with_return(path: &str, return_to: Option<&ReturnTo>) -> String {
    let Some(page) = return_to else { return path.to_owned() };
    let page = url::form_urlencoded::byte_serialize(page.as_str().as_bytes()).collect::<String>();
    format!("{path}{}returnTo={page}", if path.contains('?') { '&' } else { '?' })
}

/// Gives the browser its cookies, new ones at every sign-in, and leads it on.
fn come_in(doors: &Doors, signed_in: SignedIn, return_to: Option<&ReturnTo>) -> Result<Response, Error> {
    let Credentials::Cookie(cookie) = signed_in.credentials else {
        return Err(Error::internal("the console was given tokens of the API"));
    };
    let mut response = leave_for(return_to.map_or(HOME, ReturnTo::as_str));
    let (cookies, headers) = (Cookies::of(doors), response.headers_mut());
    cookies.set(headers, Cookie::Session, cookie.expose());
    cookies.clear(headers, Cookie::Visit);
    cookies.clear(headers, Cookie::Flow);
    if let Some(device) = signed_in.new_device {
        cookies.set(headers, Cookie::Device, &device);
    }
    Ok(response)
}

#[derive(Template)]
#[template(path = "pages/change-password.html")]
struct ReplacementPage {
    frame: Frame,
}

/// `/change-password`: the new password in place of one that must be replaced. Without a sign-in under way there is
/// nothing to replace.
pub(crate) async fn show_replacement(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: axum::http::HeaderMap,
) -> Answer {
    if visit.session.is_some() {
        return Ok(see("/settings/profile"));
    }
    if Cookies::of(&doors).read(&headers, Cookie::Flow).is_none() {
        return Ok(see("/login"));
    }
    page(&visit.look, &ReplacementPage { frame: Frame::of(&visit) })
}

/// A new password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    new_password: String,
}

/// Replaces it; its holder then signs in with the new one (R196).
pub(crate) async fn replace(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: axum::http::HeaderMap,
    Fields(replacement): Fields<Replacement>,
) -> Answer {
    let flow = Cookies::of(&doors).read(&headers, Cookie::Flow).map(str::to_owned).unwrap_or_default();
    doors.control.replace_password(&visit.ctx, &flow, &replacement.new_password).await?;
    let mut response = leave_for("/login?reason=password_changed");
    Cookies::of(&doors).clear(response.headers_mut(), Cookie::Flow);
    Ok(response)
}

#[derive(Template)]
#[template(path = "pages/pending.html")]
struct PendingPage {
    frame: Frame,
}

/// `/pending`: an administrator has not said yes yet. That is a queue, and no error (R226).
pub(crate) async fn show_pending(Anybody(visit): Anybody) -> Answer {
    page(&visit.look, &PendingPage { frame: Frame::of(&visit) })
}
