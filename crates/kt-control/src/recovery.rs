//! A forgotten password: a link by mail, and a new password on the strength of it.
//!
//! It never signs in and never touches a second factor (ASVS 5.0, 6.4.3): whoever resets a password signs in with it, and
//! passes the same gate as anybody.

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::Error;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::lockout;
use kt_domain::network::console_rules::Surface;
use kt_domain::sign_in::MembershipState;
use kt_store::users::{self, User};
use kt_store::{Tx, audit, keys, limits, memberships};
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::links::{NewLink, RESET_PASSWORD, holder, link_is_over};
use crate::mail::{Label, LinkToken, Message, PasswordChange};
use crate::post::{circumstances, kept_email, parse_email};
use crate::sign_in::Entrant;
use crate::sso::sso_required;

/// What a reset link carries.
#[derive(Serialize, Deserialize)]
struct Reset {
    /// The address that it was sent to, folded: it proves this one alone.
    email: String,
}

impl Control {
    /// Sends a link to choose a new password to this address, if it belongs to somebody. The account stays as it is.
    ///
    /// The answer and the work are the same for every address, and take their time in even steps: one without an account gets an identifier that leads
    /// nowhere, a link that nobody is sent, and a record.
    pub async fn forgot_password(&self, ctx: &Ctx, email: &str) -> Result<(), Error> {
        let email = parse_email("email", email)?;
        self.evenly(self.send_reset_link(ctx, &email)).await
    }

    async fn send_reset_link(&self, ctx: &Ctx, email: &EmailAddress) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if !self.may_request_mail(ctx, &tx, &RESET_PASSWORD, email).await? {
            return Ok(tx.commit().await?);
        }
        let known = users::by_email(&tx, &email.folded()).await?;
        let nowhere = self.draw(|random| UserId::new(ctx.now, random));
        let id = known.as_ref().map_or(&nowhere, |user| &user.id);
        let places = memberships::of_user(&tx, id).await?;
        let organization = places.first().map(|place| &place.organization);
        let epoch = known.as_ref().map_or(0, |user| user.epoch);
        let (token, expires_at) = self.reset_link(ctx, &tx, id, epoch, email.folded()).await?;
        let recipient = match &known {
            Some(user) => kept_email(&user.email)?,
            None => email.clone(),
        };
        let message = Message::PasswordReset { token, expires_at, requested: circumstances(ctx) };
        // A new password would get nowhere who must come through an identity provider.
        let is_useful = match &known {
            Some(user) => !self.is_password_useless(&tx, user).await?,
            None => false,
        };
        self.enqueue(ctx, &tx, organization, is_useful.then_some(&recipient), &message).await?;
        let about = known.as_ref().map_or_else(|| email.folded(), |user| user.id.to_string());
        let record = self.record(ctx, AuditAction::PasswordResetRequested, about);
        let record = if known.is_some() { record } else { record.refused() };
        audit::append(&tx, organization, &record).await?;
        Ok(tx.commit().await?)
    }

    /// Sends a link to choose a password to the holder of an account that has none.
    pub(crate) async fn have_password_chosen(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        user: &User,
    ) -> Result<(), Error> {
        let link = self.reset_link(ctx, tx, &user.id, user.epoch, user.email_folded.clone()).await?;
        let (token, expires_at) = link;
        let message = Message::PasswordMissing { token, expires_at, happened: circumstances(ctx) };
        self.enqueue(ctx, tx, Some(organization), Some(&kept_email(&user.email)?), &message).await
    }

    async fn reset_link(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &UserId,
        epoch: i64,
        email: String,
    ) -> Result<(LinkToken, Timestamp), Error> {
        let data = &Reset { email };
        let link = NewLink { link: &RESET_PASSWORD, subject: user.as_str(), epoch: Some(epoch), data };
        self.issue_link(ctx, tx, link).await
    }

    /// Sets the password of whoever the link was sent to, and uses the link up. All that was issued to them before is
    /// ended, a lock by wrong passwords is lifted, and they are told by mail. The link stays good when the password
    /// breaks a rule.
    pub async fn reset_password(
        &self,
        ctx: &Ctx,
        surface: Surface,
        token: &str,
        typed: &str,
    ) -> Result<(), Error> {
        let entrant = self.holder_of_reset(ctx, surface, token).await?;
        let policy = self.security_of(&self.store, &entrant.organization.id).await?.value.password;
        let password = self.password_for(ctx, &self.store, "new_password", typed, &policy, &entrant).await?;

        let tx = self.store.begin_write().await?;
        let link = RESET_PASSWORD.consume::<Reset>(ctx, &tx, token).await?.ok_or_else(link_is_over)?;
        let user = &entrant.user;
        let is_theirs = users::verify_email(&tx, &user.id, &link.data.email, ctx.now).await?;
        if !is_theirs || !users::set_password(&tx, &user.id, user.epoch, &password).await? {
            return Err(link_is_over());
        }
        limits::reset_below(&tx, &lockout::account_key(user.id.as_str())).await?;
        self.note_chosen_by_link(ctx, &tx, user, &entrant.organization.id).await?;
        if user.email_verified_at.is_none() {
            self.go_on_with_registrations(ctx, &tx, user).await?;
        }
        self.commit_revocation(tx).await
    }

    /// Records that a password was chosen through a link that was sent to its holder, and tells them.
    pub(crate) async fn note_chosen_by_link(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        organization: &OrganizationId,
    ) -> Result<(), Error> {
        let record = self.record(ctx, AuditAction::PasswordReset, user.id.as_str());
        audit::append(tx, Some(organization), &record).await?;
        self.tell_of_password(ctx, tx, user, organization, PasswordChange::Reset).await
    }

    /// A link that was sent to the address of somebody who has registered verifies it as the link for that would have.
    async fn go_on_with_registrations(&self, ctx: &Ctx, tx: &Tx<'_>, user: &User) -> Result<(), Error> {
        for place in memberships::of_user(tx, &user.id).await? {
            if place.state == MembershipState::PendingApproval {
                self.go_on_with_registration(ctx, tx, user, &place).await?;
            }
        }
        Ok(())
    }

    /// Whose link to choose a password this is, as long as it is good where it is used.
    pub(crate) async fn holder_of_reset(
        &self,
        ctx: &Ctx,
        surface: Surface,
        token: &str,
    ) -> Result<Entrant, Error> {
        let link = RESET_PASSWORD.peek::<Reset>(ctx, &self.store, token).await?.ok_or_else(link_is_over)?;
        let user = holder(&self.store, &link).await?;
        if self.is_password_useless(&self.store, &user).await? {
            return Err(sso_required());
        }
        let entrant = self.entrant_of(user).await?.ok_or_else(link_is_over)?;
        self.require_address_of(ctx, &entrant.organization.id, surface).await?;
        Ok(entrant)
    }

    /// Tells the holder by mail that their password is another one, and which of their API keys work on: a key does not
    /// depend on the password, so whoever lost that has to look at those too.
    pub(crate) async fn tell_of_password(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        organization: &OrganizationId,
        change: PasswordChange,
    ) -> Result<(), Error> {
        let keys = keys::names_of(tx, &user.id, ctx.now).await?;
        let keys = keys.iter().map(|name| Label::new(name)).collect();
        let message = Message::PasswordChanged { change, happened: circumstances(ctx), keys };
        self.enqueue(ctx, tx, Some(organization), Some(&kept_email(&user.email)?), &message).await
    }
}
