//! What is decided about those who have registered and wait (R222–R228). They stand on the page of the members.

use axum::extract::{Path, State};
use kt_control::Approval;
use kt_domain::actor::Role;
use serde::Deserialize;

use super::Fields;
use super::members::{PAGE, temporary_password, user_id};
use crate::Doors;
use crate::console::answer::{Answer, see_and_say};
use crate::console::visit::SignedIn;

/// How somebody is let in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approved {
    role: Role,
    #[serde(default)]
    temporary_password: bool,
}

/// Lets somebody in, and shows their temporary password once, where they get one.
pub(crate) async fn approve(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(approved): Fields<Approved>,
) -> Answer {
    let id = user_id(&id)?;
    let approval = Approval { role: approved.role, temporary_password: approved.temporary_password };
    let Some(temporary) = doors.control.approve_registration(&visit.ctx, &id, approval).await? else {
        let said = "They were approved, and were told so by mail.";
        return Ok(see_and_say(&doors, PAGE, visit.look.language.text(said)));
    };
    let member = doors.control.member(&visit.ctx, &id).await?;
    temporary_password(&member.email, &temporary, PAGE).answer(&visit)
}

/// Does not let somebody in.
pub(crate) async fn reject(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    doors.control.reject_registration(&visit.ctx, &user_id(&id)?).await?;
    let said = "They were not let in, and were told so by mail.";
    Ok(see_and_say(&doors, PAGE, visit.look.language.text(said)))
}
