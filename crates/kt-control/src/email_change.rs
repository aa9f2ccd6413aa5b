//! Another e-mail address for an account: asked for by its holder, confirmed at the new one, undone at the old one
//! (ASVS 5.0, 7.5.1 and 6.3.7).

use jiff::Timestamp;
use kt_domain::actor::Person;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::UserId;
use kt_store::once::Consumed;
use kt_store::users::{self, User};
use kt_store::{StoreError, Tx, audit, memberships};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::control::Control;
use crate::links::{CHANGE_EMAIL, NewLink, UNDO_EMAIL_CHANGE, holder, link_is_over};
use crate::mail::Message;
use crate::post::{circumstances, kept_email, parse_email};

/// What the link to a new address carries.
#[derive(Serialize, Deserialize)]
pub(crate) struct NewEmail {
    /// The address that the account had when it was asked for, folded.
    from: String,
    /// The address that the link was sent to: it proves this one alone.
    to: String,
}

/// What the link to an old address carries. It outlives whatever the account's present holder does.
#[derive(Serialize, Deserialize)]
struct OldEmail {
    email: String,
    /// When it was given up.
    until: Timestamp,
}

impl Control {
    /// Sends a link to the new address; the account keeps its address until that is used. An address that belongs to
    /// somebody else gets the same answer, and no mail.
    pub(crate) async fn request_email_change(
        &self,
        ctx: &Ctx,
        person: &Person,
        email: &str,
    ) -> Result<(), Error> {
        self.require_own_proof(ctx).await?;
        let email = parse_email("email", email)?;
        let tx = self.store.begin_write().await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        if user.email_folded == email.folded() {
            return Err(Error::invalid("email", "This is your address already."));
        }
        self.require_free_address(&tx, &user).await?;
        if !self.may_request_mail(ctx, &tx, &CHANGE_EMAIL, &email).await? {
            return Ok(tx.commit().await?);
        }
        let is_free = match users::by_email(&tx, &email.folded()).await? {
            Some(known) => users::is_unclaimed(&tx, &known.id).await?,
            None => true,
        };
        let link = NewLink {
            link: &CHANGE_EMAIL,
            subject: user.id.as_str(),
            epoch: Some(user.epoch),
            data: &NewEmail { from: user.email_folded.clone(), to: email.to_string() },
        };
        let (token, expires_at) = self.issue_link(ctx, &tx, link).await?;
        let message = Message::EmailChangeRequested { token, expires_at, requested: circumstances(ctx) };
        self.enqueue(ctx, &tx, Some(&person.organization), is_free.then_some(&email), &message).await?;
        let record = self
            .record(ctx, AuditAction::EmailChangeRequested, user.id.as_str())
            .with_change(json!({ "email": user.email }), json!({ "email": email }));
        audit::append(&tx, Some(&person.organization), &record).await?;
        Ok(tx.commit().await?)
    }

    /// The address that waits to be confirmed, if there is one.
    pub(crate) async fn pending_email(&self, ctx: &Ctx, user: &User) -> Result<Option<String>, Error> {
        let link = CHANGE_EMAIL.newest::<NewEmail>(ctx, &self.store, user.id.as_str()).await?;
        Ok(link.filter(|link| link.epoch == Some(user.epoch)).map(|link| link.data.to))
    }

    /// Gives the account the address that the link was sent to. The old address is told, with a way back.
    pub(crate) async fn confirm_email_change(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        link: &Consumed<NewEmail>,
    ) -> Result<(), Error> {
        let user = holder(tx, link).await?;
        self.require_free_address(tx, &user).await?;
        let new = kept_email(&link.data.to)?;
        self.displace_registration(ctx, tx, &new).await?;
        match users::change_email(tx, &user.id, &link.data.from, &new, ctx.now).await {
            Ok(true) => {}
            Ok(false) | Err(StoreError::Exists) => return Err(link_is_over()),
            Err(error) => return Err(error.into()),
        }
        let places = memberships::of_user(tx, &user.id).await?;
        let organization = places.first().map(|place| &place.organization);
        let undo = NewLink {
            link: &UNDO_EMAIL_CHANGE,
            subject: user.id.as_str(),
            epoch: None,
            data: &OldEmail { email: user.email.clone(), until: ctx.now },
        };
        let (token, undo_until) = self.issue_link(ctx, tx, undo).await?;
        let happened = circumstances(ctx);
        let message = Message::EmailChanged { new_address: new.clone(), token, undo_until, happened };
        self.enqueue(ctx, tx, organization, Some(&kept_email(&user.email)?), &message).await?;
        let record = self
            .record(ctx, AuditAction::EmailChanged, user.id.as_str())
            .with_change(json!({ "email": user.email }), json!({ "email": new }));
        Ok(audit::append(tx, organization, &record).await?)
    }

    /// Gives the account the address back that the link was sent to, whatever it was changed to since, and ends
    /// everything that was issued to it. The holders of later addresses have no way back; that of the present one is told.
    pub async fn undo_email_change(&self, ctx: &Ctx, token: &str) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        let link = UNDO_EMAIL_CHANGE.consume::<OldEmail>(ctx, &tx, token).await?;
        let link = link.ok_or_else(link_is_over)?;
        let id: UserId = link.subject.parse().map_err(Error::internal)?;
        let user = users::find(&tx, &id).await?.ok_or_else(link_is_over)?;
        let OldEmail { email, until } = link.data;
        let old = kept_email(&email)?;
        self.displace_registration(ctx, &tx, &old).await?;
        match users::change_email(&tx, &user.id, &user.email_folded, &old, ctx.now).await {
            Ok(true) => {}
            Ok(false) | Err(StoreError::Exists) => return Err(link_is_over()),
            Err(error) => return Err(error.into()),
        }
        UNDO_EMAIL_CHANGE.withdraw_since(ctx, &tx, user.id.as_str(), until).await?;
        users::end_everything(&tx, &user.id).await?;
        let places = memberships::of_user(&tx, &user.id).await?;
        let organization = places.first().map(|place| &place.organization);
        let lost = (user.email_folded != old.folded()).then(|| kept_email(&user.email)).transpose()?;
        let message = Message::EmailChangeUndone { happened: circumstances(ctx) };
        self.enqueue(ctx, &tx, organization, lost.as_ref(), &message).await?;
        let record = self
            .record(ctx, AuditAction::EmailChangeUndone, user.id.as_str())
            .with_change(json!({ "email": user.email }), json!({ "email": old }));
        audit::append(&tx, organization, &record).await?;
        self.commit_revocation(tx).await
    }
}
