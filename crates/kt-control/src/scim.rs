//! Provisioning by SCIM: an identity provider makes, changes and ends memberships, and says who is in which group.
//!
//! The provider acts by a key of its own kind, in the name of whoever made it: it reaches nobody of higher rank than they
//! are, makes nobody an owner, and never leaves an organisation without one.

use std::collections::BTreeSet;

use kt_domain::actor::{Permission, Role};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, ScimGroupId, UserId};
use kt_domain::members::MemberChange;
use kt_domain::scim::{Equals, GroupChange, MemberEdit, Names, UserChange};
use kt_domain::sign_in::MembershipState;
use kt_store::scim::{self, Part, ScimGroup, ScimUser};
use kt_store::users::{self, User};
use kt_store::{StoreError, Tx, audit, identity_providers, memberships, organizations};
use serde_json::{Value, json};

use crate::control::Control;
use crate::organizations::check_name;
use crate::post::parse_email;
use crate::registration::new_place;

/// A user, and the groups they are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimUserView {
    /// The user.
    pub user: ScimUser,
    /// Their groups, by their names.
    pub groups: Vec<(ScimGroupId, String)>,
}

/// A group, and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimGroupView {
    /// The group.
    pub group: ScimGroup,
    /// Its members, with their names.
    pub members: Vec<(UserId, String)>,
}

/// Which part of a list: the first place is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScimQuery {
    /// What fits.
    pub filter: Option<Equals>,
    /// From where.
    pub from: i64,
    /// At most how many.
    pub limit: i64,
}

impl Control {
    /// Lets an identity provider through, and nobody else.
    pub fn require_provisioning(&self, ctx: &Ctx) -> Result<(), Error> {
        ctx.require(Permission::Provision).map(|_| ())
    }

