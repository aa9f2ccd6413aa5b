//! The members of an organization: listed, given other roles, suspended, let in again, removed.

use jiff::Timestamp;
use kt_domain::actor::{Permission, Role};
use kt_domain::audit::{AuditAction, AuditActor};
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::members::{MemberChange, allow_change, last_owner};
use kt_domain::mfa::MfaSettings;
use kt_domain::order::{MemberColumn, Order};
use kt_domain::search::Search;
use kt_domain::sign_in::MembershipState;
use kt_domain::words;
use kt_store::conversations::{self, Keeper};
use kt_store::memberships::{self, AskedMembers, Member, MembersFilter, Membership};
use kt_store::order::{Part, Place};
use kt_store::{Tx, audit, external_identities, keys, organizations, scim, sessions, setup_requests, tasks};
use serde_json::{Value, json};

use crate::control::Control;
use crate::mail::{Label, Message};
use crate::paging::{Page, PageRequest, PageSize};
use crate::post::kept_email;

/// A member, and how they stand with what is asked of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Their place.
    pub membership: Membership,
    /// Their address.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// Whether they have a second factor.
    pub has_second_factor: bool,
    /// From when on they can do nothing but add what they lack, if they lack something.
    pub mfa_deadline: Option<Timestamp>,
    /// Whether that time has come.
    pub is_late: bool,
}

/// Which members are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactorFilter {
    /// Those who have no second factor, whatever is asked of them.
    Without,
    /// Those who have no second factor, or not the one that is asked of them.
    Missing,
    /// Those among them whose deadline has passed.
    Late,
}

words!(FactorFilter { Without = "none", Missing = "missing", Late = "late" });

/// Which members are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhichMembers {
    /// Those alone.
    pub factor: Option<FactorFilter>,
    /// Those alone whose name, address or role holds this.
    pub search: Option<String>,
    /// In which order.
    pub order: Order<MemberColumn>,
}

/// Which members are listed, as it was checked, and what is asked of them.
pub(crate) struct SoughtMembers {
    factor: Option<FactorFilter>,
    search: Option<Search>,
    pub(crate) order: Order<MemberColumn>,
    mfa: MfaSettings,
    now: Timestamp,
}

/// How long the pages of members are.
const PAGES: PageSize = PageSize { usual: 50, most: 1000 };

impl SoughtMembers {
    /// How one of them stands with what is asked of them.
    pub(crate) fn view(&self, member: Member) -> MemberView {
        view(member, &self.mfa, self.now)
    }
}

