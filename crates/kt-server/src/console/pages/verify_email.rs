//! `/verify-email`: where the links lead that confirm an address. A link is used up by the button alone: what scans mail
//! follows links, and must not confirm anything.

use askama::Template;
use axum::extract::{Query, State};
use kt_control::Confirmed;
use serde::Deserialize;

use super::{Fields, Link, UsedLink};
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_and_say, leave_for, page};
use crate::console::filters;
use crate::console::visit::Anybody;

#[derive(Template)]
#[template(path = "pages/verify-email.html")]
struct VerifyPage {
    frame: Frame,
    /// Empty where somebody is still to look into their mail.
    token: String,
    /// Whether another link was asked for.
    is_sent_again: bool,
}

/// The button; without a link, where to find one.
pub(crate) async fn show(Anybody(visit): Anybody, Query(link): Query<Link>) -> Answer {
    let template = VerifyPage { frame: Frame::of(&visit), token: link.token, is_sent_again: false };
    page(&visit.look, &template)
}

/// Confirms the address, and leads on to what is next.
pub(crate) async fn confirm(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Fields(link): Fields<UsedLink>,
) -> Answer {
    Ok(leave_for(match doors.control.confirm_email(&visit.ctx, &link.token).await? {
        Confirmed::Active => "/login?reason=verified&returnTo=%2Fmfa%2Fsetup",
        Confirmed::PendingApproval => "/pending",
        // To whoever is signed in here, who need not be who was written to.
        Confirmed::EmailChanged if visit.session.is_some() => {
            let said = visit.look.language.text("The account has its new address now.");
            return Ok(leave_and_say(&doors, "/", said));
        }
        Confirmed::EmailChanged => "/login?reason=email_changed",
    }))
}

/// An address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    email: String,
}

/// Sends the link again. The answer is the same for every address.
pub(crate) async fn resend(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Fields(address): Fields<Address>,
) -> Answer {
    doors.control.resend_verification(&visit.ctx, &address.email).await?;
    let template = VerifyPage { frame: Frame::of(&visit), token: String::new(), is_sent_again: true };
    page(&visit.look, &template)
}