    /// The members, as the provider sees them.
    pub async fn scim_users(&self, ctx: &Ctx, query: &ScimQuery) -> Result<Part<ScimUserView>, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let found =
            scim::users(&self.store, organization, query.filter.as_ref(), query.from, query.limit).await?;
        let mut items = Vec::new();
        for user in found.items {
            let groups = scim::groups_of(&self.store, organization, &user.user).await?;
            items.push(ScimUserView { user, groups });
        }
        Ok(Part { total: found.total, items })
    }

    /// One of them.
    pub async fn scim_user(&self, ctx: &Ctx, id: &str) -> Result<ScimUserView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let id = id.parse().map_err(|_| no_user())?;
        let user = scim::user(&self.store, organization, &id).await?.ok_or_else(no_user)?;
        let groups = scim::groups_of(&self.store, organization, &id).await?;
        Ok(ScimUserView { user, groups })
    }

    /// Makes a member of somebody with an address in a domain of the organisation's own: as `member`, unless their groups
    /// say more later. An account that is new has no password, and one whose address nobody had shown to be theirs loses
    /// what it was opened with.
    pub async fn create_scim_user(&self, ctx: &Ctx, change: &UserChange) -> Result<ScimUserView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let email = parse_email("userName", change.user_name.as_deref().unwrap_or_default())?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        if !self.owns_domain(&tx, organization, email.domain()).await? {
            return Err(foreign_domain());
        }
        let names = change.names_after(&Names::default());
        let user = self.account_for(ctx, &tx, &email, &names).await?;
        let security = self.security_of(&tx, organization).await?.value;
        let state = match change.active {
            Some(false) => MembershipState::Suspended,
            _ => MembershipState::Active,
        };
        let place = new_place(ctx, organization, &user, Role::Member, state, &security);
        if !memberships::insert_unless_there(&tx, &place).await? {
            return Err(taken("There is a user with this `userName`."));
        }
        let external_id = change.external_id.clone().flatten();
        self.keep_user(ctx, &tx, organization, &user, external_id.as_deref(), &names).await?;
        let made = json!({ "email": email, "external_id": external_id, "state": state });
        let record =
            self.record(ctx, AuditAction::MemberProvisioned, user.as_str()).with_change(Value::Null, made);
        audit::append(&tx, Some(organization), &record).await?;
        // Whoever waited for approval and was wiped is out at once.
        self.commit_revocation(tx).await?;
        self.scim_user(ctx, user.as_str()).await
    }

    /// The account of this address, made where there is none.
    async fn account_for(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        email: &EmailAddress,
        names: &Names,
    ) -> Result<UserId, Error> {
        let name = names.whole().unwrap_or_else(|| email.as_typed().to_owned());
        check_name("displayName", &name)?;
        let user = User {
            id: self.draw(|random| UserId::new(ctx.now, random)),
            email: email.as_typed().to_owned(),
            email_folded: email.folded(),
            // Its domain is the organisation's own, which vouches for it.
            email_verified_at: Some(ctx.now),
            name: name.clone(),
            password: None,
            epoch: 1,
            created_at: ctx.now,
        };
        users::insert_unless_known(tx, &user).await?;
        let known = users::by_email(tx, &email.folded()).await?;
        let known = known.ok_or_else(|| Error::internal("an account that was added is not there"))?;
        if users::take_over_unverified(tx, &known.id, ctx.now).await? {
            users::rename(tx, &known.id, &name).await?;
        }
        Ok(known.id)
    }

    /// Changes a user; felt at their next request.
    pub async fn change_scim_user(
        &self,
        ctx: &Ctx,
        id: &str,
        change: &UserChange,
    ) -> Result<ScimUserView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let user: UserId = id.parse().map_err(|_| no_user())?;
        let tx = self.store.begin_write().await?;
        let before = scim::user(&tx, organization, &user).await?.ok_or_else(no_user)?;
        self.keep_user_name(&before, change)?;
        let external_id = change.external_id.clone().unwrap_or_else(|| before.external_id.clone());
        let names = change.names_after(&before.names);
        if external_id != before.external_id || names != before.names {
            self.keep_user(ctx, &tx, organization, &user, external_id.as_deref(), &names).await?;
            let is_own = self.owns_domain(&tx, organization, domain_of(&before.email)).await?;
            if let Some(name) = names.whole().filter(|name| is_own && *name != before.name) {
                check_name("displayName", &name)?;
                users::rename(&tx, &user, &name).await?;
            }
            let was = json!({ "external_id": before.external_id, "name": before.name });
            let is = json!({ "external_id": external_id, "name": names.whole() });
            let record = self.record(ctx, AuditAction::MemberProvisioned, user.as_str()).with_change(was, is);
            audit::append(&tx, Some(organization), &record).await?;
        }
        if let Some(active) = change.active {
            let wanted = if active { MemberChange::Reactivate } else { MemberChange::Suspend };
            self.change_place(ctx, &tx, organization, &user, wanted).await?;
        }
        self.commit_revocation(tx).await?;
        self.scim_user(ctx, id).await
    }

    /// Somebody's address is how they sign in, and their account's alone: the provider does not change it.
    fn keep_user_name(&self, before: &ScimUser, change: &UserChange) -> Result<(), Error> {
        let Some(name) = &change.user_name else { return Ok(()) };
        if parse_email("userName", name)?.folded() == before.email.to_lowercase() {
            return Ok(());
        }
        let message = "A user's `userName` stays as it is. Let them change their address in their profile, or remove the \
                       user and make another.";
        Err(Error::new(ErrorKind::Malformed, "mutability", message))
    }

    async fn keep_user(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        user: &UserId,
        external_id: Option<&str>,
        names: &Names,
    ) -> Result<(), Error> {
        match scim::save_user(tx, organization, user, external_id, names, ctx.now).await {
            Err(StoreError::Exists) => Err(taken("There is a user with this `externalId`.")),
            saved => Ok(saved?),
        }
    }

    /// Ends somebody's membership. Their sessions and keys here are refused from the next request on.
    pub async fn remove_scim_user(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let organization = ctx.require(Permission::Provision)?;
        let user: UserId = id.parse().map_err(|_| no_user())?;
        let tx = self.store.begin_write().await?;
        scim::user(&tx, organization, &user).await?.ok_or_else(no_user)?;
        scim::forget_user(&tx, organization, &user).await?;
        self.change_place(ctx, &tx, organization, &user, MemberChange::Remove).await?;
        self.commit_revocation(tx).await
    }

    /// The provider's groups.
    pub async fn scim_groups(&self, ctx: &Ctx, query: &ScimQuery) -> Result<Part<ScimGroupView>, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let found =
            scim::groups(&self.store, organization, query.filter.as_ref(), query.from, query.limit).await?;
        let mut items = Vec::new();
        for group in found.items {
            let members = scim::members(&self.store, &group.id).await?;
            items.push(ScimGroupView { group, members });
        }
        Ok(Part { total: found.total, items })
    }

    /// One of them.
    pub async fn scim_group(&self, ctx: &Ctx, id: &str) -> Result<ScimGroupView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let id = id.parse().map_err(|_| no_group())?;
        let group = scim::group(&self.store, organization, &id).await?.ok_or_else(no_group)?;
        let members = scim::members(&self.store, &id).await?;
        Ok(ScimGroupView { group, members })
    }

    /// Adds a group.
    pub async fn create_scim_group(&self, ctx: &Ctx, change: &GroupChange) -> Result<ScimGroupView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let group = ScimGroup {
            id: self.draw(|random| ScimGroupId::new(ctx.now, random)),
            display_name: change.display_name.clone().unwrap_or_default(),
            external_id: change.external_id.clone().flatten(),
            created_at: ctx.now,
            changed_at: ctx.now,
        };
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        self.save_group(ctx, tx, organization, None, group, &change.members).await
    }

    /// Changes a group. The roles of all whom that concerns follow at once.
    pub async fn change_scim_group(
        &self,
        ctx: &Ctx,
        id: &str,
        change: &GroupChange,
    ) -> Result<ScimGroupView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let id = id.parse().map_err(|_| no_group())?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let before = scim::group(&tx, organization, &id).await?.ok_or_else(no_group)?;
        let after = ScimGroup {
            display_name: change.display_name.clone().unwrap_or_else(|| before.display_name.clone()),
            external_id: change.external_id.clone().unwrap_or_else(|| before.external_id.clone()),
            changed_at: ctx.now,
            ..before.clone()
        };
        self.save_group(ctx, tx, organization, Some(&before), after, &change.members).await
    }

    async fn save_group(
        &self,
        ctx: &Ctx,
        tx: Tx<'_>,
        organization: &OrganizationId,
        before: Option<&ScimGroup>,
        after: ScimGroup,
        edits: &[MemberEdit],
    ) -> Result<ScimGroupView, Error> {
        match scim::save_group(&tx, organization, &after).await {
            Err(StoreError::Exists) => {
                return Err(taken("There is a group with this `displayName` or `externalId`."));
            }
            saved => saved?,
        }
        let was = members_of(&tx, &after.id).await?;
        for edit in edits {
            edit_members(&tx, organization, &after.id, edit).await?;
        }
        let is = members_of(&tx, &after.id).await?;
        let is_renamed = before.is_some_and(|before| before.display_name != after.display_name);
        let concerned: Vec<_> =
            if is_renamed { was.union(&is).collect() } else { was.symmetric_difference(&is).collect() };
        for user in concerned {
            self.follow_groups(ctx, &tx, organization, user).await?;
        }
        let told = |group: &ScimGroup, members: &BTreeSet<UserId>| json!({ "name": group.display_name, "members": members });
        let change = before.map_or(Value::Null, |before| told(before, &was));
        let record = self
            .record(ctx, AuditAction::GroupProvisioned, after.id.as_str())
            .with_change(change, told(&after, &is));
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await?;
        self.scim_group(ctx, after.id.as_str()).await
    }

    /// Removes a group. Its members stay, with the roles that their other groups give them.
    pub async fn remove_scim_group(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let organization = ctx.require(Permission::Provision)?;
        let id = id.parse().map_err(|_| no_group())?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let before = scim::group(&tx, organization, &id).await?.ok_or_else(no_group)?;
        let members = members_of(&tx, &id).await?;
        scim::remove_group(&tx, &id).await?;
        for user in &members {
            self.follow_groups(ctx, &tx, organization, user).await?;
        }
        let was = json!({ "name": before.display_name, "members": members });
        let record =
            self.record(ctx, AuditAction::GroupProvisioned, id.as_str()).with_change(was, Value::Null);
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// Gives a member the role that their groups say, by the rule of single sign-on: never owner, and an owner stays one.
    async fn follow_groups(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        user: &UserId,
    ) -> Result<(), Error> {
        let Some(provider) = identity_providers::enabled(tx, organization).await? else { return Ok(()) };
        let Some(place) = memberships::find(tx, organization, user).await? else { return Ok(()) };
        let groups = scim::groups_of(tx, organization, user).await?;
        let groups: Vec<String> = groups.into_iter().map(|(_, name)| name).collect();
        let role = provider.settings.role_after(place.role, Some(&groups));
        if role != place.role {
            self.change_place(ctx, tx, organization, user, MemberChange::Role(role)).await?;
        }
        Ok(())
    }
}