impl Control {
    /// Who belongs to the organization.
    pub async fn members(
        &self,
        ctx: &Ctx,
        request: &PageRequest,
        which: &WhichMembers,
    ) -> Result<Page<MemberView>, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let sought = self.sought_members(ctx, organization, which).await?;
        let list = format!("members/{organization}/{}", sought.order);
        let limit = PAGES.of(request)?;
        let after: Option<Place> = self.position(&list, request)?;
        let found = self.listed_members(organization, &sought, after.as_ref(), limit + 1).await?;
        let page = self.page(&list, limit, found, |member| memberships::place_of(member, sought.order.by))?;
        let items = page.items.into_iter().map(|member| sought.view(member)).collect();
        Ok(Page { items, next_cursor: page.next_cursor })
    }

    /// What a list of members is about.
    pub(crate) async fn sought_members(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        which: &WhichMembers,
    ) -> Result<SoughtMembers, Error> {
        let search = Search::read(which.search.as_deref().unwrap_or_default())?;
        let mfa = self.security_of(&self.store, organization).await?.value.mfa;
        Ok(SoughtMembers { factor: which.factor, search, order: which.order, mfa, now: ctx.now })
    }

    /// The first of them behind this place.
    pub(crate) async fn listed_members(
        &self,
        organization: &OrganizationId,
        sought: &SoughtMembers,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<Member>, Error> {
        let SoughtMembers { factor, search, order, mfa, now } = sought;
        let roles = asked_roles(mfa);
        let late = AskedMembers { roles: &roles, before: mfa.asked_before(*now) };
        let filter = MembersFilter {
            lacking: factor.is_some(),
            asked: (*factor == Some(FactorFilter::Late)).then_some(late),
            search: search.as_ref(),
            admins_need_passkey: mfa.require_passkey_for_admins && *factor != Some(FactorFilter::Without),
        };
        let part = Part { order: *order, after, limit };
        Ok(memberships::members(&self.store, organization, filter, part).await?)
    }

    /// How many of them lack a second factor, or the one that is asked of them.
    pub async fn members_lacking(&self, ctx: &Ctx) -> Result<i64, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let mfa = self.security_of(&self.store, organization).await?.value.mfa;
        Ok(memberships::count(&self.store, organization, lacking(&mfa)).await?)
    }

    /// How many of an organization lack the second factor that is asked of them, whether or not their time is over.
    pub(crate) async fn members_asked(&self, organization: &OrganizationId) -> Result<i64, Error> {
        let mfa = self.security_of(&self.store, organization).await?.value.mfa;
        let roles = asked_roles(&mfa);
        let asked = Some(AskedMembers { roles: &roles, before: Timestamp::MAX });
        Ok(memberships::count(&self.store, organization, MembersFilter { asked, ..lacking(&mfa) }).await?)
    }

    /// One of them.
    pub async fn member(&self, ctx: &Ctx, user: &UserId) -> Result<MemberView, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let mfa = self.security_of(&self.store, organization).await?.value.mfa;
        let member = memberships::member(&self.store, organization, user).await?.ok_or_else(no_member)?;
        Ok(view(member, &mfa, ctx.now))
    }

    /// Changes somebody's membership; felt at their next request. `None` where they no longer are a member. Refused with
    /// `rank_too_low` by whoever is of lower rank than they are or would be, and with `last_owner` where nobody would be
    /// left to run the organization.
    pub async fn change_member(
        &self,
        ctx: &Ctx,
        user: &UserId,
        change: MemberChange,
    ) -> Result<Option<MemberView>, Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        self.change_place(ctx, &tx, organization, user, change).await?;
        let mfa = self.security_of(&tx, organization).await?.value.mfa;
        let after = memberships::member(&tx, organization, user).await?;
        self.commit_revocation(tx).await?;
        Ok(after.map(|member| view(member, &mfa, ctx.now)))
    }

    /// Does so in a transaction that is under way, and for whoever has been let through to it: what the actor's rank
    /// allows, and no more.
    pub(crate) async fn change_place(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        user: &UserId,
        change: MemberChange,
    ) -> Result<(), Error> {
        // Held still, so that two owners cannot remove each other.
        organizations::lock(tx, organization).await?;
        let member = memberships::member(tx, organization, user).await?.ok_or_else(no_member)?;
        let before = &member.membership;
        allow_change(&ctx.actor, user, before.role, change)?;
        let (role, state) = match change {
            MemberChange::Role(role) => (role, before.state),
            MemberChange::Suspend => (before.role, MembershipState::Suspended),
            MemberChange::Reactivate => (before.role, MembershipState::Active),
            MemberChange::EndSessions => return self.end_sessions_of_member(ctx, tx, &member).await,
            MemberChange::Remove => return self.remove_member(ctx, tx, organization, before).await,
        };
        if (role, state) == (before.role, before.state) {
            return Ok(());
        }
        self.put_in_place(ctx, tx, before, role, state).await?;
        if state == MembershipState::Suspended {
            sessions::end_all(tx, organization, user, ctx.now).await?;
        }
        keep_an_owner(tx, before).await?;
        let (was, is) = match change {
            MemberChange::Role(_) => (json!({ "role": before.role }), json!({ "role": role })),
            _ => (json!({ "state": before.state }), json!({ "state": state })),
        };
        let record = self.record(ctx, recorded_as(change), user.as_str()).with_change(was, is);
        audit::append(tx, Some(organization), &record).await?;
        self.tell_of_change(ctx, tx, &member, change).await
    }

    /// Signs somebody out who stays a member; they may sign in again at once.
    async fn end_sessions_of_member(&self, ctx: &Ctx, tx: &Tx<'_>, member: &Member) -> Result<(), Error> {
        let place = &member.membership;
        let ended = sessions::end_all(tx, &place.organization, &place.user, ctx.now).await?;
        self.record_revoked(ctx, tx, &place.organization, &ended).await?;
        if !ended.is_empty() {
            self.tell_of_change(ctx, tx, member, MemberChange::EndSessions).await?;
        }
        Ok(())
    }

    /// Signs everybody out whose rank allows it but the one who asks (OWASP ASVS 5.0, 7.4.5); they may sign in again at once.
    pub async fn end_everybodys_sessions(&self, ctx: &Ctx) -> Result<(), Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        let living = self.security_of(&tx, organization).await?.value.session.living_since(ctx.now);
        for user in sessions::holders(&tx, organization, living).await? {
            let Some(member) = memberships::member(&tx, organization, &user).await? else { continue };
            let role = member.membership.role;
            if allow_change(&ctx.actor, &user, role, MemberChange::EndSessions).is_ok() {
                self.end_sessions_of_member(ctx, &tx, &member).await?;
            }
        }
        self.commit_revocation(tx).await
    }

    /// Tells somebody by mail what an administrator has done to their sessions and their way in.
    async fn tell_of_change(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        member: &Member,
        change: MemberChange,
    ) -> Result<(), Error> {
        let id = &member.membership.organization;
        let found = organizations::find(tx, id).await?.ok_or_else(|| Error::not_found("organization"))?;
        let (organization, at) = (Label::new(&found.name), ctx.now);
        let message = match change {
            MemberChange::Suspend => Message::Suspended { organization, at },
            MemberChange::Reactivate => Message::Reactivated { organization, at },
            MemberChange::EndSessions => {
                let by = Label::new(&AuditActor::of(&ctx.actor).name);
                Message::SessionsEnded { organization, by, at }
            }
            MemberChange::Role(_) | MemberChange::Remove => return Ok(()),
        };
        self.enqueue(ctx, tx, Some(id), Some(&kept_email(&member.email)?), &message).await
    }

    async fn remove_member(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        before: &Membership,
    ) -> Result<(), Error> {
        let keeper = Keeper { organization, user: &before.user };
        conversations::remove_all(tx, keeper).await?;
        tasks::remove_all(tx, keeper).await?;
        setup_requests::remove_all(tx, organization, &before.user).await?;
        scim::forget_user(tx, organization, &before.user).await?;
        memberships::remove(tx, organization, &before.user).await?;
        sessions::end_all(tx, organization, &before.user, ctx.now).await?;
        // Should they be invited again one day, their old keys are not.
        keys::end_all(tx, organization, &before.user, ctx.now).await?;
        external_identities::forget_member(tx, organization, &before.user).await?;
        keep_an_owner(tx, before).await?;
        let was = json!({ "role": before.role, "state": before.state });
        let record = self
            .record(ctx, recorded_as(MemberChange::Remove), before.user.as_str())
            .with_change(was, Value::Null);
        Ok(audit::append(tx, Some(organization), &record).await?)
    }
}

