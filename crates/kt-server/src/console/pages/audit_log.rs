//! `/audit-log`: who did what, looked through, followed, copied out and proven.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use kt_control::AuditStanding;
use kt_domain::audit::{AuditAction, AuditRecord, Outcome};
use kt_domain::error::Error;
use kt_domain::events::Hash;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::Fields;
use crate::Doors;
use crate::api::audit_log::{AuditLogParams, ExportParams, download};
use crate::console::answer::{Answer, Frame, leave_for, page};
use crate::console::asked::{Asked, Listing};
use crate::console::filters;
use crate::console::labels::area;
use crate::console::places::{place_of, place_of_gateway};
use crate::console::visit::{SignedIn, Visit};

#[derive(Template)]
#[template(path = "pages/audit-log.html")]
struct AuditLogPage {
    frame: Frame,
    listing: Listing,
    asked: AuditLogParams,
    records: Vec<AuditRecord>,
    /// Every action, by its area.
    areas: Vec<Area>,
    standing: AuditStanding,
}

/// Actions that are about the same.
struct Area {
    /// The filter that finds all of them.
    filter: String,
    /// What people call it.
    name: &'static str,
    actions: Vec<AuditAction>,
}

impl AuditLogPage {
    fn asks_for(&self, action: &str) -> bool {
        self.asked.action.as_deref() == Some(action)
    }
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<AuditLogParams>,
) -> Answer {
    let found = doors.control.audit_log(&visit.ctx, &asked.filter.filter()?, &asked.page).await?;
    let records = found.items.iter().map(|body| read(body)).collect::<Result<Vec<_>, _>>()?;
    let newest = records.first().map(|record| record.id.as_str());
    if let Some(nothing) = asked.nothing_new(newest) {
        return Ok(nothing);
    }
    let listing = asked.listing(newest, found.next_cursor.as_deref());
    let standing = doors.control.audit_standing(&visit.ctx).await?;
    let template = AuditLogPage {
        frame: Frame::of(&visit),
        listing,
        asked: asked.filter,
        records,
        areas: areas(),
        standing,
    };
    page(&visit.look, &template)
}

fn read(body: &str) -> Result<AuditRecord, Error> {
    serde_json::from_str(body).map_err(Error::internal)
}

fn areas() -> Vec<Area> {
    let mut areas: BTreeMap<&str, Vec<AuditAction>> = BTreeMap::new();
    for action in AuditAction::ALL {
        let word = action.as_str();
        areas.entry(word.split('.').next().unwrap_or(word)).or_default().push(*action);
    }
    let named = areas.into_iter().map(|(word, actions)| Area {
        filter: format!("{word}."),
        name: area(word).unwrap_or(word),
        actions,
    });
    named.collect()
}

#[derive(Template)]
#[template(path = "pages/audit-record.html")]
struct RecordPage {
    frame: Frame,
    record: AuditRecord,
    changes: Vec<Change>,
    seq: u64,
    hash: Hash,
    standing: AuditStanding,
    /// Where whoever did it, and what it was done to, are shown.
    actor_place: Option<String>,
    resource_place: Option<String>,
}

/// One record.
pub(crate) async fn show_one(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let entry = doors.control.audit_record(&visit.ctx, &id).await?;
    let record = read(&entry.body)?;
    let changes = changes(&record.details.before, &record.details.after);
    let standing = doors.control.audit_standing(&visit.ctx).await?;
    let template = RecordPage {
        frame: Frame::of(&visit),
        actor_place: place_of(&doors, &visit, Some(&record.actor.id)).await?,
        resource_place: place_of_resource(&doors, &visit, &record).await?,
        record,
        changes,
        seq: entry.seq,
        hash: entry.hash,
        standing,
    };
    page(&visit.look, &template)
}

/// The page of what a record is about.
async fn place_of_resource(
    doors: &Doors,
    visit: &Visit,
    record: &AuditRecord,
) -> Result<Option<String>, Error> {
    if record.action.as_str().starts_with("gateway.") {
        place_of_gateway(doors, visit, &record.resource).await
    } else {
        place_of(doors, visit, Some(&record.resource)).await
    }
}

