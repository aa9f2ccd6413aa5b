//! Removing events whose retention has ended, and saying so in the audit log, whose checkpoints sign it.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_store::{audit, events};
use serde_json::json;

use crate::authenticate::require_operator;
use crate::control::Control;

/// How many days events by themselves are kept.
const LOOSE_DAYS: u32 = 365;

impl Control {
    /// Removes every segment at the beginning of a gateway's chain whose retention has ended: the days that the gateway
    /// has stated, whether or not they are immutable. Nothing removes an event before. For events by themselves no days
    /// are stated; they are kept as long as an `audit-logger` that states none keeps its own. Tells how many were removed,
    /// and meanwhile, after each piece, how many so far. Only the operator and the server's own jobs do this.
    pub async fn retain_events(&self, ctx: &Ctx, mut so_far: impl FnMut(u64) + Send) -> Result<u64, Error> {
        require_operator(ctx)?;
        let mut removed = 0;
        for (organization, chain) in events::chains(&self.store).await? {
            while events::ripe_prefix(&self.store, &organization, &chain, ctx.now).await?.is_some() {
                // It has grown meanwhile, and its retention with it, or another process was quicker.
                let Some(events) = self.remove_segment(ctx, &organization, &chain.gateway_id).await? else {
                    break;
                };
                removed += events;
                so_far(removed);
            }
        }
        let before = ctx.now - LOOSE_DAYS * Duration::from_hours(24);
        for organization in events::with_loose(&self.store, before).await? {
            removed += self.remove_loose(ctx, &organization, before).await?;
            so_far(removed);
        }
        Ok(removed)
    }

    async fn remove_loose(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        before: Timestamp,
    ) -> Result<u64, Error> {
        let tx = self.store.begin_write().await?;
        let count = events::remove_loose(&tx, organization, before).await?;
        if count == 0 {
            return Ok(0);
        }
        let removed = json!({ "before": before, "events": count, "retention_days": LOOSE_DAYS });
        let record = self
            .record(ctx, AuditAction::EventsRemoved, organization.as_str())
            .with_change(removed, serde_json::Value::Null);
        audit::append(&tx, Some(organization), &record).await?;
        tx.commit().await?;
        Ok(count)
    }

    /// Removes the first segment of a chain, and tells how many events were in it; `None` when it is not time any more, as
    /// after another process has done so.
    async fn remove_segment(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        gateway_id: &str,
    ) -> Result<Option<u64>, Error> {
        let tx = self.store.begin_write().await?;
        let Some(chain) = events::lock_chain(&tx, organization, gateway_id).await? else { return Ok(None) };
        let Some(ripe) = events::ripe_prefix(&tx, organization, &chain, ctx.now).await? else {
            return Ok(None);
        };
        let count = events::remove_before(&tx, organization, gateway_id, ripe.first_kept).await?;
        let removed = json!({
            "first_removed": ripe.first,
            "first_kept": ripe.first_kept,
            "previous_hash": ripe.last_hash,
            "events": count,
            "retention_days": ripe.retention_days,
        });
        let record = self
            .record(ctx, AuditAction::EventsRemoved, gateway_id)
            .with_change(removed, serde_json::Value::Null);
        audit::append(&tx, Some(organization), &record).await?;
        tx.commit().await?;
        Ok(Some(count))
    }
}
