//! `/login/verify`: the second factor of a sign-in that began with a password.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use kt_domain::error::Error;
use kt_domain::return_to::ReturnTo;
use kt_domain::sign_in::Factor;
use serde::Deserialize;

use super::{Fields, sign_in};
use crate::Doors;
use crate::console::answer::{Answer, Frame, page, see};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::filters;
use crate::console::visit::Anybody;

/// What will do, and where to go on.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    methods: String,
    #[serde(rename = "returnTo")]
    return_to: String,
}

#[derive(Template)]
#[template(path = "pages/second-step.html")]
struct SecondStepPage {
    frame: Frame,
    return_to: Option<ReturnTo>,
    takes_passkey: bool,
    takes_totp: bool,
    takes_recovery_code: bool,
}

/// The form. Without a sign-in under way there is nothing to verify.
pub(crate) async fn show(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Answer {
    if visit.session.is_some() || Cookies::of(&doors).read(&headers, Cookie::Flow).is_none() {
        return Ok(see("/login"));
    }
    let takes = |factor: Factor| asked.methods.split(',').any(|method| method == factor.as_str());
    let template = SecondStepPage {
        frame: Frame::of(&visit),
        return_to: ReturnTo::parse(&asked.return_to),
        takes_passkey: takes(Factor::Passkey),
        takes_totp: takes(Factor::Totp),
        takes_recovery_code: takes(Factor::RecoveryCode),
    };
    page(&visit.look, &template)
}

/// A code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    method: String,
    code: String,
    #[serde(rename = "returnTo", default)]
    return_to: String,
}

/// Goes on with the sign-in. A wrong code can be tried again.
pub(crate) async fn verify(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
    Fields(given): Fields<Given>,
) -> Answer {
    let factor: Factor =
        given.method.parse().map_err(|_| Error::invalid("method", "Choose one of the ways offered."))?;
    let flow = Cookies::of(&doors).read(&headers, Cookie::Flow).unwrap_or_default().to_owned();
    let outcome = doors.control.verify_second_factor(&visit.ctx, &flow, factor, &given.code).await?;
    sign_in::next(&doors, outcome, ReturnTo::parse(&given.return_to).as_ref())
}