/// The active members who lack a second factor, or the one that is asked of them.
pub(crate) fn lacking(mfa: &MfaSettings) -> MembersFilter<'static> {
    MembersFilter {
        lacking: true,
        admins_need_passkey: mfa.require_passkey_for_admins,
        ..MembersFilter::default()
    }
}

/// The roles of which a second factor is asked.
fn asked_roles(mfa: &MfaSettings) -> Vec<Role> {
    Role::ALL.iter().copied().filter(|role| mfa.asks(*role)).collect()
}

fn view(member: Member, mfa: &MfaSettings, now: Timestamp) -> MemberView {
    let mfa_deadline = mfa_deadline(&member, mfa);
    let Member { membership, email, name, factors, .. } = member;
    let is_late = mfa_deadline.is_some_and(|deadline| now >= deadline);
    MemberView { membership, email, name, has_second_factor: factors.has_any(), mfa_deadline, is_late }
}

/// From when on somebody can do nothing but add the second factor that they lack, if they lack one that is asked of them.
/// Those for whom the organization's identity provider vouches are asked there.
pub(crate) fn mfa_deadline(member: &Member, mfa: &MfaSettings) -> Option<Timestamp> {
    let is_met = mfa.demand(member.membership.role).is_met_by(&member.factors.list());
    (!is_met && !member.is_vouched_for).then(|| mfa.deadline(member.membership.asked_since()))
}

/// Refuses what has left the organization without an active owner.
async fn keep_an_owner(tx: &Tx<'_>, before: &Membership) -> Result<(), Error> {
    let was_one = before.role == Role::Owner && before.state == MembershipState::Active;
    if was_one && memberships::count_active_owners(tx, &before.organization).await? == 0 {
        return Err(last_owner());
    }
    Ok(())
}

fn recorded_as(change: MemberChange) -> AuditAction {
    match change {
        MemberChange::Role(_) => AuditAction::MemberRoleChanged,
        MemberChange::Suspend => AuditAction::MemberSuspended,
        MemberChange::Reactivate => AuditAction::MemberReactivated,
        MemberChange::EndSessions => AuditAction::SessionRevoked,
        MemberChange::Remove => AuditAction::MemberRemoved,
    }
}

fn no_member() -> Error {
    Error::not_found("member")
}
