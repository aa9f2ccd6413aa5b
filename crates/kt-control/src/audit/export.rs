//! Copies of the audit log for elsewhere, made in parts, so that a long log takes no more memory than a short one.

mod cef;
mod csv;
pub(super) mod ocsf;

use jiff::{SignedDuration, Timestamp};
use kt_domain::actor::Permission;
use kt_domain::audit::{AuditAction, AuditLogStart, AuditRecord};
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::events::{Head, Kind};
use kt_domain::id::OrganizationId;
use kt_domain::{audit as chain, words};
use kt_store::audit::{self, ChainEntry};
use serde_json::{Value, json};

use crate::authenticate::require_operator;
use crate::control::Control;
use crate::copies::CopyUnderWay;

/// In which form a copy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// The chain itself, one entry a line, with its checkpoints: proven offline by `kt audit verify`.
    Jsonl,
    /// A table for people.
    Csv,
    /// Events of the Open Cybersecurity Schema Framework, one a line, for systems that watch.
    Ocsf,
    /// Lines of the Common Event Format, for systems that read no other.
    Cef,
}

words!(ExportFormat { Jsonl = "jsonl", Csv = "csv", Ocsf = "ocsf", Cef = "cef" });

/// A record bears the moment at which its request began, by the clock of its process, and stands in the chain where it was
/// written: no further than this from its place by time.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// How many entries are read at once.
const PART: u32 = 500;

/// A copy that is being made.
pub struct AuditExport {
    format: ExportFormat,
    chain: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The last entry that was written.
    at: Head,
    /// The last entry that is to be written.
    end: u64,
    begun: bool,
    _under_way: CopyUnderWay,
}

impl Control {
    /// Refuses whoever could not take a copy of the audit log at this moment, as [`export_audit`](Self::export_audit)
    /// would: they may not read it, or have to prove anew who they are.
    pub fn require_audit_export(&self, ctx: &Ctx) -> Result<(), Error> {
        ctx.require(Permission::ReadAudit)?;
        ctx.require_fresh_authentication()
    }

    /// Begins a copy of the organization's audit log, which records that it was taken and ends in a checkpoint signed
    /// at this moment.
    ///
    /// As `jsonl` the copy is widened at both ends to the nearest checkpoints, so that signatures prove all of it; in
    /// the other forms it holds exactly the records from `since` on and before `until`.
    pub async fn export_audit(
        &self,
        ctx: &Ctx,
        format: ExportFormat,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<AuditExport, Error> {
        self.require_audit_export(ctx)?;
        let organization = ctx.require(Permission::ReadAudit)?;
        self.export_chain(ctx, Some(organization), format, since, until).await
    }

    /// Begins a copy of the deployment's own audit log in the same way, for the operator: what was done at the machine, and
    /// what belongs to no organization or cannot be told to belong to one.
    pub async fn export_deployment_audit(
        &self,
        ctx: &Ctx,
        format: ExportFormat,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<AuditExport, Error> {
        require_operator(ctx)?;
        self.export_chain(ctx, None, format, since, until).await
    }

    async fn export_chain(
        &self,
        ctx: &Ctx,
        organization: Option<&OrganizationId>,
        format: ExportFormat,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<AuditExport, Error> {
        let under_way = self.copies.begin(ctx)?;
        let chain = audit::chain_of(organization);
        let tx = self.store.begin_write().await?;
        let asked = json!({ "format": format, "since": since, "until": until });
        let record = self.record(ctx, AuditAction::AuditExported, chain).with_change(Value::Null, asked);
        audit::append(&tx, organization, &record).await?;
        let end = self.checkpoint_chain(&tx, chain, ctx.now).await?;
        tx.commit().await?;
        let late = if format == ExportFormat::Jsonl { SignedDuration::ZERO } else { LATE };
        let before = match since {
            Some(since) => {
                let since = since.checked_sub(late).unwrap_or(Timestamp::MIN);
                audit::checkpoint_before(&self.store, chain, since).await?
            }
            None => None,
        };
        let behind = match until {
            Some(until) => {
                let until = until.checked_add(late).unwrap_or(Timestamp::MAX);
                audit::checkpoint_after(&self.store, chain, until).await?
            }
            None => None,
        };
        Ok(AuditExport {
            format,
            chain: chain.to_owned(),
            since,
            until,
            at: before.unwrap_or_else(|| chain::genesis(chain)),
            end: behind.unwrap_or(end).seq,
            begun: false,
            _under_way: under_way,
        })
    }

    /// The next part of the copy; `None` when it is complete.
    pub async fn next_part(&self, export: &mut AuditExport) -> Result<Option<Vec<u8>>, Error> {
        let mut part = Vec::new();
        if !std::mem::replace(&mut export.begun, true) {
            part = self.beginning(export)?;
        }
        while part.is_empty() {
            let limit = u64::from(PART).min(export.end.saturating_sub(export.at.seq));
            if limit == 0 {
                return Ok(None);
            }
            let limit = u32::try_from(limit).unwrap_or(PART);
            let entries = audit::entries(&self.store, &export.chain, export.at.seq, limit).await?;
            // Entries that are missing are missing in the copy too, and are found when it is verified.
            let Some(last) = entries.last() else { return Ok(None) };
            export.at = last.head();
            for entry in &entries {
                export.write(entry, &mut part)?;
            }
        }
        Ok(Some(part))
    }

    /// What stands before the first entry.
    fn beginning(&self, export: &AuditExport) -> Result<Vec<u8>, Error> {
        match export.format {
            ExportFormat::Ocsf | ExportFormat::Cef => Ok(Vec::new()),
            ExportFormat::Csv => Ok(csv::heading()),
            ExportFormat::Jsonl => {
                let start = AuditLogStart {
                    chain: export.chain.as_str().into(),
                    first_seq: export.at.seq + 1,
                    previous_hash: export.at.hash,
                    public_key: self.audit_key.public(),
                };
                let mut line = serde_json::to_vec(&json!({ "audit_log": start })).map_err(Error::internal)?;
                line.push(b'\n');
                Ok(line)
            }
        }
    }
}

impl AuditExport {
    fn write(&self, entry: &ChainEntry, part: &mut Vec<u8>) -> Result<(), Error> {
        if self.format == ExportFormat::Jsonl {
            part.extend(entry.line());
            return Ok(());
        }
        if entry.kind != Kind::Audit {
            return Ok(());
        }
        let record: AuditRecord = serde_json::from_str(&entry.body).map_err(Error::internal)?;
        let is_asked_for = self.since.is_none_or(|since| record.timestamp >= since)
            && self.until.is_none_or(|until| record.timestamp < until);
        if is_asked_for {
            match self.format {
                ExportFormat::Csv => csv::write(&record, part),
                ExportFormat::Cef => cef::write(&record, &self.chain, entry.seq, part),
                _ => ocsf::write(&record, &self.chain, entry.seq, part)?,
            }
        }
        Ok(())
    }
}
