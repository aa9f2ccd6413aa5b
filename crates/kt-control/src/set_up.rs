//! The first owner and organization: a door that closes once and never opens again.

use std::time::Duration;

use kt_domain::actor::Role;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::passwords::Context;
use kt_domain::secret::{SecretDigest, Token};
use kt_domain::sign_in::MembershipState;
use kt_store::memberships::{self, Membership};
use kt_store::once::{self, OneTime};
use kt_store::organizations::{self, Organization};
use kt_store::users::{self, User};
use kt_store::{Tx, audit};
use serde_json::json;

use crate::authenticate::require_operator;
use crate::control::Control;
use crate::organizations::{check_identifier, check_name};
use crate::passwords::TemporaryPassword;
use crate::post::parse_email;

/// The latch that is closed by the first set-up.
const LATCH: &str = "set_up";

/// What a set-up link is good for.
const PURPOSE: &str = "set_up";

/// How long a set-up link is good (SPEC section 6).
const LINK_LIFETIME: Duration = Duration::from_hours(24);

/// Who becomes the first owner, of which organization.
pub struct SetUp {
    /// The organization's identifier.
    pub organization: String,
    /// Its name.
    pub organization_name: String,
    /// The owner's address.
    pub email: String,
    /// The owner's name.
    pub name: String,
    /// The owner's password.
    pub password: String,
}

/// What was set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUpDone {
    /// The organization.
    pub organization: OrganizationId,
    /// Its owner.
    pub user: UserId,
}

/// A further organization.
pub struct NewOrganization {
    /// Its identifier.
    pub identifier: String,
    /// Its name.
    pub name: String,
    /// The address of its first owner.
    pub owner: String,
}

/// What came of making one.
pub struct OrganizationAdded {
    /// The organization.
    pub organization: OrganizationId,
    /// What its owner signs in with for the first time, where the account is new.
    pub temporary_password: Option<TemporaryPassword>,
}

impl Control {
    /// Whether nothing has been set up yet.
    pub async fn is_new(&self) -> Result<bool, Error> {
        Ok(!organizations::is_latched(&self.store, LATCH).await?)
    }

    /// A link by which whoever holds it becomes the first owner; `None` when that has happened. Earlier links die.
    pub async fn new_set_up_link(&self, ctx: &Ctx) -> Result<Option<Token>, Error> {
        require_operator(ctx)?;
        if !self.is_new().await? {
            return Ok(None);
        }
        let token = self.new_token();
        let tx = self.store.begin_write().await?;
        once::supersede(&tx, PURPOSE, PURPOSE, ctx.now).await?;
        let link = OneTime {
            digest: token.digest(),
            purpose: PURPOSE,
            subject: PURPOSE,
            epoch: None,
            data: &(),
            created_at: ctx.now,
            expires_at: ctx.now + LINK_LIFETIME,
        };
        once::issue(&tx, &link).await?;
        tx.commit().await?;
        Ok(Some(token))
    }

    /// Makes the first owner and organization on the strength of a set-up link, which is used up.
    pub async fn set_up_by_link(&self, ctx: &Ctx, token: &str, set_up: SetUp) -> Result<SetUpDone, Error> {
        // Before the password is looked at, which costs more than a link that is no good is worth.
        let link = once::peek::<()>(&self.store, PURPOSE, &SecretDigest::of(token), ctx.now).await?;
        link.ok_or_else(link_is_no_good)?;
        let user = self.first_owner(ctx, &set_up).await?;
        let tx = self.store.begin_write().await?;
        let consumed = once::consume::<()>(&tx, PURPOSE, &SecretDigest::of(token), ctx.now).await?;
        consumed.ok_or_else(link_is_no_good)?;
        self.make_first(ctx, tx, set_up, user).await
    }

    /// The same without a link, for the operator: unattended installations.
    pub async fn set_up(&self, ctx: &Ctx, set_up: SetUp) -> Result<SetUpDone, Error> {
        require_operator(ctx)?;
        let user = self.first_owner(ctx, &set_up).await?;
        let tx = self.store.begin_write().await?;
        self.make_first(ctx, tx, set_up, user).await
    }

