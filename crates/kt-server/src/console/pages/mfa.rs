//! `/mfa/setup`: a passkey first, an authenticator app where that cannot be, and the recovery codes at the end. For
//! somebody signed in, and for somebody whom the gate lets do nothing else (R126).

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use kt_control::{
    Enrolled, EnrolledAtSignIn, PasskeyView, Passkeys, SecondFactors, SignInOutcome, TotpSetup,
};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::mfa::Demand;
use kt_domain::return_to::ReturnTo;
use serde::Deserialize;

use super::passkeys::{Shown, challenge};
use super::{Fields, sign_in};
use crate::Doors;
use crate::console::answer::{Answer, Frame, page, see, see_and_say};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::filters;
use crate::console::pages::sign_in::HOME;
use crate::console::visit::{Anybody, REDIRECT, SignedIn, Visit};

/// Where factors are looked after.
const PAGE: &str = "/mfa/setup";

/// What somebody has already.
struct Present {
    factors: SecondFactors,
    passkeys: Vec<PasskeyView>,
    signal: Signal,
}

/// For the browser's password manager: what it may forget, and what somebody is called (WebAuthn Signal API).
pub(super) struct Signal {
    pub(super) rp_id: String,
    pub(super) user_handle: String,
    pub(super) accepted: String,
    pub(super) account: String,
    pub(super) name: String,
}

impl Signal {
    fn of(all: &Passkeys) -> Self {
        let accepted: Vec<_> = all.passkeys.iter().map(|passkey| passkey.credential_id.as_str()).collect();
        Self {
            accepted: accepted.join(" "),
            rp_id: all.rp_id.clone(),
            user_handle: all.user_handle.clone(),
            account: all.account.clone(),
            name: all.name.clone(),
        }
    }

    /// That of whoever is signed in, for a page that they come to after a sign-in or a change of themselves.
    pub(super) async fn of_holder(doors: &Doors, visit: &Visit) -> Result<Self, Error> {
        Ok(Self::of(&doors.control.passkeys(&visit.ctx).await?))
    }
}

#[derive(Template)]
#[template(path = "pages/mfa-setup.html")]
struct SetupPage {
    frame: Frame,
    /// `None` for somebody on the way in.
    present: Option<Present>,
    /// What is asked of them.
    demand: Demand,
    /// The page that somebody on the way in has asked for.
    return_to: Option<ReturnTo>,
    /// An app that waits for its first code.
    totp: Option<TotpSetup>,
    /// Shown this one time.
    recovery_codes: Vec<String>,
    /// Whose they are, and where they are good, as a saved list has to say.
    account: String,
    site: String,
    /// Whether they come with the first factor, so that a second one is advised.
    is_first: bool,
    /// Where to go on from the codes.
    next: String,
}

impl SetupPage {
    fn new(visit: &Visit) -> Self {
        Self {
            frame: Frame::of(visit),
            present: None,
            demand: Demand::default(),
            return_to: None,
            totp: None,
            recovery_codes: Vec::new(),
            account: String::new(),
            site: String::new(),
            is_first: false,
            next: HOME.to_owned(),
        }
    }

    /// The same for somebody signed in, with what they have.
    async fn of_holder(doors: &Doors, visit: &Visit) -> Result<Self, Error> {
        let present = present(doors, visit).await?;
        Ok(Self { demand: present.factors.demand.demand, present: Some(present), ..Self::new(visit) })
    }
}

/// Where somebody on the way in wanted to go.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    #[serde(rename = "returnTo")]
    return_to: String,
}

/// The page. Whoever is neither signed in nor at the step that leads here signs in first.
pub(crate) async fn show(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Answer {
    if visit.session.is_some() {
        return page(&visit.look, &SetupPage::of_holder(&doors, &visit).await?);
    }
    let return_to = ReturnTo::parse(&asked.return_to);
    match doors.control.demand_at_sign_in(&visit.ctx, &flow(&doors, &headers)).await {
        Ok(demand) => page(&visit.look, &SetupPage { demand, return_to, ..SetupPage::new(&visit) }),
        Err(error) if error.kind == ErrorKind::Unauthenticated => {
            let back = return_to.or_else(|| ReturnTo::parse(PAGE));
            Ok(see(&back.map_or_else(|| "/login".to_owned(), |page| page.sign_in(None))))
        }
        Err(error) => Err(error.into()),
    }
}

async fn present(doors: &Doors, visit: &Visit) -> Result<Present, Error> {
    let all = doors.control.passkeys(&visit.ctx).await?;
    let factors = doors.control.second_factors(&visit.ctx).await?;
    Ok(Present { factors, signal: Signal::of(&all), passkeys: all.passkeys })
}

/// What carries a sign-in on; empty where there is none.
fn flow(doors: &Doors, headers: &HeaderMap) -> String {
    Cookies::of(doors).read(headers, Cookie::Flow).unwrap_or_default().to_owned()
}

/// The same, as the forms carry it on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Carried {
    #[serde(rename = "returnTo", default)]
    return_to: String,
}

