//! Looking for the records of verified domains again: a domain that is sold or let go is somebody else's, and with it the
//! addresses by which accounts are reached (ATTACKS I51).
//!
//! Google's Search Console does the same: the record is looked for again and again, whoever owns the place is told when it is
//! gone, and what it proved lapses after a while. Name servers that do not answer say nothing.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::sso::{DOMAIN_GRACE, DomainStanding, OwnDomain};
use kt_store::domains::{self, ClaimedDomain};
use kt_store::{Tx, audit, memberships};
use serde_json::{Value, json};

use crate::control::Control;
use crate::mail::{Label, Message};
use crate::post::kept_email;

/// How often a record is looked for.
const LOOKED_FOR_EVERY: Duration = Duration::from_hours(24);

/// How many at a time.
const AT_A_TIME: i64 = 20;

impl Control {
    /// Looks for the records of verified domains, each once a day, whichever process comes first.
    pub(crate) async fn look_for_domains(&self, ctx: &Ctx) -> Result<(), Error> {
        let before = ctx.now - LOOKED_FOR_EVERY;
        for (organization, claim) in domains::to_look_at(&self.store, before, AT_A_TIME).await? {
            let tx = self.store.begin_write().await?;
            let is_ours = domains::take_look(&tx, &organization, &claim.domain, before, ctx.now).await?;
            tx.commit().await?;
            if !is_ours {
                continue;
            }
            match self.sso.names.texts(&claim.domain.record_name()).await {
                Ok(texts) => {
                    let is_there = texts.contains(&OwnDomain::record_value(&claim.challenge));
                    self.note_look(ctx, &organization, &claim, is_there).await?;
                }
                Err(why) => {
                    tracing::warn!(domain = %claim.domain, %why, "the record of a domain cannot be looked for");
                }
            }
        }
        Ok(())
    }

    async fn note_look(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        claim: &ClaimedDomain,
        is_there: bool,
    ) -> Result<(), Error> {
        match (DomainStanding::of(is_there, claim.missing_since, ctx.now), claim.missing_since) {
            (DomainStanding::Proven, None) | (DomainStanding::Missing(_), Some(_)) => Ok(()),
            (DomainStanding::Proven, Some(_)) => self.note_found(ctx, organization, claim).await,
            (DomainStanding::Missing(since), None) => {
                self.note_missing(ctx, organization, claim, since).await
            }
            (DomainStanding::Lapsed, _) => self.let_lapse(ctx, organization, claim).await,
        }
    }

    async fn note_found(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        claim: &ClaimedDomain,
    ) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if domains::note_missing(&tx, organization, &claim.domain, None).await? {
            let record = self
                .record(ctx, AuditAction::DomainFound, claim.domain.as_str())
                .with_change(json!({ "missing_since": claim.missing_since }), Value::Null);
            audit::append(&tx, Some(organization), &record).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn note_missing(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        claim: &ClaimedDomain,
        since: Timestamp,
    ) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if domains::note_missing(&tx, organization, &claim.domain, Some(since)).await? {
            let (record_name, lapses_at) = (claim.domain.record_name(), since + DOMAIN_GRACE);
            let record = self
                .record(ctx, AuditAction::DomainMissing, claim.domain.as_str())
                .with_change(Value::Null, json!({ "record_name": record_name, "lapses_at": lapses_at }));
            audit::append(&tx, Some(organization), &record).await?;
            let message = Message::DomainMissing {
                organization: self.label_of(&tx, organization).await?,
                domain: Label::new(claim.domain.as_str()),
                record: Label::new(&record_name),
                lapses_at,
            };
            self.tell_owners(ctx, &tx, organization, &message).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn let_lapse(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        claim: &ClaimedDomain,
    ) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if domains::lapse(&tx, organization, &claim.domain).await? {
            let before = json!({ "verified_at": claim.verified_at, "missing_since": claim.missing_since });
            let record = self
                .record(ctx, AuditAction::DomainLapsed, claim.domain.as_str())
                .with_change(before, Value::Null);
            audit::append(&tx, Some(organization), &record).await?;
            let message = Message::DomainLapsed {
                organization: self.label_of(&tx, organization).await?,
                domain: Label::new(claim.domain.as_str()),
                at: ctx.now,
            };
            self.tell_owners(ctx, &tx, organization, &message).await?;
        }
        self.commit_revocation(tx).await
    }

    async fn tell_owners(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        message: &Message,
    ) -> Result<(), Error> {
        for owner in memberships::owners(tx, organization).await? {
            self.enqueue(ctx, tx, Some(organization), Some(&kept_email(&owner)?), message).await?;
        }
        Ok(())
    }
}
