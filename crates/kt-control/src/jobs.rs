//! Work that nobody asks for: it runs every few seconds in every process of the control plane.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_store::{Tx, limits, mail_queue, once, once_requests, sessions, users};

use crate::authenticate::require_operator;
use crate::control::Control;
use crate::overview::forget_old_counts;
use crate::usage::forget_old_usage;

const HOUR: i64 = 3600;

/// How long it is remembered that somebody has looked.
const REMEMBERED: Duration = Duration::from_hours(24);

/// How long sessions, which end within a day, and mail that was given up can be looked into.
const KEPT: Duration = Duration::from_hours(90 * 24);

/// After this time without a sign-in a device is new again.
const DEVICES_KEPT: Duration = Duration::from_hours(365 * 24);

impl Control {
    /// Takes up signing keys that another process has rotated, writes when API keys were last used, removes
    /// events whose retention has ended, reminds of second factors and of what ends, records what waits too long to leave and
    /// what networks have tried in vain, signs the audit log, and forgets what has expired. Done twice, it does no harm.
    pub async fn run_jobs(&self, ctx: &Ctx) -> Result<(), Error> {
        require_operator(ctx)?;
        self.load_signing_keys().await?;
        self.write_key_uses(ctx.now).await?;
        let tx = self.store.begin_write().await?;
        once::forget_expired(&tx, ctx.now).await?;
        once_requests::forget_expired(&tx, ctx.now).await?;
        limits::forget_expired(&tx, ctx.now).await?;
        forget_old_counts(&tx, ctx.now).await?;
        forget_old_usage(&tx, ctx.now).await?;
        forget_what_is_over(&tx, ctx.now).await?;
        tx.commit().await?;
        self.remind_of_second_factors(ctx).await?;
        self.remind_of_ending_keys(ctx).await?;
        self.remind_of_ending_passwords(ctx).await?;
        self.keep_postures(ctx).await?;
        self.retain_events(ctx).await?;
        self.forget_old_workspaces(ctx).await?;
        self.record_late_sinks(ctx).await?;
        self.record_unheard(ctx).await?;
        self.checkpoint_audit(ctx.now).await?;
        Ok(())
    }

    /// What others have to be asked for: the records of verified domains, and identity providers that could not be asked
    /// before. Beside the jobs, since whoever is asked may let us wait.
    pub async fn look_outside(&self, ctx: &Ctx) -> Result<(), Error> {
        require_operator(ctx)?;
        self.look_for_domains(ctx).await?;
        self.ask_providers_again(ctx).await
    }
}

/// Forgets what has been over for long about people: from where and with what they were here.
async fn forget_what_is_over(tx: &Tx<'_>, now: Timestamp) -> Result<(), Error> {
    if is_first_of_hour(tx, "what_is_over", now).await? {
        sessions::forget_old(tx, now - KEPT).await?;
        users::forget_devices(tx, now - DEVICES_KEPT).await?;
        mail_queue::forget_failed(tx, now - KEPT).await?;
    }
    Ok(())
}

/// Whether this is the first look within the hour, of all processes: what is looked for does not change faster.
pub(crate) async fn is_first_of_hour(tx: &Tx<'_>, what: &str, now: Timestamp) -> Result<bool, Error> {
    let hour = now.as_second().div_euclid(HOUR).to_string();
    Ok(once::claim(tx, what, &hour, now + REMEMBERED).await?)
}