    async fn first_owner(&self, ctx: &Ctx, set_up: &SetUp) -> Result<User, Error> {
        check_identifier(&set_up.organization)?;
        check_name("organization_name", &set_up.organization_name)?;
        check_name("name", &set_up.name)?;
        let email = parse_email("email", &set_up.email)?;
        let context = Context {
            name: &set_up.name,
            address: email.as_typed(),
            organization_name: &set_up.organization_name,
            organization_identifier: &set_up.organization,
        };
        let policy = self.deployment.to_settings().password;
        let password = self.new_password(ctx, "password", &set_up.password, &policy, &context).await?;
        Ok(self.new_account(ctx, &email, &set_up.name, password))
    }

    async fn make_first(&self, ctx: &Ctx, tx: Tx<'_>, set_up: SetUp, user: User) -> Result<SetUpDone, Error> {
        if !organizations::close_latch(&tx, LATCH, ctx.now).await? {
            return Err(already_set_up());
        }
        users::insert(&tx, &user).await?;
        let organization = self.found(ctx, &tx, set_up.organization, set_up.organization_name, &user).await?;
        tx.commit().await?;
        Ok(SetUpDone { organization, user: user.id })
    }

    /// Makes a further organization with its first owner, for the operator. Somebody without an account gets one, and a
    /// temporary password, which is shown once.
    pub async fn add_organization(
        &self,
        ctx: &Ctx,
        new: NewOrganization,
    ) -> Result<OrganizationAdded, Error> {
        require_operator(ctx)?;
        check_identifier(&new.identifier)?;
        check_name("name", &new.name)?;
        let email = parse_email("owner", &new.owner)?;
        let drawn = self.new_temporary(ctx).await?;
        let tx = self.store.begin_write().await?;
        if !organizations::is_latched(&tx, LATCH).await? {
            return Err(not_set_up());
        }
        if organizations::by_identifier(&tx, &new.identifier).await?.is_some() {
            return Err(identifier_taken());
        }
        let known = users::by_email(&tx, &email.folded()).await?;
        let (owner, temporary_password) = if let Some(user) = known {
            (user, None)
        } else {
            let user = self.new_account(ctx, &email, email.as_typed(), drawn.kept);
            users::insert(&tx, &user).await?;
            (user, Some(drawn.shown))
        };
        let organization = self.found(ctx, &tx, new.identifier, new.name, &owner).await?;
        tx.commit().await?;
        Ok(OrganizationAdded { organization, temporary_password })
    }

    /// An account whose address whoever makes it vouches for.
    fn new_account(&self, ctx: &Ctx, email: &EmailAddress, name: &str, password: users::Password) -> User {
        User {
            id: self.draw(|random| UserId::new(ctx.now, random)),
            email: email.as_typed().to_owned(),
            email_folded: email.folded(),
            email_verified_at: Some(ctx.now),
            name: name.to_owned(),
            password: Some(password),
            epoch: 1,
            created_at: ctx.now,
        }
    }

    /// Makes an organization that this person owns.
    async fn found(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        identifier: String,
        name: String,
        owner: &User,
    ) -> Result<OrganizationId, Error> {
        let id = self.draw(|random| OrganizationId::new(ctx.now, random));
        let organization = Organization { id: id.clone(), identifier, name, created_at: ctx.now };
        organizations::insert(tx, &organization).await?;
        let membership = Membership {
            organization: id.clone(),
            user: owner.id.clone(),
            role: Role::Owner,
            state: MembershipState::Active,
            mfa_asked_since: None,
            created_at: ctx.now,
            last_sign_in_at: None,
        };
        memberships::insert(tx, &membership).await?;
        let after = json!({ "identifier": organization.identifier, "owner": owner.email });
        let record = self
            .record(ctx, AuditAction::OrganizationCreated, id.as_str())
            .with_change(serde_json::Value::Null, after);
        audit::append(tx, Some(&id), &record).await?;
        Ok(id)
    }
}

fn link_is_no_good() -> Error {
    let message = "This set-up link was used, has expired or was replaced. The operator gets a new one by starting the \
                   server again, as long as nothing has been set up.";
    Error::new(ErrorKind::Conflict, "invalid_token", message)
}

fn not_set_up() -> Error {
    let message = "Nothing has been set up yet: the first organization comes with the first owner, as `kt up` and \
                   `kt server run` say.";
    Error::new(ErrorKind::Conflict, "not_set_up", message)
}

fn identifier_taken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "identifier_taken",
        "An organization has this identifier. Choose another.",
    )
}

fn already_set_up() -> Error {
    let message = "This deployment is set up already. Sign in, or ask an administrator for an invitation.";
    Error::new(ErrorKind::Conflict, "already_set_up", message)
}
