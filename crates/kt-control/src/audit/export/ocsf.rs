//! Records as events of the Open Cybersecurity Schema Framework (<https://schema.ocsf.io/1.5.0>), for systems that watch.
//!
//! Which class and activity an action is stands in `ocsf.txt`.

use kt_domain::audit::{ActorKind, AuditAction, AuditRecord, Outcome};
use kt_domain::error::Error;
use kt_domain::id::UserId;
use kt_domain::sign_in::{Proof, Proofs};
use kt_domain::sso::Protocol;
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
const USER_ACCESS: u64 = 3005;
const HTTP_ACTIVITY: u64 = 4002;
const API_ACTIVITY: u64 = 6003;

/// "Other", in every class.
const OTHER: u64 = 99;

/// The line of a record, which is entry `seq` of `chain`.
pub(in crate::audit) fn write(
    record: &AuditRecord,
    chain: &str,
    seq: u64,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
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
        "unmapped": { "resource": record.resource, "details": record.details },
    });
    if class == HTTP_ACTIVITY {
        event["metadata"]["profiles"] = json!(["security_control"]);
    }
    if let Value::Object(fields) = &mut event {
        fields.extend(source(record));
        fields.extend(of_class(record, class));
        if let Some(reason) = record.details.after["reason"].as_str() {
            fields.insert("status_detail".into(), reason.into());
        }
    }
    event
}

/// From where, and with what.
fn source(record: &AuditRecord) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(ip) = record.ip_address {
        fields.insert("src_endpoint".into(), json!({ "ip": ip }));
        fields.insert("http_request".into(), http_request(record));
    }
    fields
}

fn http_request(record: &AuditRecord) -> Value {
    let mut request = json!({ "uid": record.request_id });
    if let Some(agent) = &record.user_agent {
        request["user_agent"] = agent.as_str().into();
    }
    request
}

/// What the class asks for beyond that.
fn of_class(record: &AuditRecord, class: u64) -> Map<String, Value> {
    if class == HTTP_ACTIVITY {
        return denied(record);
    }
    let mut fields = Map::new();
    fields.insert("actor".into(), actor(record));
    match class {
        AUTHENTICATION => {
            fields.insert("user".into(), affected(record));
            fields.insert("service".into(), json!({ "name": "Keeptrusts" }));
            if record.action == AuditAction::SignIn {
                fields.extend(sign_in(record));
            }
        }
        ENTITY_MANAGEMENT => {
            fields.insert("entity".into(), json!({ "uid": record.resource, "name": record.resource }));
        }
        API_ACTIVITY => {
            fields.insert("api".into(), json!({ "operation": record.action }));
            let from = record.ip_address.map_or(json!({ "name": "localhost" }), |ip| json!({ "ip": ip }));
            fields.insert("src_endpoint".into(), from);
        }
        USER_ACCESS => {
            fields.insert("user".into(), affected(record));
            let role = record.details.after["role"].as_str();
            fields.insert("privileges".into(), json!(role.into_iter().collect::<Vec<_>>()));
        }
        _ => {
            fields.insert("user".into(), affected(record));
        }
    }
    fields
}

fn actor(record: &AuditRecord) -> Value {
    let mut actor = json!({ "user": by(record) });
    if let Some(session) = &record.session_id {
        actor["session"] = json!({ "uid": session });
    }
    actor
}

/// OCSF tells people (1) from the system itself (3) and from everything else (99).
fn by(record: &AuditRecord) -> Value {
    let kind = match record.actor.kind {
        ActorKind::User => 1,
        ActorKind::System => 3,
        ActorKind::ApiKey => OTHER,
    };
    json!({ "uid": record.actor.id, "name": record.actor.name, "type_id": kind })
}

/// Whose account it is about: that of the actor, unless the record names another.
fn affected(record: &AuditRecord) -> Value {
    let named = [&record.details.after["user"], &record.details.before["user"]];
    let mut ids = named.into_iter().filter_map(Value::as_str).chain([record.resource.as_str()]);
    match ids.find(|id| id.parse::<UserId>().is_ok()) {
        Some(id) if id == record.actor.id => by(record),
        Some(id) => json!({ "uid": id, "type_id": 1 }),
        None if record.actor.kind == ActorKind::User => by(record),
        // The address that somebody typed, or the name of what waits.
        None => json!({ "name": record.resource }),
    }
}

/// By which protocol and factors somebody signed in.
fn sign_in(record: &AuditRecord) -> Map<String, Value> {
    let after = &record.details.after;
    let mut fields = Map::new();
    let protocol = serde_json::from_value::<Protocol>(after["identity_provider"]["protocol"].clone());
    let (id, name) = match protocol {
        Ok(Protocol::Oidc) => (4, "OpenID"),
        Ok(Protocol::Saml) => (5, "SAML"),
        Err(_) => (OTHER, "Keeptrusts"),
    };
    fields.insert("auth_protocol_id".into(), id.into());
    fields.insert("auth_protocol".into(), name.into());
    if let Ok(proofs) = serde_json::from_value::<Proofs>(after["proofs"].clone()) {
        fields.insert("is_mfa".into(), proofs.is_multi_factor().into());
        fields.insert("auth_factors".into(), proofs.given().filter_map(factor).collect());
    }
    if let Some(session) = after["session"].as_str() {
        fields.insert("session".into(), json!({ "uid": session }));
    }
    fields
}

/// A proof as an authentication factor; none for a provider's word, which is the protocol.
fn factor(proof: Proof) -> Option<Value> {
    Some(match proof {
        Proof::Password => json!({ "factor_type_id": 11 }),
        Proof::Totp => json!({ "factor_type_id": 7, "is_totp": true }),
        Proof::Passkey => json!({ "factor_type_id": 10 }),
        Proof::RecoveryCode => json!({ "factor_type_id": OTHER, "factor_type": "recovery_code" }),
        Proof::Federated | Proof::FederatedSingle | Proof::FederatedMfa | Proof::FederatedStepUp => {
            return None;
        }
    })
}

/// A request that was refused for its address, with the profile of what guards.
fn denied(record: &AuditRecord) -> Map<String, Value> {
    let after = &record.details.after;
    let mut rule = json!({ "name": after["matched_rule"].as_str().unwrap_or("ip_restrictions") });
    if let Some(range) = after["deny_range"].as_str() {
        rule["condition"] = range.into();
    }
    Map::from_iter([
        ("http_request".to_owned(), http_request(record)),
        ("http_response".to_owned(), json!({ "code": 403 })),
        ("firewall_rule".to_owned(), rule),
        // Denied, and blocked.
        ("action_id".to_owned(), 2.into()),
        ("disposition_id".to_owned(), 2.into()),
    ])
}

#[cfg(test)]
mod tests;
