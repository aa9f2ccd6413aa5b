//! Reminding those by mail who have not added the second factor that is asked of them, before their time is over.

use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::mfa::Reminder;
use kt_store::memberships::{self, Member};
use kt_store::{Tx, once};

use crate::control::Control;
use crate::jobs::is_first_of_hour;
use crate::mail::Message;
use crate::members::mfa_deadline;
use crate::post::kept_email;

/// How long it is remembered that one was sent.
const REMEMBERED: Duration = Duration::from_hours(24);

impl Control {
    /// Reminds whoever is due: when they are asked, a week before their deadline, and a day before it. Each comes once,
    /// however many processes do this.
    pub(crate) async fn remind_of_second_factors(&self, ctx: &Ctx) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if !is_first_of_hour(&tx, "mfa_reminders", ctx.now).await? {
            return Ok(());
        }
        for member in memberships::asked_without_passkey(&tx).await? {
            self.remind(ctx, &tx, &member).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn remind(&self, ctx: &Ctx, tx: &Tx<'_>, member: &Member) -> Result<(), Error> {
        let place = &member.membership;
        let mfa = self.security_of(tx, &place.organization).await?.value.mfa;
        let Some(deadline) = mfa_deadline(member, &mfa) else { return Ok(()) };
        let Some(reminder) = Reminder::due(deadline, ctx.now) else { return Ok(()) };
        let scope = format!("mfa_reminder/{}/{}", place.organization, place.user);
        // A deadline that was moved is worth another message.
        let which = format!("{deadline}/{reminder}");
        if !once::claim(tx, &scope, &which, deadline + REMEMBERED).await? {
            return Ok(());
        }
        let organization = self.label_of(tx, &place.organization).await?;
        let message = Message::FactorRequired { organization, deadline };
        self.enqueue(ctx, tx, Some(&place.organization), Some(&kept_email(&member.email)?), &message).await
    }
}
