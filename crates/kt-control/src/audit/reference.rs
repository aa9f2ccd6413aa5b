//! The page of all audited actions, and an example of each as an event of OCSF, say what the code says.
//! `KEEPTRUSTS_WRITE_REFERENCE=1` writes them.

use std::fmt::Write;
use std::path::Path;

use kt_domain::actor::{Actor, Person, Role};
use kt_domain::audit::{AuditAction, AuditRecord};
use kt_domain::ctx::{Client, Ctx};
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::random::Random;
use serde_json::{Value, json};

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
    let mut page = BEGINNING.to_owned();
    for action in actions() {
        let ocsf::Meaning { class, activity } = ocsf::meaning_of(action.as_str()).unwrap();
        writeln!(page, "| `{action}` | {} | {class} | {activity} |", action.sentence()).unwrap();
    }
    check("reference/audit-actions.md", &page);
}

/// `e2e/python/test_ocsf.py` looks at each line with the published schema.
#[test]
fn an_example_of_each_event_of_ocsf_is_the_one_in_the_docs_reference() {
    let now = "2026-03-15T14:22:31.5Z".parse().unwrap();
    let mut random = Random::seeded(1);
    let user = UserId::new(now, &mut random);
    let organization = OrganizationId::new(now, &mut random);
    let session = SessionId::new(now, &mut random);
    let mut ctx = Ctx {
        actor: Actor::Person(Person {
            user: user.clone(),
            organization: organization.clone(),
            role: Role::Admin,
            session,
            email: "jo@acme.example".into(),
            authenticated_at: now,
        }),
        client: Client { ip: Some("192.0.2.1".parse().unwrap()), user_agent: Some("curl/8".into()) },
        request_id: "019ce2a1-6f5c-7000-8000-000000000001".into(),
        now,
    };
    let mut lines = Vec::new();
    for (seq, action) in (1..).zip(actions()) {
        let record = AuditRecord::new(&ctx, &mut random, action, user.as_str());
        let record = match action {
            AuditAction::IpDenied => {
                let rule = json!({ "matched_rule": "deny", "deny_range": "192.0.2.0/24" });
                record.with_change(Value::Null, rule).refused()
            }
            AuditAction::SignIn => record.with_change(Value::Null, json!({ "proofs": ["pwd", "otp"] })),
            _ => record,
        };
        ocsf::write(&record, organization.as_str(), seq, &mut lines).unwrap();
    }
    // The machine itself comes from no address.
    (ctx.actor, ctx.client) = (Actor::System("kt admin, by root"), Client::default());
    for (seq, action) in [(1, AuditAction::BackedUp), (2, AuditAction::FactorsReset)] {
        let record = AuditRecord::new(&ctx, &mut random, action, "deployment");
        ocsf::write(&record, "deployment", seq, &mut lines).unwrap();
    }
    check("examples/audit-log.ocsf.jsonl", &String::from_utf8(lines).unwrap());
}

/// All of them, by their words.
fn actions() -> Vec<AuditAction> {
    let mut actions = AuditAction::ALL.to_vec();
    actions.sort_unstable_by_key(|action| action.as_str());
    actions
}

fn check(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(path);
    if std::env::var_os("KEEPTRUSTS_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is out of date: set KEEPTRUSTS_WRITE_REFERENCE=1 to write it", path.display());
}
