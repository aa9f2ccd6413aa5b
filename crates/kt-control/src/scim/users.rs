//! The members of an organization, as its identity provider makes, changes and ends them.

use kt_domain::actor::{Permission, Role};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::members::MemberChange;
use kt_domain::scim::{Names, ScimType, UserChange, UserRequest};
use kt_domain::sign_in::MembershipState;
use kt_store::memberships::Membership;
use kt_store::scim::{self, Part, ScimGroup, ScimUser};
use kt_store::users::{self, User};
use kt_store::{StoreError, Tx, audit, memberships, organizations};
use serde_json::{Value, json};

use super::{ScimQuery, taken};
use crate::control::Control;
use crate::organizations::check_name;
use crate::post::{kept_email, parse_email};
use crate::registration::new_place;
use crate::sso::wiped;

/// A user, and the groups they are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimUserView {
    /// The user.
    pub user: ScimUser,
    /// Their groups, by their names.
    pub groups: Vec<ScimGroup>,
}

impl Control {
    /// The members, as the provider sees them.
    pub async fn scim_users(&self, ctx: &Ctx, query: &ScimQuery) -> Result<Part<ScimUserView>, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let found = scim::users(&self.store, organization, &query.filter, query.from, query.limit).await?;
        let wanted = found.items.iter().filter(|_| query.with_places).map(|user| user.user.clone());
        let wanted: Vec<_> = wanted.collect();
        let mut groups = scim::groups_of_all(&self.store, organization, &wanted).await?;
        let view = |user: ScimUser| {
            let groups = groups.remove(&user.user).unwrap_or_default();
            ScimUserView { user, groups }
        };
        Ok(Part { total: found.total, items: found.items.into_iter().map(view).collect() })
    }

    /// One of them.
    pub async fn scim_user(&self, ctx: &Ctx, id: &str) -> Result<ScimUserView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let id = id.parse().map_err(|_| no_user())?;
        let user = scim::user(&self.store, organization, &id).await?.ok_or_else(no_user)?;
        let groups = scim::groups_of(&self.store, organization, &id).await?;
        Ok(ScimUserView { user, groups })
    }

    /// Makes a member of somebody with an address in a domain of the organization's own: as `member`, unless their groups
    /// say more later. An account that is new has no password, and one whose address nobody had shown to be theirs loses
    /// what it was opened with. Whoever waits for approval has it by this.
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
            let waiting = waiting(&tx, organization, &user).await?;
            self.put_in_place(ctx, &tx, &waiting, Role::Member, state).await?;
        }
        memberships::note_suspended_by_provider(&tx, organization, &user).await?;
        let external_id = change.external_id.over(None);
        keep(ctx, &tx, organization, &user, external_id.as_deref(), &names).await?;
        let made = json!({ "email": email, "external_id": external_id, "state": state });
        let record =
            self.record(ctx, AuditAction::MemberProvisioned, user.as_str()).with_change(Value::Null, made);
        audit::append(&tx, Some(organization), &record).await?;
        // What an account that was wiped had opened is refused at once.
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
            // Its domain is the organization's own, which vouches for it.
            email_verified_at: Some(ctx.now),
            name: name.clone(),
            password: None,
            epoch: 1,
            created_at: ctx.now,
        };
        users::insert_unless_known(tx, &user).await?;
        let known = users::by_email(tx, &email.folded()).await?;
        let known = known.ok_or_else(|| Error::internal("an account that was added is not there"))?;
        if known.email_verified_at.is_some() {
            return Ok(known.id);
        }
        users::rename(tx, &known.id, &name).await?;
        Ok(wiped(ctx, tx, known).await?.id)
    }

    /// Changes a user; felt at their next request. Nothing stands in the way of the end of access: where somebody is
    /// deactivated, what else is sent and cannot be read or done is recorded, and passed over.
    pub async fn change_scim_user(
        &self,
        ctx: &Ctx,
        id: &str,
        request: UserRequest,
    ) -> Result<ScimUserView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let user: UserId = id.parse().map_err(|_| no_user())?;
        if request.ends_access {
            self.deactivate(ctx, organization, &user).await?;
        }
        let changed = match request.change {
            Ok(change) => self.change_details(ctx, organization, &user, &change).await,
            Err(unreadable) => Err(unreadable),
        };
        match changed {
            Err(refused) if request.ends_access && is_refusal(&refused) => {
                self.record_passed_over(ctx, organization, &user, &refused).await?;
            }
            changed => changed?,
        }
        self.scim_user(ctx, id).await
    }

    /// By itself, and first.
    async fn deactivate(&self, ctx: &Ctx, organization: &OrganizationId, user: &UserId) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let before = scim::user(&tx, organization, user).await?.ok_or_else(no_user)?;
        self.change_place(ctx, &tx, organization, user, MemberChange::Suspend).await?;
        if !before.is_suspended_here {
            memberships::note_suspended_by_provider(&tx, organization, user).await?;
        }
        self.commit_revocation(tx).await
    }

    /// All but the end of somebody's access. Whoever was suspended here stays so, whatever the provider says of them: it sends
    /// `active` with every change of a name.
    async fn change_details(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        user: &UserId,
        change: &UserChange,
    ) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let before = scim::user(&tx, organization, user).await?.ok_or_else(no_user)?;
        let email = kept_email(&before.email)?;
        keep_user_name(&email, change)?;
        let is_own = self.owns_domain(&tx, organization, email.domain()).await?;
        self.change_names(ctx, &tx, organization, &before, change, is_own).await?;
        if change.active == Some(true) && !before.is_suspended_here {
            self.change_place(ctx, &tx, organization, user, MemberChange::Reactivate).await?;
        }
        self.commit_revocation(tx).await
    }

    async fn record_passed_over(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        user: &UserId,
        refused: &Error,
    ) -> Result<(), Error> {
        let record = self
            .record(ctx, AuditAction::MemberProvisioned, user.as_str())
            .with_change(Value::Null, json!({ "passed_over": refused.message }))
            .refused();
        let tx = self.store.begin_write().await?;
        audit::append(&tx, Some(organization), &record).await?;
        Ok(tx.commit().await?)
    }

    /// Keeps what the provider calls somebody. What they are called here follows where their address is the organization's
    /// own (`is_own`).
    async fn change_names(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        before: &ScimUser,
        change: &UserChange,
        is_own: bool,
    ) -> Result<(), Error> {
        let external_id = change.external_id.over(before.external_id.as_deref());
        let names = change.names_after(&before.names);
        if external_id == before.external_id && names == before.names {
            return Ok(());
        }
        keep(ctx, tx, organization, &before.user, external_id.as_deref(), &names).await?;
        let name = names.whole().filter(|_| is_own).unwrap_or_else(|| before.name.clone());
        if name != before.name {
            check_name("displayName", &name)?;
            users::rename(tx, &before.user, &name).await?;
        }
        let was = json!({ "external_id": before.external_id, "name": before.name });
        let is = json!({ "external_id": external_id, "name": name });
        let record =
            self.record(ctx, AuditAction::MemberProvisioned, before.user.as_str()).with_change(was, is);
        Ok(audit::append(tx, Some(organization), &record).await?)
    }

    /// Ends somebody's membership. Their sessions and keys here are refused from the next request on.
    pub async fn remove_scim_user(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let organization = ctx.require(Permission::Provision)?;
        let user: UserId = id.parse().map_err(|_| no_user())?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        scim::user(&tx, organization, &user).await?.ok_or_else(no_user)?;
        self.change_place(ctx, &tx, organization, &user, MemberChange::Remove).await?;
        self.commit_revocation(tx).await
    }
}

