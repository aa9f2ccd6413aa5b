//! What has waited too long to leave: entries of the audit log for a sink outside, and mail. Those who look after the
//! organization are shown it on the overview, the operator by `kt doctor`, and a late sink is recorded.

use std::time::Duration;

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_store::audit::deliveries::{self, Late};
use kt_store::{Tx, audit, mail_queue, once};
use serde_json::{Value, json};

use crate::control::Control;

/// What waits longer than this waits too long: tries come at least every five minutes.
pub const TOO_LONG: Duration = Duration::from_mins(15);

/// A sink that nobody has tried for so long is not in use any more: it stands no longer in the configuration. Longer than the
/// longest wait between two tries and the time that one may take.
const IN_USE: Duration = Duration::from_mins(10);

/// Mail that was given up within this time is still worth a look.
const LATELY: Duration = Duration::from_hours(24);

/// A sink that stays late is recorded once in this time.
const RECORDED_EVERY: Duration = Duration::from_hours(24);

/// What has waited too long to leave an organization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lateness {
    /// Entries of its audit log, for the sink that lacks the most.
    pub(crate) entries: i64,
    /// Messages that wait, or were given up lately.
    pub(crate) messages: i64,
}

impl Control {
    /// What has waited too long to leave this organization.
    pub(crate) async fn lateness(&self, ctx: &Ctx, organization: &OrganizationId) -> Result<Lateness, Error> {
        let late = self.late_sinks(ctx).await?;
        let own = late.iter().filter(|late| late.chain == organization.as_str());
        let backlog =
            mail_queue::backlog(&self.store, Some(organization), ctx.now - TOO_LONG, ctx.now - LATELY)
                .await?;
        Ok(Lateness {
            entries: own.map(|late| late.entries).max().unwrap_or(0),
            messages: backlog.waiting + backlog.given_up,
        })
    }

    /// Records, in each chain that is concerned, that a sink has not taken it for too long; once a day as long as that lasts,
    /// however many processes do this.
    pub(crate) async fn record_late_sinks(&self, ctx: &Ctx) -> Result<(), Error> {
        for late in self.late_sinks(ctx).await? {
            let tx = self.store.begin_write().await?;
            let name = format!("{}/{}", late.sink, late.chain);
            if once::claim(&tx, "audit_sink_late", &name, ctx.now + RECORDED_EVERY).await? {
                let Late { sink, chain, entries, .. } = &late;
                tracing::warn!(%sink, %chain, entries, "a sink has not taken the audit log for too long");
                self.record_late(ctx, &tx, &late).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    async fn late_sinks(&self, ctx: &Ctx) -> Result<Vec<Late>, Error> {
        Ok(deliveries::late(&self.store, ctx.now - TOO_LONG, ctx.now - IN_USE).await?)
    }

    async fn record_late(&self, ctx: &Ctx, tx: &Tx<'_>, late: &Late) -> Result<(), Error> {
        let what = json!({ "entries": late.entries, "oldest": late.oldest });
        let record = self
            .record(ctx, AuditAction::SinkLate, late.sink.as_str())
            .with_change(Value::Null, what)
            .refused();
        // The deployment's own chain is that of no organization.
        let organization = late.chain.parse().ok();
        Ok(audit::append(tx, organization.as_ref(), &record).await?)
    }
}