/// `POST /mfa/setup/totp`: the QR code of an authenticator app that waits for its first code.
pub(crate) async fn begin_totp(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
    Fields(carried): Fields<Carried>,
) -> Answer {
    if visit.session.is_some() {
        let totp = Some(doors.control.begin_totp(&visit.ctx).await?);
        return page(&visit.look, &SetupPage { totp, ..SetupPage::of_holder(&doors, &visit).await? });
    }
    let (setup, next) = doors.control.begin_totp_at_sign_in(&visit.ctx, &flow(&doors, &headers)).await?;
    let return_to = ReturnTo::parse(&carried.return_to);
    let template = SetupPage { totp: Some(setup), return_to, ..SetupPage::new(&visit) };
    let mut response = page(&visit.look, &template)?;
    Cookies::of(&doors).set(response.headers_mut(), Cookie::Flow, &next);
    Ok(response)
}

/// The first code of an app.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FirstCode {
    code: String,
    #[serde(rename = "returnTo", default)]
    return_to: String,
}

/// `POST /mfa/setup/totp/confirm`.
pub(crate) async fn confirm_totp(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
    Fields(first): Fields<FirstCode>,
) -> Answer {
    if visit.session.is_some() {
        let enrolled = doors.control.confirm_totp(&visit.ctx, &first.code).await?;
        return added(&doors, &visit, enrolled, "The authenticator app was added.");
    }
    let flow = flow(&doors, &headers);
    let done = doors.control.confirm_totp_at_sign_in(&visit.ctx, &flow, &first.code).await?;
    go_on(&doors, &visit, done, ReturnTo::parse(&first.return_to).as_ref())
}

/// `POST /mfa/setup/passkey/options`: what a browser needs to make a passkey.
pub(crate) async fn begin_passkey(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    headers: HeaderMap,
) -> Answer {
    let made = if visit.session.is_some() {
        doors.control.begin_passkey(&visit.ctx).await?
    } else {
        doors.control.begin_passkey_at_sign_in(&visit.ctx, &flow(&doors, &headers)).await?
    };
    Ok(challenge(&made))
}

/// `POST /mfa/setup/passkey`: the passkey that it has made.
pub(crate) async fn add_passkey(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Fields(shown): Fields<Shown>,
) -> Answer {
    let return_to = shown.return_to();
    let (name, answer) = shown.into_parts()?;
    if visit.session.is_some() {
        let (_, enrolled) = doors.control.add_passkey(&visit.ctx, name.as_deref(), &answer).await?;
        return added(&doors, &visit, enrolled, "The passkey was added.");
    }
    let done = doors.control.add_passkey_at_sign_in(&visit.ctx, name.as_deref(), &answer).await?;
    go_on(&doors, &visit, done, return_to.as_ref())
}

/// Shows the recovery codes that came with a first factor, or the page again.
fn added(doors: &Doors, visit: &Visit, enrolled: Enrolled, said: &str) -> Answer {
    match enrolled.recovery_codes {
        Some(codes) => page(
            &visit.look,
            &SetupPage { is_first: true, ..codes_page(doors, visit, codes, own_address(visit), PAGE) },
        ),
        None => Ok(see_and_say(doors, PAGE, visit.look.language.text(said))),
    }
}

/// Shows these codes of `account` once, and leads on to `next`.
fn codes_page(doors: &Doors, visit: &Visit, codes: Vec<String>, account: String, next: &str) -> SetupPage {
    SetupPage {
        recovery_codes: codes,
        account,
        site: doors.console.page("/").to_string(),
        next: next.to_owned(),
        ..SetupPage::new(visit)
    }
}

/// The address of whoever is signed in.
fn own_address(visit: &Visit) -> String {
    visit.session.as_ref().map_or_else(String::new, |session| session.person.email.clone())
}

/// Goes on with a sign-in, and shows the recovery codes on the way, whatever comes next: they are shown this once.
fn go_on(doors: &Doors, visit: &Visit, done: EnrolledAtSignIn, return_to: Option<&ReturnTo>) -> Answer {
    let account = match &done.outcome {
        SignInOutcome::Authenticated(signed_in) => signed_in.whoami.email.clone(),
        _ => String::new(),
    };
    let response = sign_in::next(doors, done.outcome, return_to)?;
    let Some(codes) = done.enrolled.recovery_codes else { return Ok(response) };
    let next = response.headers().get(REDIRECT).and_then(|next| next.to_str().ok()).unwrap_or(HOME);
    let template = SetupPage { is_first: true, ..codes_page(doors, visit, codes, account, next) };
    let mut shown = page(&visit.look, &template)?;
    for cookie in response.headers().get_all(SET_COOKIE) {
        shown.headers_mut().append(SET_COOKIE, cookie.clone());
    }
    Ok(shown)
}

/// `POST /mfa/recovery-codes`: new ones in place of all.
pub(crate) async fn renew_codes(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    let codes = doors.control.renew_recovery_codes(&visit.ctx).await?;
    page(&visit.look, &codes_page(&doors, &visit, codes, own_address(&visit), PAGE))
}

/// `POST /mfa/totp/remove`.
pub(crate) async fn remove_totp(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    doors.control.remove_totp(&visit.ctx).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The authenticator app was removed.")))
}

/// Another name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renamed {
    name: String,
}

/// `POST /mfa/passkeys/{id}/rename`.
pub(crate) async fn rename_passkey(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(renamed): Fields<Renamed>,
) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("passkey"))?;
    doors.control.rename_passkey(&visit.ctx, &id, &renamed.name).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The passkey was renamed.")))
}

/// `POST /mfa/passkeys/{id}/remove`.
pub(crate) async fn remove_passkey(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("passkey"))?;
    doors.control.remove_passkey(&visit.ctx, &id).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The passkey was removed.")))
}