/// One field, before and after.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// Its name, with those of what it lies in before it.
    field: String,
    before: Option<String>,
    after: Option<String>,
}

impl Change {
    fn is_one(&self) -> bool {
        self.before != self.after
    }
}

/// All fields of two documents, those that differ first.
fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let (mut was, mut is) = (BTreeMap::new(), BTreeMap::new());
    flatten("", before, &mut was);
    flatten("", after, &mut is);
    let mut fields: Vec<&String> = was.keys().chain(is.keys()).collect();
    fields.sort_unstable();
    fields.dedup();
    let change = |field: &String| Change {
        field: field.clone(),
        before: was.get(field).cloned(),
        after: is.get(field).cloned(),
    };
    let mut changes: Vec<Change> = fields.into_iter().map(change).collect();
    changes.sort_by_key(|change| !change.is_one());
    changes
}

/// The leaves of a document by their dotted names. Lists stay whole: their order may mean something.
fn flatten(name: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Null if name.is_empty() => {}
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(&name, value, leaves);
            }
        }
        Value::String(text) => {
            leaves.insert(name.to_owned(), text.clone());
        }
        Value::Array(items) => {
            let lines: Vec<String> = items.iter().map(line).collect();
            leaves.insert(name.to_owned(), lines.join("\n"));
        }
        value => {
            leaves.insert(name.to_owned(), value.to_string());
        }
    }
}

fn line(item: &Value) -> String {
    item.as_str().map_or_else(|| item.to_string(), str::to_owned)
}

/// Which copy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    format: String,
    #[serde(default)]
    since: String,
    #[serde(default)]
    until: String,
}

/// Leads to a copy of the log, once it is certain that it can be taken: a download could not ask for a fresh proof.
pub(crate) async fn ask_for_copy(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(wanted): Fields<Wanted>,
) -> Answer {
    doors.control.require_audit_export(&visit.ctx)?;
    let parameters = [("format", &wanted.format), ("since", &wanted.since), ("until", &wanted.until)];
    let given = parameters.into_iter().filter(|(_, value)| !value.is_empty());
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    Ok(leave_for(&format!("/audit-log/export?{query}")))
}

/// The copy, as a file.
pub(crate) async fn copy(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<ExportParams>,
) -> Answer {
    download(&doors, &visit.ctx, &asked.filter).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_stands_first_and_each_field_once() {
        let before =
            json!({ "policy": "optional", "ranges": ["a", "b"], "grace": { "hours": 72 }, "same": true });
        let after = json!({ "policy": "required", "ranges": ["a"], "grace": { "hours": 24 }, "same": true, "new": "" });
        let found: Vec<_> = changes(&before, &after)
            .into_iter()
            .map(|change| (change.is_one(), change.field, change.before, change.after))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            (true, "grace.hours", some("72"), some("24")),
            (true, "new", None, some("")),
            (true, "policy", some("optional"), some("required")),
            (true, "ranges", some("a\nb"), some("a")),
            (false, "same", some("true"), some("true")),
        ];
        assert_eq!(found, expected.map(|(is_one, field, was, is)| (is_one, field.to_owned(), was, is)));
        assert_eq!(changes(&Value::Null, &Value::Null), []);
        assert_eq!(changes(&Value::Null, &json!({ "name": "x" })).len(), 1);
    }

    #[test]
    fn every_action_has_its_area() {
        let areas = areas();
        assert_eq!(areas.iter().map(|area| area.actions.len()).sum::<usize>(), AuditAction::ALL.len());
        let signing_in = areas.iter().find(|area| area.filter == "auth.").unwrap();
        assert!(signing_in.name == "Signing in" && signing_in.actions.contains(&AuditAction::SignIn));
    }

    #[test]
    fn every_area_has_a_name_of_its_own() {
        let areas = areas();
        let names: BTreeSet<_> = areas.iter().map(|area| area.name).collect();
        assert_eq!(names.len(), areas.len());
        let unnamed: Vec<_> = names.iter().filter(|name| !name.starts_with(char::is_uppercase)).collect();
        assert!(unnamed.is_empty(), "{unnamed:?} are words of the API");
    }
}
