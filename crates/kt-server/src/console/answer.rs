//! What a handler answers: a page, the way to another, or a failure.

use std::any::Any;

use askama::Template;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kt_control::ConsoleSession;
use kt_domain::error::Error;
use kt_domain::mfa::Demand;
use kt_domain::sign_in::{Factor, Proof};

use super::assets::{ASSETS, Assets};
use super::cookies::{Cookie, Cookies};
use super::filters;
use super::labels::Label;
use super::look::Look;
use super::messages::Language;
use super::visit::Visit;
use crate::Doors;
use crate::failure::{ErrorContent, Failure};

/// What a handler answers.
pub(crate) type Answer = Result<Response, Failure>;

/// What every page needs, whatever it shows.
pub(crate) struct Frame {
    pub(crate) look: Look,
    pub(crate) assets: &'static Assets,
    /// Empty where no form of the page could be sent.
    pub(crate) csrf: String,
    /// Who is signed in.
    pub(crate) holder: Option<Holder>,
    /// The path of the page.
    pub(crate) path: String,
    /// Path and query of the page.
    pub(crate) asked: String,
    /// What the page says besides, once.
    pub(crate) flash: Option<String>,
}

/// Who is signed in, as the frame of a page shows them.
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) role: kt_domain::actor::Role,
    pub(crate) organization: String,
    /// What people type to sign in to it.
    pub(crate) organization_identifier: String,
    /// What tells their pages from those of other accounts and organizations.
    pub(crate) mark: String,
    /// In how many seconds the session ends if its holder does nothing more: a length of time, because the browser's clock
    /// may be wrong.
    pub(crate) ends_in: i64,
    /// In how many seconds it ends whatever its holder does.
    pub(crate) ends_at_latest_in: i64,
    /// How many seconds ago its holder's last act was noted.
    pub(crate) active_ago: i64,
    /// From when on the holder can do nothing but add a second factor, where they are asked for one that they lack.
    pub(crate) factor_deadline: Option<jiff::Timestamp>,
    /// Whether it has to be a passkey.
    pub(crate) needs_passkey: bool,
    /// From when on the holder has to choose another password, where that is soon.
    pub(crate) password_ends_at: Option<jiff::Timestamp>,
    /// How the holder can prove again who they are: as well as they have when they signed in.
    pub(crate) ways: Ways,
    /// What the holder may do decides which pages are offered.
    pub(crate) may_read: MayRead,
}

/// How somebody can prove again who they are: in each of these ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a way of its own")]
pub(crate) struct Ways {
    pub(crate) password: bool,
    /// The identity provider through which they came.
    pub(crate) provider: bool,
    /// They came through one that cannot be asked to have them prove themselves again.
    pub(crate) provider_cannot_ask: bool,
    /// A code of the app.
    pub(crate) code: bool,
    pub(crate) recovery_code: bool,
    pub(crate) passkey: bool,
}

impl Ways {
    /// What its holder has and is worth as much as what the session was opened with.
    fn of(session: &ConsoleSession) -> Self {
        let proofs = &session.proofs;
        let fits = |proof| proofs.are_matched_by(proof);
        let password = !session.federated && fits(Proof::Password);
        let provider_is_enough = fits(Proof::Federated) || proofs.contains(Proof::FederatedMfa);
        let provider = session.federated
            && session.provider_can_ask
            && provider_is_enough
            && !proofs.contains(Proof::Passkey);
        let has = |factor, proof| !password && session.own_factors.contains(&factor) && fits(proof);
        Self {
            password,
            provider,
            provider_cannot_ask: session.federated && !session.provider_can_ask,
            code: has(Factor::Totp, Proof::Totp),
            recovery_code: has(Factor::RecoveryCode, Proof::RecoveryCode),
            passkey: has(Factor::Passkey, Proof::Passkey),
        }
    }

    /// Whether there is none.
    pub(crate) fn are_none(self) -> bool {
        !(self.password || self.provider || self.code || self.recovery_code || self.passkey)
    }
}

impl Holder {
    /// What people call their role.
    pub(crate) fn role_name(&self) -> &'static str {
        self.role.label()
    }
}

/// Which areas somebody may see.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is an area of its own")]
pub(crate) struct MayRead {
    pub(crate) events: bool,
    pub(crate) audit: bool,
    pub(crate) members: bool,
    /// Everybody's keys, of every kind.
    pub(crate) all_keys: bool,
    /// The guided set-ups, which make keys.
    pub(crate) set_ups: bool,
    /// Chat and tasks.
    pub(crate) workspaces: bool,
}

