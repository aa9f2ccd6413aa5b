//! Registering without an invitation, and showing that one reads the mail of one's address.
//!
//! Whatever is known about an address, registering with it gives one answer at one cost: the same statements run, in even
//! time, and a message is queued. It is the message that differs.

use jiff::Timestamp;
use kt_domain::actor::Role;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::Error;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::network::console_rules::Surface;
use kt_domain::passwords::{self, Context};
use kt_domain::registration::{may_register, registration_closed};
use kt_domain::security_settings::SecuritySettings;
use kt_domain::sign_in::MembershipState;
use kt_store::memberships::{self, Membership};
use kt_store::once::Consumed;
use kt_store::organizations::{self, Organization};
use kt_store::users::{self, Password, User};
use kt_store::{Source, Tx, audit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::control::Control;
use crate::links::{NewLink, VERIFY_ADDRESS, holder, link_is_over};
use crate::mail::{Label, Message};
use crate::organizations::check_name;
use crate::passwords::{Asker, Phc, too_long};
use crate::post::{circumstances, kept_email, parse_email};

/// Somebody who wants to come in.
pub struct Register {
    /// The organization's identifier.
    pub organization: String,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// The password that they choose.
    pub password: String,
    /// The token of an invitation, where they have one.
    pub invitation: Option<String>,
    /// Where they register.
    pub surface: Surface,
}

/// What registering has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The address must be verified: a link is on its way.
    PendingVerification,
    /// They may sign in.
    Active,
}

/// What the link to a new address carries.
#[derive(Serialize, Deserialize)]
pub(crate) struct Verification {
    organization: OrganizationId,
    /// The address that it was sent to, folded: it proves this one alone.
    email: String,
}

/// Somebody new and the password they have chosen.
pub(crate) struct Newcomer {
    pub(crate) user: User,
    pub(crate) password: Password,
}

impl Control {
    /// Registers somebody: with an invitation as what that says, and without one as far as the organization lets them.
    /// An address that has an account gets the same answer, and its holder a message.
    pub async fn register(&self, ctx: &Ctx, register: Register) -> Result<Registered, Error> {
        if let Some(token) = &register.invitation {
            let registered = self.register_invited(ctx, token, &register).await;
            registered.map_err(|error| {
                let is_of_link = error.code == "invalid_token";
                if is_of_link { error.with_param("invitation_token") } else { error }
            })?;
            return Ok(Registered::Active);
        }
        let email = parse_email("email", &register.email)?;
        let organization = organizations::by_identifier(&self.store, &register.organization).await?;
        let organization = organization.ok_or_else(registration_closed)?;
        let security = self.security_of(&self.store, &organization.id).await?.value;
        may_register(&security.registration, &email)?;
        self.require_address_of(ctx, &organization.id, register.surface).await?;
        let newcomer = self.newcomer(ctx, &register, &email, &organization, &security).await?;
        let same = self.same_password(ctx, &email, &register.password).await?;

        let adding = async {
            let tx = self.store.begin_write().await?;
            if self.may_request_mail(ctx, &tx, &VERIFY_ADDRESS, &email).await? {
                self.add_registration(ctx, &tx, &organization, &security, newcomer, same).await?;
            }
            Ok::<_, Error>(tx.commit().await?)
        };
        self.evenly(adding).await?;
        Ok(Registered::PendingVerification)
    }

    /// Somebody who is not kept yet, with a password that breaks no rule.
    pub(crate) async fn newcomer(
        &self,
        ctx: &Ctx,
        register: &Register,
        email: &EmailAddress,
        organization: &Organization,
        security: &SecuritySettings,
    ) -> Result<Newcomer, Error> {
        check_name("name", &register.name)?;
        let context = Context {
            name: &register.name,
            address: email.as_typed(),
            organization_name: &organization.name,
            organization_identifier: &organization.identifier,
        };
        let password =
            self.new_password(ctx, "password", &register.password, &security.password, &context).await?;
        let user = User {
            id: self.draw(|random| UserId::new(ctx.now, random)),
            email: email.as_typed().to_owned(),
            email_folded: email.folded(),
            email_verified_at: None,
            name: register.name.clone(),
            password: Some(password.clone()),
            epoch: 1,
            created_at: ctx.now,
        };
        Ok(Newcomer { user, password })
    }

