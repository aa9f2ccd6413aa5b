//! Reminding by mail of passwords that end: of those that have grown old, and of temporary ones that nobody has replaced
//! (OWASP ASVS 5.0, 6.4.5).

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::mfa::Reminder;
use kt_store::memberships::{self, Member};
use kt_store::users::{self, User};
use kt_store::{Tx, once, organizations};

use crate::control::Control;
use crate::jobs::is_first_of_hour;
use crate::mail::Message;
use crate::post::kept_email;

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);

impl Control {
    /// Reminds whoever has to choose another password within the week, and whoever has a temporary one for less than another
    /// day. Each reminder comes once, however many processes do this. Whoever cannot use a password here hears of none.
    pub(crate) async fn remind_of_ending_passwords(&self, ctx: &Ctx) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if !is_first_of_hour(&tx, "password_reminders", ctx.now).await? {
            return Ok(());
        }
        for organization in organizations::ids(&tx).await? {
            self.remind_of_old_passwords(ctx, &tx, &organization).await?;
        }
        for member in memberships::with_temporary_password(&tx, ctx.now, ctx.now + DAY).await? {
            let Some(user) = users::find(&tx, &member.membership.user).await? else { continue };
            let until = user.password.as_ref().and_then(|password| password.temporary_until);
            if let Some(ends_at) = until {
                let message = Message::TemporaryPasswordEnds { ends_at };
                self.remind_of_password(ctx, &tx, &member, &user, (ends_at, Reminder::Day), &message).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    async fn remind_of_old_passwords(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
    ) -> Result<(), Error> {
        let policy = self.security_of(tx, organization).await?.value.password;
        let Some(age) = policy.max_age() else { return Ok(()) };
        let oldest = ctx.now.saturating_sub(age).unwrap_or(Timestamp::MIN);
        let ending = memberships::with_password_set(tx, organization, oldest, oldest + WEEK).await?;
        for member in ending {
            let Some(user) = users::find(tx, &member.membership.user).await? else { continue };
            let end = user.password.as_ref().and_then(|password| policy.ends_at(password.set_at));
            let due = end.and_then(|end| Some((end, Reminder::of_last_week(end, ctx.now)?)));
            if let Some((ends_at, reminder)) = due {
                let organization = self.label_of(tx, organization).await?;
                let message = Message::PasswordEnds { organization, ends_at };
                self.remind_of_password(ctx, tx, &member, &user, (ends_at, reminder), &message).await?;
            }
        }
        Ok(())
    }

    async fn remind_of_password(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        member: &Member,
        user: &User,
        (ends_at, reminder): (Timestamp, Reminder),
        message: &Message,
    ) -> Result<(), Error> {
        let place = &member.membership;
        if self.must_use_sso(tx, place, &user.email).await? {
            return Ok(());
        }
        // One message for an account, whatever number of organizations it is in.
        let scope = format!("password_reminder/{}", user.id);
        if !once::claim(tx, &scope, &format!("{ends_at}/{reminder}"), ends_at + DAY).await? {
            return Ok(());
        }
        self.enqueue(ctx, tx, Some(&place.organization), Some(&kept_email(&user.email)?), message).await
    }
}
