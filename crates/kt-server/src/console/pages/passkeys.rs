//! The ceremonies of passkeys: what the page's script asks for, and what it sends. Signing in, proving again who one is, and
//! adding one are each a challenge and an answer.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use kt_control::{PasskeyAnswer, PasskeyChallenge, PasskeySignIn};
use kt_domain::error::Error;
use kt_domain::return_to::ReturnTo;
use kt_domain::sessions::Door;
use serde::Deserialize;
use serde_json::json;

use super::{Fields, sign_in};
use crate::Doors;
use crate::console::answer::Answer;
use crate::console::cookies::{Cookie, Cookies};
use crate::console::visit::{Anybody, SignedIn};

/// A challenge as the script takes it.
pub(super) fn challenge(made: &PasskeyChallenge) -> Response {
    Json(json!({ "flow_token": made.flow_token, "options": made.options })).into_response()
}

/// The answer of an authenticator to a challenge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shown {
    flow_token: String,
    /// What `toJSON()` of the credential gave, as text.
    credential: String,
    #[serde(default)]
    name: String,
    /// The organization's identifier, where somebody has said in which of several they want in.
    #[serde(default)]
    organization: String,
    #[serde(rename = "returnTo", default)]
    return_to: String,
}

impl Shown {
    /// The page that was asked for.
    pub(super) fn return_to(&self) -> Option<ReturnTo> {
        ReturnTo::parse(&self.return_to)
    }

    /// What was answered, and the name that was given, if one was.
    pub(super) fn into_parts(self) -> Result<(Option<String>, PasskeyAnswer), Error> {
        let credential = serde_json::from_str(&self.credential).map_err(|why| {
            Error::invalid("credential", "The browser's answer cannot be read.").with_private(why)
        })?;
        let name = Some(self.name).filter(|name| !name.trim().is_empty());
        Ok((name, PasskeyAnswer { flow_token: self.flow_token, credential }))
    }
}

/// `POST /login/passkey/options`: for a sign-in that begins with a passkey.
pub(crate) async fn begin_sign_in(State(doors): State<Doors>, Anybody(visit): Anybody) -> Answer {
    Ok(challenge(&doors.control.begin_passkey_sign_in(&visit.ctx, None, Some(&visit.cookie)).await?))
}

/// `POST /login/verify/passkey/options`: for the second step of one.
pub(crate) async fn begin_second_step(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
) -> Answer {
    let flow = Cookies::of(&doors).read(&headers, Cookie::Flow).unwrap_or_default().to_owned();
    let asked = doors.control.begin_passkey_sign_in(&visit.ctx, Some(&flow), Some(&visit.cookie)).await?;
    Ok(challenge(&asked))
}

/// `POST /login/passkey`: the answer to either.
pub(crate) async fn sign_in(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
    Fields(shown): Fields<Shown>,
) -> Answer {
    let return_to = shown.return_to();
    let organization = Some(shown.organization.clone()).filter(|named| !named.is_empty());
    let (_, answer) = shown.into_parts()?;
    let device = Cookies::of(&doors).read(&headers, Cookie::Device).map(str::to_owned);
    let browser = Some(visit.cookie.to_string());
    let sign_in = PasskeySignIn { answer, organization, device, door: Door::Console, browser };
    let outcome = doors.control.sign_in_by_passkey(&visit.ctx, sign_in).await?;
    sign_in::next(&doors, outcome, return_to.as_ref())
}

/// `POST /api/session/reauthenticate/options`: to prove again who one is.
pub(crate) async fn begin_proof(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    Ok(challenge(&doors.control.begin_passkey_reauthentication(&visit.ctx).await?))
}

/// `GET /.well-known/passkey-endpoints`: where passkeys are added and looked after, for password managers (W3C, A
/// Well-Known URL for Relying Party Passkey Endpoints). They ask at the address that passkeys belong to.
pub(crate) async fn endpoints(State(doors): State<Doors>) -> Response {
    let page = |path| doors.console.page(path).to_string();
    Json(json!({ "enroll": page("/mfa/setup"), "manage": page("/settings/security") })).into_response()
}
