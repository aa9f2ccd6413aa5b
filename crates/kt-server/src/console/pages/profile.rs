//! `/settings/profile`: what somebody sees and changes of themselves.

use askama::Template;
use axum::extract::{Path, State};
use kt_control::{Profile, ProfileChange, SecondFactors, SessionView};
use kt_domain::actor::Permission;
use kt_domain::error::Error;
use serde::Deserialize;

use super::Fields;
use super::mfa::Signal;
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_for, page, see, see_and_say};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::filters;
use crate::console::labels::Label;
use crate::console::visit::SignedIn;

const PAGE: &str = "/settings/profile";

#[derive(Template)]
#[template(path = "pages/profile.html")]
struct ProfilePage {
    frame: Frame,
    profile: Profile,
    sessions: Vec<SessionView>,
    /// Whether they look after members, and so are told of what members wait for.
    may_manage: bool,
    own: SecondFactors,
    signal: Signal,
}

/// `/settings`: the first of its tabs.
pub(crate) async fn settings(_: SignedIn) -> Answer {
    Ok(see(PAGE))
}

/// The page.
pub(crate) async fn show(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    let profile = doors.control.profile(&visit.ctx).await?;
    let sessions = doors.control.my_sessions(&visit.ctx).await?;
    let may_manage = visit.may(Permission::ManageMembers);
    let own = doors.control.second_factors(&visit.ctx).await?;
    let signal = Signal::of_holder(&doors, &visit).await?;
    page(&visit.look, &ProfilePage { frame: Frame::of(&visit), profile, sessions, may_manage, own, signal })
}

/// A name and an address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changed {
    name: String,
    email: String,
}

/// Changes the name at once, and asks for another address to be confirmed.
pub(crate) async fn change(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    Fields(changed): Fields<Changed>,
) -> Answer {
    let email = Some(changed.email).filter(|email| *email != session.person.email);
    let said = match &email {
        Some(_) => "Follow the link that was sent to the new address: until then the present one stays.",
        None => "Your profile was saved.",
    };
    let change = ProfileChange { name: Some(changed.name), email };
    doors.control.change_profile(&visit.ctx, change).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text(said)))
}

/// The present password, where there is one, and another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    current_password: Option<String>,
    new_password: String,
}

/// Changes or adds the password. All sessions end, this one too (R90, R91).
pub(crate) async fn change_password(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(new): Fields<NewPassword>,
) -> Answer {
    doors.control.change_password(&visit.ctx, new.current_password.as_deref(), &new.new_password).await?;
    let mut response = leave_for("/login?reason=password_changed");
    Cookies::of(&doors).clear(response.headers_mut(), Cookie::Session);
    Ok(response)
}

/// Ends one of one's own sessions.
pub(crate) async fn end_session(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("session"))?;
    doors.control.end_my_session(&visit.ctx, &id).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The session was ended.")))
}

/// Ends all of one's own sessions but this one.
pub(crate) async fn end_other_sessions(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
) -> Answer {
    doors.control.end_my_other_sessions(&visit.ctx).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("All other sessions were ended.")))
}
