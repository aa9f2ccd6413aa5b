//! Inviting people. Invitations stand on the page of the members.

use axum::extract::{Path, State};
use kt_domain::actor::Role;
use kt_domain::error::Error;
use kt_domain::id::InvitationId;
use serde::Deserialize;

use super::Fields;
use super::members::PAGE;
use crate::Doors;
use crate::console::answer::{Answer, see_and_say};
use crate::console::visit::SignedIn;

/// Whom, and as what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invited {
    email: String,
    role: Role,
}

/// Invites somebody by mail.
pub(crate) async fn invite(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(invited): Fields<Invited>,
) -> Answer {
    let invitation = doors.control.invite(&visit.ctx, &invited.email, invited.role).await?;
    let said = visit.look.language.text_with("The invitation is on its way to {}.", &[&invitation.email]);
    Ok(see_and_say(&doors, PAGE, &said))
}

/// Sends an invitation again; its earlier link is dead.
pub(crate) async fn resend(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let invitation = doors.control.resend_invitation(&visit.ctx, &invitation_id(&id)?).await?;
    let said = visit.look.language.text_with("The invitation is on its way to {}.", &[&invitation.email]);
    Ok(see_and_say(&doors, PAGE, &said))
}

/// Takes an invitation back.
pub(crate) async fn revoke(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    doors.control.revoke_invitation(&visit.ctx, &invitation_id(&id)?).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The invitation was revoked.")))
}

fn invitation_id(text: &str) -> Result<InvitationId, Error> {
    text.parse().map_err(|_| Error::not_found("invitation"))
}
