//! The members of an organisation: listed, given other roles, suspended, let in again, removed.

use kt_domain::actor::{Permission, Role};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::members::{MemberChange, allow_change, last_owner};
use kt_domain::sign_in::MembershipState;
use kt_store::memberships::{self, Member, Membership};
use kt_store::{Tx, audit, organizations, sessions};
use serde_json::{Value, json};

use crate::control::Control;
use crate::paging::{Page, PageRequest, PageSize};

/// How long the pages of members are.
const PAGES: PageSize = PageSize { usual: 50, most: 200 };

impl Control {
    /// Who belongs to the organisation.
    pub async fn members(&self, ctx: &Ctx, request: &PageRequest) -> Result<Page<Member>, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let list = format!("members/{organization}");
        let limit = PAGES.of(request)?;
        let after: Option<UserId> = self.position(&list, request)?;
        let found = memberships::members(&self.store, organization, after.as_ref(), limit + 1).await?;
        self.page(&list, limit, found, |member| member.membership.user.clone())
    }

    /// One of them.
    pub async fn member(&self, ctx: &Ctx, user: &UserId) -> Result<Member, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        memberships::member(&self.store, organization, user).await?.ok_or_else(no_member)
    }

    /// Changes somebody's membership; felt at their next request. `None` where they no longer are a member. Refused with
    /// `rank_too_low` by whoever is of lower rank than they are or would be, and with `last_owner` where nobody would be
    /// left to run the organisation.
    pub async fn change_member(
        &self,
        ctx: &Ctx,
        user: &UserId,
        change: MemberChange,
    ) -> Result<Option<Member>, Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        // Held still, so that two owners cannot remove each other.
        organizations::lock(&tx, organization).await?;
        let member = memberships::member(&tx, organization, user).await?.ok_or_else(no_member)?;
        let before = &member.membership;
        allow_change(&ctx.actor, user, before.role, change)?;
        let (role, state) = match change {
            MemberChange::Role(role) => (role, before.state),
            MemberChange::Suspend => (before.role, MembershipState::Suspended),
            MemberChange::Reactivate => (before.role, MembershipState::Active),
            MemberChange::Remove => return self.remove_member(ctx, tx, organization, before).await,
        };
        if (role, state) == (before.role, before.state) {
            return Ok(Some(member));
        }
        memberships::change(&tx, before, role, state).await?;
        self.ask_as(ctx, &tx, before, role).await?;
        if state == MembershipState::Suspended {
            sessions::end_all(&tx, organization, user, ctx.now).await?;
        }
        keep_an_owner(&tx, before).await?;
        let (was, is) = match change {
            MemberChange::Role(_) => (json!({ "role": before.role }), json!({ "role": role })),
            _ => (json!({ "state": before.state }), json!({ "state": state })),
        };
        let record = self.record(ctx, recorded_as(change), user.as_str()).with_change(was, is);
        audit::append(&tx, Some(organization), &record).await?;
        let after = memberships::member(&tx, organization, user).await?;
        self.commit_revocation(tx).await?;
        Ok(after)
    }

    async fn remove_member(
        &self,
        ctx: &Ctx,
        tx: Tx<'_>,
        organization: &OrganizationId,
        before: &Membership,
    ) -> Result<Option<Member>, Error> {
        memberships::remove(&tx, organization, &before.user).await?;
        sessions::end_all(&tx, organization, &before.user, ctx.now).await?;
        keep_an_owner(&tx, before).await?;
        let was = json!({ "role": before.role, "state": before.state });
        let record = self
            .record(ctx, recorded_as(MemberChange::Remove), before.user.as_str())
            .with_change(was, Value::Null);
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await?;
        Ok(None)
    }

    /// Whom a second factor is asked of goes by their role.
    async fn ask_as(&self, ctx: &Ctx, tx: &Tx<'_>, before: &Membership, role: Role) -> Result<(), Error> {
        let mfa = self.security_of(tx, &before.organization).await?.value.mfa;
        let since = mfa.asked_since(role, before.mfa_asked_since, ctx.now);
        Ok(memberships::note_asked(tx, &before.organization, &before.user, since).await?)
    }
}

/// Refuses what has left the organisation without an active owner.
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
        MemberChange::Remove => AuditAction::MemberRemoved,
    }
}

fn no_member() -> Error {
    Error::not_found("member")
}