    /// The kept password of the account with this address, if it is the one that was typed. As much work for every address.
    async fn same_password(
        &self,
        ctx: &Ctx,
        email: &EmailAddress,
        typed: &str,
    ) -> Result<Option<String>, Error> {
        let known = self.evenly(users::by_email(&self.store, &email.folded())).await?;
        let kept = known.and_then(|user| user.password).map(|password| password.hash);
        let hash = kept.as_deref().map(Phc::parse).transpose().map_err(Error::internal)?;
        let typed = passwords::Password::new(typed).map_err(|why| too_long("password", why))?;
        let is_same = self.hasher.verify(&Asker::of(ctx), &typed, hash.as_ref()).await?;
        Ok(kept.filter(|_| is_same))
    }

    /// A new account, or a registration in place of an earlier one whose address was never verified. An account whose address
    /// is verified stays as it is, and every statement finds nothing to do.
    ///
    /// Whoever reads the mail cannot tell whose registration they confirm. So where two have been made with different
    /// passwords, none counts, and the holder chooses one when the address is verified: `same` is the kept password if it is
    /// the one that was given now.
    async fn add_registration(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &Organization,
        security: &SecuritySettings,
        Newcomer { user, password }: Newcomer,
        same: Option<String>,
    ) -> Result<(), Error> {
        let email = kept_email(&user.email)?;
        users::insert_unless_known(tx, &user).await?;
        let known = users::by_email(tx, &email.folded()).await?;
        let known = known.ok_or_else(|| Error::internal("an account that was added is not there"))?;
        let kept = known.password.as_ref().map(|password| &password.hash);
        let counts = known.id == user.id || (same.is_some() && same.as_ref() == kept);
        let password = counts.then_some(&password);
        let is_open = users::replace_unverified(tx, &known.id, &user.name, password).await?;
        let id = if is_open { &known.id } else { &user.id };
        let place =
            new_place(ctx, &organization.id, id, Role::Member, MembershipState::PendingApproval, security);
        memberships::insert_unless_there(tx, &place).await?;
        let message = self.verification(ctx, tx, organization, id, known.epoch + 1, &email).await?;
        let (to, message) = if is_open {
            (email.clone(), message)
        } else {
            let organization = Label::new(&organization.name);
            let requested = circumstances(ctx);
            (kept_email(&known.email)?, Message::AlreadyRegistered { organization, requested })
        };
        self.enqueue(ctx, tx, Some(&organization.id), Some(&to), &message).await?;
        let record = self
            .record(ctx, AuditAction::RegistrationReceived, known.id.as_str())
            .with_change(Value::Null, json!({ "email": email }));
        let record = if is_open { record } else { record.refused() };
        Ok(audit::append(tx, Some(&organization.id), &record).await?)
    }

    /// A new link to verify an address, and the message that carries it.
    async fn verification(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &Organization,
        user: &UserId,
        epoch: i64,
        email: &EmailAddress,
    ) -> Result<Message, Error> {
        let link = NewLink {
            link: &VERIFY_ADDRESS,
            subject: user.as_str(),
            epoch: Some(epoch),
            data: &Verification { organization: organization.id.clone(), email: email.folded() },
        };
        let (token, expires_at) = self.issue_link(ctx, tx, link).await?;
        let organization = Label::new(&organization.name);
        Ok(Message::VerifyAddress { organization, token, expires_at, requested: circumstances(ctx) })
    }

    /// Sends the link to verify an address again, if the address belongs to somebody who has not used it yet. The answer
    /// and the work are the same for every address.
    pub async fn resend_verification(&self, ctx: &Ctx, email: &str) -> Result<(), Error> {
        let email = parse_email("email", email)?;
        self.evenly(self.send_verification_again(ctx, &email)).await
    }