async fn members_of(tx: &Tx<'_>, group: &ScimGroupId) -> Result<BTreeSet<UserId>, Error> {
    Ok(scim::members(tx, group).await?.into_iter().map(|(user, _)| user).collect())
}

async fn edit_members(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    group: &ScimGroupId,
    edit: &MemberEdit,
) -> Result<(), Error> {
    let (joining, leaving): (Vec<UserId>, Vec<UserId>) = match edit {
        MemberEdit::Add(users) => (users.clone(), Vec::new()),
        MemberEdit::Remove(users) => (Vec::new(), users.clone()),
        MemberEdit::Set(users) => {
            let present = members_of(tx, group).await?;
            (users.clone(), present.into_iter().filter(|user| !users.contains(user)).collect())
        }
    };
    for user in leaving {
        scim::leave_group(tx, group, &user).await?;
    }
    for user in joining {
        if !scim::join_group(tx, organization, group, &user).await? {
            let message = format!("`{user}` is no user of this organization.");
            return Err(Error::new(ErrorKind::Malformed, "invalid_value", message));
        }
    }
    Ok(())
}

fn domain_of(email: &str) -> &str {
    email.rsplit_once('@').map_or("", |(_, domain)| domain)
}

fn no_user() -> Error {
    Error::not_found("user")
}

fn no_group() -> Error {
    Error::not_found("group")
}

fn taken(message: &'static str) -> Error {
    Error::new(ErrorKind::Conflict, "uniqueness", message)
}

fn foreign_domain() -> Error {
    let message = "`userName` must be an address in a domain that the organization has shown to be its own, under \
                   Settings, Security, Single sign-on.";
    Error::new(ErrorKind::Malformed, "invalid_value", message)
}
