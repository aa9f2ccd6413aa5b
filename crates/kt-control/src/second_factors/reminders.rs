//! Telling people by mail of the second factor that is asked of them, when that begins and before their time is over.

use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::mfa::{Demand, MfaSettings, Reminder};
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
    /// Reminds whoever is due: a week before their deadline, and a day before it. Each comes once, however many processes do
    /// this.
    pub(crate) async fn remind_of_second_factors(&self, ctx: &Ctx) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if !is_first_of_hour(&tx, "mfa_reminders", ctx.now).await? {
            return Ok(());
        }
        for member in memberships::asked_without_passkey(&tx).await? {
            let mfa = self.security_of(&tx, &member.membership.organization).await?.value.mfa;
            if mfa_deadline(&member, &mfa).is_some_and(|deadline| deadline > ctx.now) {
                self.tell_of_demand(ctx, &tx, &member, &mfa).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Tells a member what is asked of them and until when, where they lack it, unless they have been told so since the last
    /// reminder that is due; also where no time is left.
    pub(crate) async fn tell_of_demand(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        member: &Member,
        mfa: &MfaSettings,
    ) -> Result<(), Error> {
        let place = &member.membership;
        let Some(deadline) = mfa_deadline(member, mfa) else { return Ok(()) };
        let demand = mfa.demand(place.role);
        let due = Reminder::due(deadline, ctx.now);
        let scope = format!("mfa_reminder/{}/{}", place.organization, place.user);
        // A deadline that was moved is worth another message, and so is a demand that was raised.
        let which = format!("{deadline}/{demand}/{}", due.map_or("over", Reminder::as_str));
        if !once::claim(tx, &scope, &which, deadline.max(ctx.now) + REMEMBERED).await? {
            return Ok(());
        }
        let message = Message::FactorRequired {
            organization: self.label_of(tx, &place.organization).await?,
            needs_passkey: demand == Demand::Passkey,
            deadline: due.map(|_| deadline),
        };
        self.enqueue(ctx, tx, Some(&place.organization), Some(&kept_email(&member.email)?), &message).await
    }
}
