//! `/settings/members`: who belongs to the organization, who waits for approval, who is invited; and one page for each
//! member.

use askama::Template;
use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use kt_control::{FactorFilter, Invitation, MemberView, Page, PageRequest, Waiting, WhichMembers};
use kt_domain::actor::{Permission, Role};
use kt_domain::error::Error;
use kt_domain::id::UserId;
use kt_domain::members::{MemberChange, allow_change};
use kt_domain::order::{MemberColumn, Order};
use kt_domain::sign_in::MembershipState;
use serde::Deserialize;

use super::Fields;
use super::shown_once::ShownOnce;
use crate::Doors;
use crate::api::members::MEMBERS_FILE;
use crate::console::answer::{Answer, Frame, leave_and_say, page, see_and_say};
use crate::console::filters;
use crate::console::labels::Label;
use crate::console::table::Table;
use crate::console::visit::{SignedIn, Visit};
use crate::download;

pub(in crate::console) const PAGE: &str = "/settings/members";

/// Where each list goes on.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    cursor: Option<String>,
    waiting: Option<String>,
    invitations: Option<String>,
    /// Those members alone.
    mfa: Option<FactorFilter>,
    /// What is searched for among the members.
    q: String,
    /// In which order they are shown.
    sort: Order<MemberColumn>,
}

impl Asked {
    /// The members that are asked for.
    fn which(&self) -> WhichMembers {
        WhichMembers { factor: self.mfa, search: Some(self.q.clone()), order: self.sort }
    }
}

#[derive(Template)]
#[template(path = "pages/members.html")]
struct MembersPage {
    frame: Frame,
    you: UserId,
    members: Page<MemberView>,
    filter: Option<FactorFilter>,
    q: String,
    table: Table<MemberColumn>,
    waiting: Page<Waiting>,
    invitations: Page<Invitation>,
    /// Whether whoever looks may do anything here.
    may_manage: bool,
    /// What they may give.
    roles: Vec<Role>,
    now: Timestamp,
}

impl MembersPage {
    /// Whether those alone are shown for whom the address has this word; without one, all.
    fn is_filtered_by(&self, word: &str) -> bool {
        self.filter.map(FactorFilter::as_str).unwrap_or_default() == word
    }

    /// Where an invitation stands, and how its badge looks.
    fn standing(&self, invitation: &Invitation) -> (&'static str, &'static str) {
        if invitation.accepted_at.is_some() {
            ("Accepted", "good")
        } else if invitation.revoked_at.is_some() {
            ("Revoked", "")
        } else if invitation.expires_at <= self.now {
            ("Expired", "warn")
        } else {
            ("Open", "accent")
        }
    }
}

/// The page.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let part = |cursor| PageRequest { limit: None, cursor };
    let which = asked.which();
    let filter = asked.mfa.map(FactorFilter::as_str).unwrap_or_default();
    let template = MembersPage {
        frame: Frame::of(&visit),
        you: session.person.user,
        members: doors.control.members(&visit.ctx, &part(asked.cursor), &which).await?,
        filter: asked.mfa,
        table: Table::new(PAGE, asked.sort, [("q", &asked.q), ("mfa", filter)]),
        q: asked.q,
        waiting: doors.control.registrations(&visit.ctx, &part(asked.waiting)).await?,
        invitations: doors.control.invitations(&visit.ctx, &part(asked.invitations)).await?,
        may_manage: visit.may(Permission::ManageMembers),
        roles: roles_to_give(&visit),
        now: visit.ctx.now,
    };
    page(&visit.look, &template)
}

/// All members that the page leads to, as a file.
pub(crate) async fn export(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let export = doors.control.export_members(&visit.ctx, &asked.which()).await?;
    Ok(download::table(&doors.control, export, MEMBERS_FILE))
}

/// The roles that whoever asks may give, the lowest first.
fn roles_to_give(visit: &Visit) -> Vec<Role> {
    Role::ALL.iter().copied().filter(|role| visit.ctx.require_rank(*role).is_ok()).collect()
}

#[derive(Template)]
#[template(path = "pages/member.html")]
struct MemberPage {
    frame: Frame,
    member: MemberView,
    is_you: bool,
    roles: Vec<Role>,
    may: MayChange,
}

