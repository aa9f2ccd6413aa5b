//! Records as a table.

use kt_domain::audit::AuditRecord;
use serde_json::Value;

use crate::csv::write_row;

const COLUMNS: [&str; 14] = [
    "id",
    "timestamp",
    "actor_type",
    "actor_id",
    "actor_name",
    "action",
    "resource",
    "outcome",
    "ip_address",
    "user_agent",
    "request_id",
    "before",
    "after",
    "session_id",
];

/// The first line.
pub(super) fn heading() -> Vec<u8> {
    let mut line = Vec::new();
    write_row(COLUMNS, &mut line);
    line
}

/// The line of a record.
pub(super) fn write(record: &AuditRecord, out: &mut Vec<u8>) {
    let change = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    let fields = [
        record.id.to_string(),
        record.timestamp.to_string(),
        record.actor.kind.to_string(),
        record.actor.id.clone(),
        record.actor.name.clone(),
        record.action.to_string(),
        record.resource.clone(),
        record.outcome.to_string(),
        record.ip_address.map(|ip| ip.to_string()).unwrap_or_default(),
        record.user_agent.clone().unwrap_or_default(),
        record.request_id.clone(),
        change(&record.details.before),
        change(&record.details.after),
        record.session_id.as_ref().map(ToString::to_string).unwrap_or_default(),
    ];
    write_row(fields, out);
}
