//! `/forgot-password` and `/reset-password` (R229–R232), and `/undo-email-change`: getting an account back by mail.

use askama::Template;
use axum::extract::{Query, State};
use kt_domain::network::console_rules::Surface;
use serde::Deserialize;

use super::{Fields, Link, UsedLink};
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_for, page, see};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::filters;
use crate::console::visit::Anybody;

#[derive(Template)]
#[template(path = "pages/forgot-password.html")]
struct ForgotPage {
    frame: Frame,
    is_sent: bool,
}

/// `/forgot-password`: asks for the address.
pub(crate) async fn show_forgot(Anybody(visit): Anybody) -> Answer {
    page(&visit.look, &ForgotPage { frame: Frame::of(&visit), is_sent: false })
}

/// An address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    email: String,
}

/// Sends a link there, if the address has an account. The answer is the same for every address.
pub(crate) async fn forgot(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Fields(address): Fields<Address>,
) -> Answer {
    doors.control.forgot_password(&visit.ctx, &address.email).await?;
    page(&visit.look, &ForgotPage { frame: Frame::of(&visit), is_sent: true })
}

#[derive(Template)]
#[template(path = "pages/reset-password.html")]
struct ResetPage {
    frame: Frame,
    token: String,
}

/// `/reset-password`: the new password. Without a link there is nothing to set it by.
pub(crate) async fn show_reset(Anybody(visit): Anybody, Query(link): Query<Link>) -> Answer {
    if link.token.is_empty() {
        return Ok(see("/forgot-password"));
    }
    page(&visit.look, &ResetPage { frame: Frame::of(&visit), token: link.token })
}

/// A new password and what it is set by.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    token: String,
    new_password: String,
}

/// Sets it. Every session ends, and its holder signs in with the new password.
pub(crate) async fn reset(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Fields(reset): Fields<Reset>,
) -> Answer {
    let surface = Surface::Console;
    doors.control.reset_password(&visit.ctx, surface, &reset.token, &reset.new_password).await?;
    Ok(leave_signed_out(&doors, "/login?reason=password_changed"))
}

#[derive(Template)]
#[template(path = "pages/undo-email-change.html")]
struct UndoPage {
    frame: Frame,
    token: String,
}

/// `/undo-email-change`: the button that gives an account its former address back.
pub(crate) async fn show_undo(Anybody(visit): Anybody, Query(link): Query<Link>) -> Answer {
    page(&visit.look, &UndoPage { frame: Frame::of(&visit), token: link.token })
}

/// Gives it back. Every session ends.
pub(crate) async fn undo(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Fields(link): Fields<UsedLink>,
) -> Answer {
    doors.control.undo_email_change(&visit.ctx, &link.token).await?;
    Ok(leave_signed_out(&doors, "/login?reason=email_restored"))
}

/// The browser may hold a session that has just ended with all the others.
fn leave_signed_out(doors: &Doors, path: &str) -> axum::response::Response {
    let mut response = leave_for(path);
    Cookies::of(doors).clear(response.headers_mut(), Cookie::Session);
    response
}
