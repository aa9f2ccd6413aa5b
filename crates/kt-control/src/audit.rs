//! The audit log: looked through, signed, and copied out.

mod export;
#[cfg(test)]
mod reference;
mod signing;
mod sinks;

use kt_domain::actor::Permission;
use kt_domain::audit::AuditFilter;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::events::PublicKey;
use kt_store::audit::{self, ChainEntry, ChainStanding};

pub use export::{AuditExport, ExportFormat};
pub(crate) use signing::AuditKey;
pub use signing::require_seal_of;
pub use sinks::{AuditSink, Syslog, SyslogAddress, SyslogAddressError, Webhook, WebhookError};

use crate::control::Control;
use crate::paging::{Page, PageRequest, PageSize};

/// How the audit log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditStanding {
    /// How far its chain has come, and how far it was signed.
    pub chain: ChainStanding,
    /// What the signatures are verified with.
    pub public_key: PublicKey,
}

/// How long the pages of the audit log are.
const PAGES: PageSize = PageSize { usual: 50, most: 1000 };

impl Control {
    /// The records of the actor's organization that the filter lets through, the newest first, each as the JSON text
    /// that its hash is taken over.
    pub async fn audit_log(
        &self,
        ctx: &Ctx,
        filter: &AuditFilter,
        request: &PageRequest,
    ) -> Result<Page<String>, Error> {
        let organization = ctx.require(Permission::ReadAudit)?;
        let list = format!("audit-log/{organization}");
        let limit = PAGES.of(request)?;
        let before = self.position(&list, request)?;
        let found = audit::page(&self.store, organization, filter, before, limit + 1).await?;
        let page = self.page(&list, limit, found, |entry| entry.seq)?;
        let items = page.items.into_iter().map(|entry| entry.body).collect();
        Ok(Page { items, next_cursor: page.next_cursor })
    }

    /// The record of this id, with its place in the chain.
    pub async fn audit_record(&self, ctx: &Ctx, id: &str) -> Result<ChainEntry, Error> {
        let organization = ctx.require(Permission::ReadAudit)?;
        audit::find(&self.store, organization, id).await?.ok_or_else(|| Error::not_found("audit record"))
    }

    /// How the organization's audit log stands.
    pub async fn audit_standing(&self, ctx: &Ctx) -> Result<AuditStanding, Error> {
        let organization = ctx.require(Permission::ReadAudit)?;
        let chain = audit::standing(&self.store, audit::chain_of(Some(organization))).await?;
        Ok(AuditStanding { chain, public_key: self.audit_key.public() })
    }
}
