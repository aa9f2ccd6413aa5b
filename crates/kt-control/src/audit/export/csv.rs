//! Records as a table: RFC 4180, every field quoted.

use kt_domain::audit::AuditRecord;
use serde_json::Value;

const COLUMNS: [&str; 13] = [
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
];

/// The first line.
pub(super) fn heading() -> Vec<u8> {
    let mut line = Vec::new();
    write_row(COLUMNS.map(str::to_owned), &mut line);
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
    ];
    write_row(fields, out);
}

fn write_row(fields: [String; COLUMNS.len()], out: &mut Vec<u8>) {
    let fields = fields.map(|field| quoted(&field));
    out.extend_from_slice(fields.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The field in quotes. One that a spreadsheet would take for a formula gets an apostrophe in front, which makes it
/// text there (OWASP: CSV injection).
fn quoted(field: &str) -> String {
    let is_formula =
        field.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
            || field.starts_with(['\t', '\r', '\n']);
    let guard = if is_formula { "'" } else { "" };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        for (field, expected) in [
            ("plain", "\"plain\""),
            ("say \"hi\", twice\r\n", "\"say \"\"hi\"\", twice\r\n\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            (" =1", "\"' =1\""),
            ("\t=1", "\"'\t=1\""),
            ("\r1", "\"'\r1\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
            ("a=1", "\"a=1\""),
        ] {
            assert_eq!(quoted(field), expected);
        }
    }
}
