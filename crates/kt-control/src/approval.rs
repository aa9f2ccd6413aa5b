//! The queue of those who have registered and wait for an administrator's word (R222–R228).

use jiff::Timestamp;
use kt_domain::actor::{Permission, Role};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::sign_in::MembershipState;
use kt_store::memberships::{self, Membership, Waiting};
use kt_store::users::{self, User};
use kt_store::{Tx, audit};
use serde_json::{Value, json};

use crate::control::Control;
use crate::mail::Message;
use crate::paging::{Page, PageRequest, PageSize};
use crate::passwords::TemporaryPassword;
use crate::post::kept_email;

const PAGES: PageSize = PageSize { usual: 50, most: 1000 };

/// How somebody who waits is let in.
#[derive(Clone, Copy, Debug)]
pub struct Approval {
    /// As what.
    pub role: Role,
    /// Whether to give them a password for one sign-in, in place of the one they have chosen.
    pub temporary_password: bool,
}

impl Control {
    /// Those who wait with a verified address, the longest waiting first.
    pub async fn registrations(&self, ctx: &Ctx, request: &PageRequest) -> Result<Page<Waiting>, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let limit = PAGES.of(request)?;
        let list = format!("registrations/{organization}");
        let after: Option<(Timestamp, UserId)> = self.position(&list, request)?;
        let found = memberships::waiting(&self.store, organization, after, limit + 1).await?;
        self.page(&list, limit, found, |waiting| (waiting.since, waiting.user.clone()))
    }

    /// Lets somebody in who waits, and tells them by mail. A temporary password is given back, once, to be handed over by
    /// another way than mail.
    pub async fn approve_registration(
        &self,
        ctx: &Ctx,
        user: &UserId,
        approval: Approval,
    ) -> Result<Option<TemporaryPassword>, Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        ctx.require_rank(approval.role)?;
        let temporary = if approval.temporary_password { Some(self.new_temporary(ctx).await?) } else { None };

        let tx = self.store.begin_write().await?;
        let (user, place) = waiting(&tx, organization, user).await?;
        if !self.put_in_place(ctx, &tx, &place, approval.role, MembershipState::Active).await? {
            return Err(decided_meanwhile());
        }
        let record = self
            .record(ctx, AuditAction::RegistrationApproved, user.id.as_str())
            .with_change(Value::Null, json!({ "email": user.email, "role": approval.role }));
        audit::append(&tx, Some(organization), &record).await?;
        let temporary = match temporary {
            Some(temporary) => Some(self.set_temporary(ctx, &tx, organization, &user, temporary).await?),
            None => None,
        };
        let message = Message::RegistrationApproved {
            organization: self.label_of(&tx, organization).await?,
            with_temporary_password: temporary.is_some(),
        };
        self.enqueue(ctx, &tx, Some(organization), Some(&kept_email(&user.email)?), &message).await?;
        self.commit_revocation(tx).await?;
        Ok(temporary)
    }

    /// Does not let somebody in who waits. They are told by mail, and forgotten where they belong nowhere else.
    pub async fn reject_registration(&self, ctx: &Ctx, user: &UserId) -> Result<(), Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        let (user, place) = waiting(&tx, organization, user).await?;
        if !memberships::remove_as_read(&tx, &place).await? {
            return Err(decided_meanwhile());
        }
        users::forget_stranger(&tx, &user.id).await?;
        let record = self
            .record(ctx, AuditAction::RegistrationRejected, user.id.as_str())
            .with_change(json!({ "email": user.email }), Value::Null);
        audit::append(&tx, Some(organization), &record).await?;
        let message = Message::RegistrationRejected { organization: self.label_of(&tx, organization).await? };
        self.enqueue(ctx, &tx, Some(organization), Some(&kept_email(&user.email)?), &message).await?;
        self.commit_revocation(tx).await
    }
}

/// Somebody who waits in this organization with a verified address.
async fn waiting(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<(User, Membership), Error> {
    let user = users::find(tx, user).await?.filter(|user| user.email_verified_at.is_some());
    let user = user.ok_or_else(|| Error::not_found("registration"))?;
    let place = memberships::find(tx, organization, &user.id).await?;
    let place = place.filter(|place| place.state == MembershipState::PendingApproval);
    Ok((user, place.ok_or_else(|| Error::not_found("registration"))?))
}

fn decided_meanwhile() -> Error {
    let message = "Somebody else has decided about this registration meanwhile. Look at the list again.";
    Error::new(ErrorKind::Conflict, "decided_meanwhile", message)
}