impl Frame {
    /// The frame of the page that `visit` asks for.
    pub(crate) fn of(visit: &Visit) -> Self {
        use kt_domain::actor::Permission;
        let holder = visit.session.as_ref().map(|session| Holder {
            name: session.name.clone(),
            email: session.person.email.clone(),
            role: session.person.role,
            organization: session.organization_name.clone(),
            organization_identifier: session.organization_identifier.clone(),
            mark: session.holder_mark(),
            ends_in: session.ends_at.duration_since(visit.ctx.now).as_secs(),
            ends_at_latest_in: session.ends_at_latest.duration_since(visit.ctx.now).as_secs(),
            active_ago: visit.ctx.now.duration_since(session.active_at).as_secs(),
            factor_deadline: session.to_enroll.map(|asked| asked.deadline),
            needs_passkey: session.to_enroll.is_some_and(|asked| asked.demand == Demand::Passkey),
            password_ends_at: session.password_ends_at,
            ways: Ways::of(session),
            may_read: MayRead {
                events: visit.may(Permission::ReadEvents),
                audit: visit.may(Permission::ReadAudit),
                members: visit.may(Permission::ReadMembers),
                all_keys: visit.may(Permission::ReadAllKeys),
                set_ups: visit.may(Permission::ManageKeys),
                workspaces: visit.may(Permission::Infer),
            },
        });
        let path = visit.asked.split('?').next().unwrap_or("/").to_owned();
        Self {
            look: visit.look.clone(),
            assets: &ASSETS,
            csrf: visit.csrf_token(),
            holder,
            path,
            asked: visit.asked.to_string(),
            flash: visit.flash.clone(),
        }
    }

    /// The frame of a page that tells a failure to whoever is not known to be signed in.
    fn bare(look: &Look) -> Self {
        Self {
            look: look.clone(),
            assets: &ASSETS,
            csrf: String::new(),
            holder: None,
            path: String::new(),
            asked: String::new(),
            flash: None,
        }
    }

    /// Whether the page lies in this area.
    pub(crate) fn is_in(&self, area: &str) -> bool {
        self.path.strip_prefix(area).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The text in the page's language, to be put into another.
    pub(crate) fn text<'a>(&self, english: &'a str) -> &'a str {
        self.look.language.text(english)
    }

    /// Every language of the console.
    #[expect(clippy::unused_self, reason = "templates ask the values that they are given")]
    pub(crate) fn languages(&self) -> impl Iterator<Item = Language> {
        Language::all()
    }
}

/// A page in the language of its look.
pub(crate) fn page(look: &Look, template: &impl Template) -> Answer {
    let language: &dyn Any = &look.language;
    let text = template.render_with_values(&(filters::LANGUAGE, language)).map_err(Error::internal)?;
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, content_type)], text).into_response())
}

/// Leads to `path` after a change (RFC 9110 section 15.4.4: the browser asks for it anew).
pub(crate) fn see(path: &str) -> Response {
    let place = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

/// The same, and the page there says besides what was done.
pub(crate) fn see_and_say(doors: &Doors, path: &str, said: &str) -> Response {
    let mut response = see(path);
    Cookies::of(doors).set(response.headers_mut(), Cookie::Flash, &URL_SAFE_NO_PAD.encode(said));
    response
}

/// Leads the whole browser to `path`, not only the part of the page that the script would put in place.
pub(crate) fn leave_for(path: &str) -> Response {
    let place = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::OK, [(HeaderName::from_static("hx-redirect"), place)]).into_response()
}

/// The same, and the page there says besides what was done.
pub(crate) fn leave_and_say(doors: &Doors, path: &str, said: &str) -> Response {
    let mut response = leave_for(path);
    Cookies::of(doors).set(response.headers_mut(), Cookie::Flash, &URL_SAFE_NO_PAD.encode(said));
    response
}

/// What the page is to say, from its cookie.
pub(super) fn read_flash(value: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok().filter(|said| said.len() <= 500)
}

/// Keeps who asked with an answer that fails, so that its page stays in their frame.
pub(super) fn keep_frame(response: &mut Response, visit: &Visit) {
    if response.status().is_client_error() || response.status().is_server_error() {
        response.extensions_mut().insert(visit.clone());
    }
}

/// A page that tells a failure, in place of the body of `response`, whose status and headers it keeps. Whoever is signed in
/// keeps the menu.
pub(super) fn problem_page(response: Response, content: &ErrorContent, look: &Look, id: &str) -> Response {
    let (mut parts, _) = response.into_parts();
    let visit = parts.extensions.remove::<Visit>().filter(|visit| visit.session.is_some());
    let frame = visit.as_ref().map_or_else(|| Frame::bare(look), Frame::of);
    let problem = Problem {
        status: parts.status.as_u16(),
        message: content.message.clone(),
        request_id: id.to_owned(),
    };
    let made = if visit.is_some() {
        page(look, &ProblemInside { frame, problem })
    } else {
        page(look, &ProblemOutside { frame, problem })
    };
    match made {
        Ok(made) => {
            let (made, body) = made.into_parts();
            let mut answer = Response::from_parts(parts, body);
            answer.headers_mut().extend(made.headers);
            answer.headers_mut().remove(header::CONTENT_LENGTH);
            answer
        }
        Err(failure) => failure.into_response(),
    }
}

/// What a page tells of a failure.
struct Problem {
    status: u16,
    message: String,
    request_id: String,
}

/// For strangers.
#[derive(Template)]
#[template(path = "pages/problem.html")]
struct ProblemOutside {
    frame: Frame,
    problem: Problem,
}

/// For somebody signed in, beside the menu.
#[derive(Template)]
#[template(path = "pages/problem-inside.html")]
struct ProblemInside {
    frame: Frame,
    problem: Problem,
}
