use jiff::Timestamp;
use kt_domain::actor::{Actor, Person, Role};
use kt_domain::ctx::{Client, Ctx};
use kt_domain::id::{OrganizationId, SessionId};
use kt_domain::random::Random;

use super::*;

const NOW: &str = "2026-03-15T14:22:31.5Z";

fn ctx(actor: Actor) -> Ctx {
    Ctx {
        actor,
        client: Client { ip: Some("192.0.2.1".parse().unwrap()), user_agent: Some("curl/8".into()) },
        request_id: "r".into(),
        now: NOW.parse().unwrap(),
    }
}

fn jo() -> Person {
    let (now, mut random) = (NOW.parse::<Timestamp>().unwrap(), Random::seeded(1));
    Person {
        user: UserId::new(now, &mut random),
        organization: OrganizationId::new(now, &mut random),
        role: Role::Admin,
        session: SessionId::new(now, &mut random),
        email: "jo@acme.example".into(),
        authenticated_at: now,
    }
}

/// The event of a record.
fn event_of(record: &AuditRecord) -> Value {
    let mut line = Vec::new();
    write(record, "org_1", 7, &mut line).unwrap();
    serde_json::from_slice(&line).unwrap()
}

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
        assert!(["3001", "3002", "3003", "3004", "3005", "4002", "6003"].contains(&class), "{line}");
        assert!(activity.parse::<u64>().unwrap() <= OTHER, "{line}");
    }
}

#[test]
fn every_event_has_what_ocsf_requires() {
    for action in AuditAction::ALL {
        let ctx = ctx(Actor::System("test"));
        let event = event_of(&AuditRecord::new(&ctx, &mut Random::seeded(1), *action, "usr_1").refused());
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
            4002 => &["http_request", "http_response", "firewall_rule"],
            6003 => &["api", "actor", "src_endpoint"],
            3002 => &["user", "service"],
            _ => &["user"],
        };
        assert!(required.iter().all(|name| event[name].is_object()), "{action}: {event}");
    }
}

#[test]
fn a_sign_in_says_by_which_protocol_and_factors() {
    let person = jo();
    let signed_in = |after: Value| {
        let ctx = ctx(Actor::Person(person.clone()));
        let record =
            AuditRecord::new(&ctx, &mut Random::seeded(1), AuditAction::SignIn, person.user.as_str());
        event_of(&record.with_change(Value::Null, after))
    };
    let vouched =
        |protocol: &str| json!({ "id": "idp_1", "issuer": "https://id.example", "protocol": protocol });
    let factors = |ids: &[u64]| ids.iter().map(|id| json!(id)).collect::<Vec<_>>();
    for (after, protocol, ids, is_mfa) in [
        (json!({ "proofs": ["pwd"] }), 99, &[11][..], false),
        (json!({ "proofs": ["pwd", "otp"] }), 99, &[11, 7], true),
        (json!({ "proofs": ["pwd", "recovery_code"] }), 99, &[11, 99], true),
        (json!({ "proofs": ["hwk"] }), 99, &[10], true),
        (json!({ "proofs": ["fed_mfa"], "identity_provider": vouched("oidc") }), 4, &[], true),
        (json!({ "proofs": ["fed_step_up", "otp"], "identity_provider": vouched("saml") }), 5, &[7], true),
    ] {
        let event = signed_in(after.clone());
        assert_eq!(event["auth_protocol_id"], protocol, "{after}");
        let told: Vec<Value> = event["auth_factors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|factor| factor["factor_type_id"].clone())
            .collect();
        assert_eq!((told, &event["is_mfa"]), (factors(ids), &json!(is_mfa)), "{after}");
        assert_eq!(event["user"]["name"], "jo@acme.example");
        assert_eq!(event["actor"]["session"]["uid"], person.session.as_str());
    }
}

#[test]
fn a_refused_sign_in_names_the_account_and_not_who_tried() {
    let tried = |subject: &str| {
        let record =
            AuditRecord::new(&ctx(Actor::Anonymous), &mut Random::seeded(1), AuditAction::SignIn, subject);
        event_of(&record.with_change(Value::Null, json!({ "reason": "wrong_password" })).refused())
    };
    let user = jo().user;
    let known = tried(user.as_str());
    assert_eq!((&known["user"]["uid"], &known["status_detail"]), (&json!(user), &json!("wrong_password")));
    assert_eq!(tried("nobody@acme.example")["user"], json!({ "name": "nobody@acme.example" }));
}

#[test]
fn a_refused_address_is_a_request_that_was_blocked() {
    let tried = json!({ "matched_rule": "deny", "deny_range": "192.0.2.0/24" });
    let ctx = ctx(Actor::Anonymous);
    let record = AuditRecord::new(&ctx, &mut Random::seeded(1), AuditAction::IpDenied, "192.0.2.1");
    let event = event_of(&record.with_change(Value::Null, tried).refused());
    assert_eq!(
        (&event["class_uid"], &event["metadata"]["profiles"]),
        (&json!(4002), &json!(["security_control"]))
    );
    assert_eq!((&event["action_id"], &event["disposition_id"]), (&json!(2), &json!(2)));
    assert_eq!(event["firewall_rule"], json!({ "name": "deny", "condition": "192.0.2.0/24" }));
    assert_eq!(event["http_response"]["code"], 403);
    assert!(event.get("actor").is_none(), "the class has none");
}
