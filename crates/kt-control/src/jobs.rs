//! Work that nobody asks for: it runs every few seconds in every process of the control plane.

use std::pin::Pin;
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

type Job<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl Control {
    /// Takes up signing keys that another process has rotated, writes when API keys were last used, removes
    /// events whose retention has ended, reminds of second factors and of what ends, records what waits too long to leave
    /// and what networks have tried in vain, signs the audit log, and forgets what has expired. Done twice, it does no harm. The failure of one is in the log, and keeps
    /// none of the others from being done.
    pub async fn run_jobs(&self, ctx: &Ctx) -> Result<(), Error> {
        require_operator(ctx)?;
        each_of([
            ("signing keys", Box::pin(self.load_signing_keys())),
            ("uses of keys", Box::pin(self.write_key_uses(ctx.now))),
            ("what has expired", Box::pin(self.forget_expired(ctx))),
            ("second factors", Box::pin(self.remind_of_second_factors(ctx))),
            ("ending keys", Box::pin(self.remind_of_ending_keys(ctx))),
            ("ending passwords", Box::pin(self.remind_of_ending_passwords(ctx))),
            ("postures", Box::pin(self.keep_postures(ctx))),
            ("retention of events", Box::pin(async { self.retain_events(ctx, |_| ()).await.map(drop) })),
            ("retention of workspaces", Box::pin(self.forget_old_workspaces(ctx))),
            ("late sinks", Box::pin(self.record_late_sinks(ctx))),
            ("what networks tried in vain", Box::pin(self.record_unheard(ctx))),
            (
                "signature of the audit log",
                Box::pin(async { self.checkpoint_audit(ctx.now).await.map(drop) }),
            ),
        ])
        .await
    }

    async fn forget_expired(&self, ctx: &Ctx) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        once::forget_expired(&tx, ctx.now).await?;
        once_requests::forget_expired(&tx, ctx.now).await?;
        limits::forget_expired(&tx, ctx.now).await?;
        forget_old_counts(&tx, ctx.now).await?;
        forget_old_usage(&tx, ctx.now).await?;
        forget_what_is_over(&tx, ctx.now).await?;
        Ok(tx.commit().await?)
    }

    /// What others have to be asked for: the records of verified domains, and identity providers that could not be asked
    /// before. Beside the jobs, since whoever is asked may let us wait.
    pub async fn look_outside(&self, ctx: &Ctx) -> Result<(), Error> {
        require_operator(ctx)?;
        each_of([
            ("domains", Box::pin(self.look_for_domains(ctx))),
            ("identity providers", Box::pin(self.ask_providers_again(ctx))),
        ])
        .await
    }
}

/// Does the jobs one after the other, whichever fail; gives the first failure.
async fn each_of<const N: usize>(jobs: [(&'static str, Job<'_>); N]) -> Result<(), Error> {
    let mut outcome = Ok(());
    for (job, work) in jobs {
        if let Err(error) = work.await {
            tracing::error!(job, %error, "a job failed; it will be tried again");
            outcome = outcome.and(Err(error));
        }
    }
    outcome
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
