//! The page of all audited actions says what the code says. `KEEPTRUSTS_WRITE_REFERENCE=1` writes it.

use std::fmt::Write;
use std::path::Path;

use kt_domain::audit::AuditAction;

use super::export::ocsf;

const BEGINNING: &str = "<!-- Made from the code; `KEEPTRUSTS_WRITE_REFERENCE=1 cargo test -p kt-control reference` writes it anew. -->

# Audited actions

What the audit log records, by the word in `action`. [The guide](../guide/audit.md) says what else stands in a record. The
last two columns are `class_uid` and `activity_id` in an export as OCSF 1.5.

| action | what happened | class | activity |
|---|---|---|---|
";

#[test]
fn the_page_of_audited_actions_is_the_one_in_the_docs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/audit-actions.md");
    let mut page = BEGINNING.to_owned();
    let mut actions = AuditAction::ALL.to_vec();
    actions.sort_unstable_by_key(|action| action.as_str());
    for action in actions {
        let ocsf::Meaning { class, activity } = ocsf::meaning_of(action.as_str()).unwrap();
        writeln!(page, "| `{action}` | {} | {class} | {activity} |", action.sentence()).unwrap();
    }
    if std::env::var_os("KEEPTRUSTS_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "{} is out of date: set KEEPTRUSTS_WRITE_REFERENCE=1 to write it", path.display());
}
