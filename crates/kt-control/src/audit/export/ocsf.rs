//! Records as events of the Open Cybersecurity Schema Framework (<https://schema.ocsf.io/1.5.0>), for systems that watch.
//!
//! Which class and activity an action is stands in `ocsf.txt`.

use kt_domain::audit::{ActorKind, AuditRecord, Outcome};
use kt_domain::error::Error;
use serde_json::{Map, Value, json};

const VERSION: &str = "1.5.0";
const TABLE: &str = include_str!("ocsf.txt");

/// What an action is in OCSF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Meaning {
    pub(in crate::audit) class: u64,
    pub(in crate::audit) activity: u64,
}

const AUTHENTICATION: u64 = 3002;
const ENTITY_MANAGEMENT: u64 = 3004;
const API_ACTIVITY: u64 = 6003;

/// "Other", in every class.
const OTHER: u64 = 99;

/// The line of a record, which is entry `seq` of `chain`.
pub(super) fn write(record: &AuditRecord, chain: &str, seq: u64, out: &mut Vec<u8>) -> Result<(), Error> {
    let meaning =
        meaning_of(record.action.as_str()).unwrap_or(Meaning { class: API_ACTIVITY, activity: OTHER });
    serde_json::to_writer(&mut *out, &event(record, meaning, chain, seq)).map_err(Error::internal)?;
    out.push(b'\n');
    Ok(())
}

/// The longest line of the table that fits the action.
pub(in crate::audit) fn meaning_of(action: &str) -> Option<Meaning> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut columns = line.split_ascii_whitespace();
        (columns.next().unwrap_or_default(), columns.next(), columns.next())
    });
    let fits = |name: &str| name == action || (name.ends_with('.') && action.starts_with(name));
    let (_, class, activity) = lines.filter(|(name, ..)| fits(name)).max_by_key(|(name, ..)| name.len())?;
    Some(Meaning { class: class?.parse().ok()?, activity: activity?.parse().ok()? })
}

fn event(record: &AuditRecord, meaning: Meaning, chain: &str, seq: u64) -> Value {
    let Meaning { class, activity } = meaning;
    let failed = record.outcome == Outcome::Failure;
    let mut event = json!({
        "activity_id": activity,
        "category_uid": class / 1000,
        "class_uid": class,
        "type_uid": class * 100 + activity,
        // Informational, or Low for what was refused.
        "severity_id": if failed { 2 } else { 1 },
        "status_id": if failed { 2 } else { 1 },
        "time": record.timestamp.as_millisecond(),
        "message": record.action.sentence(),
        "metadata": {
            "version": VERSION,
            "uid": record.id,
            "event_code": record.action,
            "log_name": chain,
            "sequence": seq,
            "correlation_uid": record.request_id,
            "product": { "name": "Keeptrusts", "vendor_name": "Keeptrusts", "version": env!("CARGO_PKG_VERSION") },
        },
        "actor": { "user": user(record) },
        "unmapped": { "resource": record.resource, "details": record.details },
    });
    if let Value::Object(fields) = &mut event {
        fields.extend(source(record));
        fields.extend(of_class(record, class));
    }
    event
}

/// OCSF tells people (1) from the system itself (3) and from everything else (99).
fn user(record: &AuditRecord) -> Value {
    let kind = match record.actor.kind {
        ActorKind::User => 1,
        ActorKind::System => 3,
        ActorKind::ApiKey => OTHER,
    };
    json!({ "uid": record.actor.id, "name": record.actor.name, "type_id": kind })
}

fn source(record: &AuditRecord) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(ip) = record.ip_address {
        fields.insert("src_endpoint".into(), json!({ "ip": ip }));
    }
    if let Some(agent) = &record.user_agent {
        fields.insert("http_request".into(), json!({ "user_agent": agent }));
    }
    fields
}

/// What the class asks for beyond that.
fn of_class(record: &AuditRecord, class: u64) -> Map<String, Value> {
    let mut fields = Map::new();
    match class {
        AUTHENTICATION => {
            fields.insert("user".into(), user(record));
            fields.insert("service".into(), json!({ "name": "Keeptrusts" }));
        }
        ENTITY_MANAGEMENT => {
            fields.insert("entity".into(), json!({ "uid": record.resource, "name": record.resource }));
        }
        API_ACTIVITY => {
            fields.insert("api".into(), json!({ "operation": record.action }));
            fields.entry("src_endpoint").or_insert_with(|| match record.ip_address {
                Some(ip) => json!({ "ip": ip }),
                None => json!({ "name": "localhost" }),
            });
        }
        _ => {
            fields.insert("user".into(), json!({ "uid": record.resource, "name": record.resource }));
            fields.insert("privileges".into(), json!([]));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use kt_domain::actor::Actor;
    use kt_domain::audit::AuditAction;
    use kt_domain::ctx::{Client, Ctx};
    use kt_domain::random::Random;

    use super::*;

    #[test]
    fn every_action_has_its_class_and_activity() {
        let unmapped: Vec<_> =
            AuditAction::ALL.iter().filter(|action| meaning_of(action.as_str()).is_none()).collect();
        assert!(unmapped.is_empty(), "add these to ocsf.txt: {unmapped:?}");
        assert_eq!(
            meaning_of("auth.sign_in"),
            Some(Meaning { class: 3002, activity: 1 }),
            "the longest line counts"
        );
        assert_eq!(meaning_of("nothing.of_the_kind"), None);
    }

    #[test]
    fn every_line_of_the_table_is_used_and_names_a_known_class() {
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let [name, class, activity] = columns[..] else { panic!("{line}") };
            let fits = |action: &&AuditAction| {
                action.as_str() == name || (name.ends_with('.') && action.as_str().starts_with(name))
            };
            assert!(AuditAction::ALL.iter().any(|action| fits(&action)), "{line}: no such action");
            assert!(["3001", "3002", "3003", "3004", "3005", "6003"].contains(&class), "{line}");
            assert!(activity.parse::<u64>().unwrap() <= OTHER, "{line}");
        }
    }

    #[test]
    fn every_event_has_what_ocsf_requires() {
        let ctx = Ctx {
            actor: Actor::System("test"),
            client: Client { ip: Some("192.0.2.1".parse().unwrap()), user_agent: Some("curl/8".into()) },
            request_id: "r".into(),
            now: "2026-03-15T14:22:31.5Z".parse().unwrap(),
        };
        for action in AuditAction::ALL {
            let record = AuditRecord::new(&ctx, &mut Random::seeded(1), *action, "usr_1").refused();
            let mut line = Vec::new();
            write(&record, "org_1", 7, &mut line).unwrap();
            let event: Value = serde_json::from_slice(&line).unwrap();
            let number = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{action}: {name}"));
            assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
            assert_eq!(number("category_uid"), number("class_uid") / 1000);
            assert_eq!((number("severity_id"), number("status_id")), (2, 2));
            assert_eq!(number("time"), 1_773_584_551_500);
            assert_eq!(event["metadata"]["version"], VERSION);
            assert_eq!(event["metadata"]["product"]["vendor_name"], "Keeptrusts");
            assert_eq!(event["src_endpoint"]["ip"], "192.0.2.1");
            let required: &[&str] = match number("class_uid") {
                3004 => &["entity"],
                6003 => &["api", "actor", "src_endpoint"],
                3002 => &["user", "service"],
                _ => &["user"],
            };
            assert!(required.iter().all(|name| event[name].is_object()), "{action}: {event}");
        }
    }
}