/// The place of somebody who waits for approval; whoever is a member already is not made one again.
async fn waiting(tx: &Tx<'_>, organization: &OrganizationId, user: &UserId) -> Result<Membership, Error> {
    let place = memberships::find(tx, organization, user).await?;
    place
        .filter(|place| place.state == MembershipState::PendingApproval)
        .ok_or_else(|| taken("There is a user with this `userName`."))
}

async fn keep(
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

/// Somebody's address is how they sign in, and their account's alone: the provider does not change it.
fn keep_user_name(email: &EmailAddress, change: &UserChange) -> Result<(), Error> {
    let Some(name) = &change.user_name else { return Ok(()) };
    if parse_email("userName", name)?.folded() == email.folded() {
        return Ok(());
    }
    let message = "A user's `userName` stays as it is: it is how the account is known here. Where it has to be another, remove \
                   the user and make a new one.";
    Err(ScimType::Mutability.refusal(message))
}

/// Whether what was sent is at fault, and not the moment.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Malformed | ErrorKind::Invalid | ErrorKind::Conflict)
}

fn no_user() -> Error {
    Error::not_found("user")
}

fn foreign_domain() -> Error {
    let message = "`userName` must be an address in a domain that the organization has shown to be its own, under \
                   Settings, Security, Single sign-on.";
    ScimType::InvalidValue.refusal(message)
}
