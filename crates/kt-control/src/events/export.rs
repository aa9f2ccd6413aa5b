//! Copies of events for elsewhere, made in parts, so that many take no more memory than a few.

use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::words;
use kt_store::audit;
use kt_store::event_log::EventFilter;
use kt_store::events::{self, Position};
use serde_json::{Map, Value, json};

use crate::control::Control;
use crate::copies::CopyUnderWay;
use crate::csv;

/// In which form a copy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsFormat {
    /// Each event as its gateway recorded it, one a line.
    Jsonl,
    /// A table for people.
    Csv,
}

words!(EventsFormat { Jsonl = "jsonl", Csv = "csv" });

/// The columns of a table, which are fields of events; what is no text stands as JSON.
const COLUMNS: [&str; 32] = [
    "id",
    "timestamp",
    "event_type",
    "verdict",
    "reason_code",
    "status",
    "method",
    "request_path",
    "request_id",
    "source_ip",
    "peer_ip",
    "key_id",
    "user_id",
    "model",
    "provider",
    "target_id",
    "stream",
    "input_tokens",
    "output_tokens",
    "usage_estimated",
    "cost_micros",
    "currency",
    "duration_ms",
    "upstream_ms",
    "policies_evaluated",
    "failed_attempts",
    "matched_rule",
    "deny_range",
    "limited_by",
    "count",
    "gateway_id",
    "config_version",
];

/// How many events are read at once.
const PART: u32 = 500;

/// A copy that is being made.
pub struct EventsExport {
    format: EventsFormat,
    organization: OrganizationId,
    filter: EventFilter,
    /// The last event that was written.
    after: Option<Position>,
    begun: bool,
    complete: bool,
    _under_way: CopyUnderWay,
}

impl Control {
    /// Begins a copy of the events that fit, the newest first, and records that it was taken.
    pub async fn export_events(
        &self,
        ctx: &Ctx,
        format: EventsFormat,
        filter: EventFilter,
    ) -> Result<EventsExport, Error> {
        let organization = ctx.require(Permission::ReadEvents)?.clone();
        let under_way = self.copies.begin(ctx)?;
        // What the store cannot look for is refused while there is an answer to refuse it in.
        events::page(&self.store, &organization, &filter, None, 1).await?;
        let tx = self.store.begin_write().await?;
        let record = self
            .record(ctx, AuditAction::EventsExported, organization.as_str())
            .with_change(Value::Null, asked(format, &filter));
        audit::append(&tx, Some(&organization), &record).await?;
        tx.commit().await?;
        Ok(EventsExport {
            format,
            organization,
            filter,
            after: None,
            begun: false,
            complete: false,
            _under_way: under_way,
        })
    }

    /// The next part of the copy; `None` when it is complete.
    pub async fn next_events(&self, export: &mut EventsExport) -> Result<Option<Vec<u8>>, Error> {
        if export.complete {
            return Ok(None);
        }
        let mut part = Vec::new();
        if !std::mem::replace(&mut export.begun, true) && export.format == EventsFormat::Csv {
            csv::write_row(COLUMNS, &mut part);
        }
        let (organization, filter) = (&export.organization, &export.filter);
        let found = events::page(&self.store, organization, filter, export.after.as_ref(), PART).await?;
        export.complete = found.len() < PART as usize;
        for event in &found {
            write(&event.body, export.format, &mut part)?;
        }
        export.after = found.into_iter().next_back().map(|event| event.position).or(export.after.take());
        Ok(Some(part).filter(|part| !part.is_empty()))
    }
}

fn write(body: &str, format: EventsFormat, part: &mut Vec<u8>) -> Result<(), Error> {
    match format {
        EventsFormat::Jsonl => {
            part.extend_from_slice(body.as_bytes());
            part.push(b'\n');
        }
        EventsFormat::Csv => {
            let event: Map<String, Value> = serde_json::from_str(body).map_err(Error::internal)?;
            csv::write_row(COLUMNS.map(|column| cell(event.get(column))), part);
        }
    }
    Ok(())
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// What was asked for, as it is recorded.
fn asked(format: EventsFormat, filter: &EventFilter) -> Value {
    let mut asked = json!({
        "format": format,
        "event_type": filter.event_type,
        "since": filter.since,
        "until": filter.until,
        "source_ip": filter.source_ip,
        "request_id": filter.request_id,
        "verdict": filter.verdict,
        "gateway_id": filter.gateway_id,
    });
    if let Value::Object(fields) = &mut asked {
        fields.retain(|_, value| !value.is_null());
    }
    asked
}