    async fn send_verification_again(&self, ctx: &Ctx, email: &EmailAddress) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if !self.may_request_mail(ctx, &tx, &VERIFY_ADDRESS, email).await? {
            return Ok(tx.commit().await?);
        }
        let known = users::by_email(&tx, &email.folded()).await?;
        let known = known.filter(|user| user.email_verified_at.is_none());
        let nowhere = self.nowhere(ctx);
        let id = known
            .as_ref()
            .map_or_else(|| self.draw(|random| UserId::new(ctx.now, random)), |user| user.id.clone());
        let places = memberships::of_user(&tx, &id).await?;
        let place = places.first().map_or(&nowhere.id, |place| &place.organization);
        let organization = organizations::find(&tx, place).await?;
        let is_open = known.is_some() && organization.is_some();
        let organization = organization.unwrap_or(nowhere);
        let epoch = known.as_ref().map_or(0, |user| user.epoch);
        let message = self.verification(ctx, &tx, &organization, &id, epoch, email).await?;
        let chain = is_open.then_some(&organization.id);
        self.enqueue(ctx, &tx, chain, is_open.then_some(email), &message).await?;
        let about = if is_open { id.to_string() } else { email.folded() };
        let record = self.record(ctx, AuditAction::VerificationRequested, about);
        let record = if is_open { record } else { record.refused() };
        audit::append(&tx, chain, &record).await?;
        Ok(tx.commit().await?)
    }

    /// An organization that is not kept: it stands in where an address leads to none.
    fn nowhere(&self, ctx: &Ctx) -> Organization {
        Organization {
            id: self.draw(|random| OrganizationId::new(ctx.now, random)),
            identifier: String::new(),
            name: String::new(),
            created_at: ctx.now,
        }
    }

    /// Counts the address as verified.
    pub(crate) async fn confirm_registration(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        link: &Consumed<Verification>,
    ) -> Result<MembershipState, Error> {
        let user = holder(tx, link).await?;
        let Verification { organization, email } = &link.data;
        if !users::verify_email(tx, &user.id, email, ctx.now).await? {
            return Err(link_is_over());
        }
        let place = memberships::find(tx, organization, &user.id).await?.ok_or_else(link_is_over)?;
        if user.password.is_none() {
            self.have_password_chosen(ctx, tx, organization, &user).await?;
        }
        self.go_on_with_registration(ctx, tx, &user, &place).await
    }

    /// What comes of a registration whose address has just been verified. Where the organization wants to approve,
    /// administrators are told; otherwise the account is active.
    pub(crate) async fn go_on_with_registration(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        place: &Membership,
    ) -> Result<MembershipState, Error> {
        let organization = &place.organization;
        let security = self.security_of(tx, organization).await?.value;
        let waits = place.state == MembershipState::PendingApproval;
        // What was open when they registered may have been closed since: then administrators decide.
        let is_open = may_register(&security.registration, &kept_email(&user.email)?).is_ok();
        let state = if waits && is_open && !security.registration.signup_approval {
            self.put_in_place(ctx, tx, place, place.role, MembershipState::Active).await?;
            MembershipState::Active
        } else {
            place.state
        };
        if state == MembershipState::PendingApproval {
            self.tell_administrators(ctx, tx, organization, user).await?;
        }
        let record = self
            .record(ctx, AuditAction::RegistrationVerified, user.id.as_str())
            .with_change(Value::Null, json!({ "email": user.email, "state": state }));
        audit::append(tx, Some(organization), &record).await?;
        Ok(state)
    }

    /// Forgets a registration with this address that nobody has verified, for somebody who has shown that the address is
    /// theirs: whoever only knows an address must not keep its holder from it.
    pub(crate) async fn displace_registration(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        email: &EmailAddress,
    ) -> Result<(), Error> {
        let Some(known) = users::by_email(tx, &email.folded()).await? else { return Ok(()) };
        let places = memberships::of_user(tx, &known.id).await?;
        if !users::forget_unclaimed(tx, &known.id).await? {
            return Ok(());
        }
        for place in places {
            let record = self
                .record(ctx, AuditAction::RegistrationDisplaced, known.id.as_str())
                .with_change(json!({ "email": known.email }), Value::Null);
            audit::append(tx, Some(&place.organization), &record).await?;
        }
        Ok(())
    }

    async fn tell_administrators(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        user: &User,
    ) -> Result<(), Error> {
        let name = self.label_of(tx, organization).await?;
        let message = Message::RegistrationPending {
            organization: name,
            name: Label::new(&user.name),
            address: kept_email(&user.email)?,
            at: ctx.now,
        };
        for administrator in memberships::administrators(tx, organization).await? {
            self.enqueue(ctx, tx, Some(organization), Some(&kept_email(&administrator)?), &message).await?;
        }
        Ok(())
    }

    /// The organization's name, as mail shows it.
    pub(crate) async fn label_of(
        &self,
        source: &impl Source,
        organization: &OrganizationId,
    ) -> Result<Label, Error> {
        let found = organizations::find(source, organization).await?;
        Ok(Label::new(&found.ok_or_else(|| Error::not_found("organization"))?.name))
    }
}

/// A place for somebody new. Where a second factor is asked of them, the grace begins now.
pub(crate) fn new_place(
    ctx: &Ctx,
    organization: &OrganizationId,
    user: &UserId,
    role: Role,
    state: MembershipState,
    security: &SecuritySettings,
) -> Membership {
    let mfa_asked_since: Option<Timestamp> = security.mfa.asks(role).then_some(ctx.now);
    Membership {
        organization: organization.clone(),
        user: user.clone(),
        role,
        state,
        mfa_asked_since,
        created_at: ctx.now,
        last_sign_in_at: None,
    }
}
