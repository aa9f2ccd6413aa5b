//! `/register`: coming in by an invitation, or by oneself where the organization lets people (R216–R222). Somebody signed
//! in accepts an invitation here instead.

use askama::Template;
use axum::extract::{Query, State};
use kt_control::{InvitationView, Register, Registered};
use kt_domain::network::console_rules::Surface;
use serde::Deserialize;

use super::{Fields, UsedLink};
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_for, page, see};
use crate::console::filters;
use crate::console::labels::Label;
use crate::console::pages::sign_in::HOME;
use crate::console::visit::{Anybody, SignedIn};

/// What the address says.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    /// The token of an invitation.
    token: String,
    /// The identifier of the organization, in links that administrators pass on.
    organization: String,
}

/// An invitation and what stands for it.
struct Invited {
    token: String,
    view: InvitationView,
}

#[derive(Template)]
#[template(path = "pages/register.html")]
struct RegisterPage {
    frame: Frame,
    invited: Option<Invited>,
    organization: String,
}

#[derive(Template)]
#[template(path = "pages/accept-invitation.html")]
struct AcceptPage {
    frame: Frame,
    invited: Invited,
    /// The address of whoever is signed in.
    email: String,
}

/// The form. Looking at an invitation does not use it up.
pub(crate) async fn show(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Query(asked): Query<Asked>,
) -> Answer {
    if doors.control.is_new().await? {
        return Ok(see("/setup"));
    }
    let invited = if asked.token.is_empty() {
        None
    } else {
        let view = doors.control.invitation_of(&visit.ctx, Surface::Console, &asked.token).await?;
        Some(Invited { token: asked.token, view })
    };
    let frame = Frame::of(&visit);
    match (&visit.session, invited) {
        (Some(session), Some(invited)) => {
            let email = session.person.email.clone();
            page(&visit.look, &AcceptPage { frame, invited, email })
        }
        (Some(_), None) => Ok(see(HOME)),
        (None, invited) => {
            page(&visit.look, &RegisterPage { frame, invited, organization: asked.organization })
        }
    }
}

/// Somebody who wants to come in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Newcomer {
    organization: String,
    name: String,
    email: String,
    password: String,
    token: Option<String>,
}

/// Registers them. With an invitation they sign in next, and are offered a second factor then (R221); without one they
/// look into their mail.
pub(crate) async fn register(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Fields(newcomer): Fields<Newcomer>,
) -> Answer {
    let register = Register {
        organization: newcomer.organization,
        email: newcomer.email,
        name: newcomer.name,
        password: newcomer.password,
        invitation: newcomer.token,
        surface: Surface::Console,
    };
    Ok(match doors.control.register(&visit.ctx, register).await? {
        Registered::PendingVerification => leave_for("/verify-email"),
        Registered::Active => leave_for("/login?reason=registered&returnTo=%2Fmfa%2Fsetup"),
    })
}

/// Lets somebody signed in join the organization that has invited them. Their session stays where it is.
pub(crate) async fn accept(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(link): Fields<UsedLink>,
) -> Answer {
    let view = doors.control.accept_invitation(&visit.ctx, Surface::Console, &link.token).await?;
    let template = JoinedPage {
        frame: Frame::of(&visit),
        name: view.organization.name,
        identifier: view.organization.identifier,
    };
    page(&visit.look, &template)
}

#[derive(Template)]
#[template(path = "pages/joined.html")]
struct JoinedPage {
    frame: Frame,
    name: String,
    identifier: String,
}