/// What whoever looks may do to a member.
struct MayChange {
    role: bool,
    suspend: bool,
    reactivate: bool,
}

impl MayChange {
    fn of(visit: &Visit, member: &MemberView) -> Self {
        let place = &member.membership;
        let may = |change| {
            visit.may(Permission::ManageMembers)
                && allow_change(&visit.ctx.actor, &place.user, place.role, change).is_ok()
        };
        let is_suspended = place.state == MembershipState::Suspended;
        Self {
            role: may(MemberChange::Role(place.role)),
            suspend: may(MemberChange::Suspend) && !is_suspended,
            reactivate: may(MemberChange::Reactivate) && is_suspended,
        }
    }
}

/// One member.
pub(crate) async fn show_one(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let member = doors.control.member(&visit.ctx, &user_id(&id)?).await?;
    let template = MemberPage {
        frame: Frame::of(&visit),
        is_you: member.membership.user == session.person.user,
        roles: roles_to_give(&visit),
        may: MayChange::of(&visit, &member),
        member,
    };
    page(&visit.look, &template)
}

/// Another role.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenRole {
    role: Role,
}

/// Gives a member another role.
pub(crate) async fn change_role(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(given): Fields<GivenRole>,
) -> Answer {
    let said = "The role was changed.";
    change(&doors, &visit, &id, MemberChange::Role(given.role), said).await
}

/// Signs a member out everywhere.
pub(crate) async fn end_sessions(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    change(&doors, &visit, &id, MemberChange::EndSessions, "They were signed out everywhere.").await
}

/// Suspends a member: nothing of theirs is let in any more.
pub(crate) async fn suspend(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    change(&doors, &visit, &id, MemberChange::Suspend, "They were suspended and signed out.").await
}

/// Lets a suspended member in again.
pub(crate) async fn reactivate(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    change(&doors, &visit, &id, MemberChange::Reactivate, "They can sign in again.").await
}

/// Ends a membership.
pub(crate) async fn remove(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    change(&doors, &visit, &id, MemberChange::Remove, "They do not belong to the organization any more.")
        .await
}

async fn change(doors: &Doors, visit: &Visit, id: &str, change: MemberChange, said: &'static str) -> Answer {
    let still_there = doors.control.change_member(&visit.ctx, &user_id(id)?, change).await?;
    let said = visit.look.language.text(said);
    Ok(match still_there {
        Some(member) => see_and_say(doors, &format!("{PAGE}/{}", member.membership.user), said),
        // The page of somebody who is gone is not there to be looked at again.
        None => leave_and_say(doors, PAGE, said),
    })
}

/// Sets a temporary password for a member, and shows it once.
pub(crate) async fn set_temporary_password(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let id = user_id(&id)?;
    let temporary = doors.control.set_temporary_password(&visit.ctx, &id).await?;
    let member = doors.control.member(&visit.ctx, &id).await?;
    let back = format!("{PAGE}/{id}");
    temporary_password(&member.email, &temporary, &back).answer(&visit)
}

/// Why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    reason: String,
}

/// Removes all second factors of a member who has lost them (R116, R117).
pub(crate) async fn reset_mfa(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(reason): Fields<Reason>,
) -> Answer {
    let id = user_id(&id)?;
    doors.control.reset_second_factors(&visit.ctx, &id, Some(&reason.reason)).await?;
    let said = "Their second factors were removed, and they were told by mail.";
    Ok(see_and_say(&doors, &format!("{PAGE}/{id}"), visit.look.language.text(said)))
}

/// A temporary password, as it is shown once.
pub(super) fn temporary_password<'a>(
    email: &'a str,
    temporary: &'a kt_control::passwords::TemporaryPassword,
    back: &'a str,
) -> ShownOnce<'a> {
    ShownOnce {
        heading: "Temporary password",
        of: email,
        advice: "Hand it over by another way than mail. It is good for one sign-in, at which it is replaced.",
        secret: &temporary.password,
        expires_at: Some(temporary.expires_at),
        back,
    }
}

pub(super) fn user_id(text: &str) -> Result<UserId, Error> {
    text.parse().map_err(|_| Error::not_found("member"))
}
