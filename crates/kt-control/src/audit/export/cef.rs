//! Records in the Common Event Format (`ArcSight`, revision 25), one a line, for systems that read no other.

use kt_domain::audit::{AuditRecord, Outcome};
use serde_json::Value;

/// The line of a record, which is entry `seq` of `chain`.
pub(super) fn write(record: &AuditRecord, chain: &str, seq: u64, out: &mut Vec<u8>) {
    // Both are "Low" (0 to 3).
    let severity = if record.outcome == Outcome::Failure { "3" } else { "1" };
    let version = env!("CARGO_PKG_VERSION");
    let header =
        ["Keeptrusts", "Keeptrusts", version, record.action.as_str(), record.action.sentence(), severity];
    let mut line = "CEF:0|".to_owned();
    for field in header {
        line.extend(field.chars().map(of_header));
        line.push('|');
    }
    let fields: Vec<String> = fields(record, chain, seq)
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", value.chars().map(of_value).collect::<String>()))
        .collect();
    line.push_str(&fields.join(" "));
    line.push('\n');
    out.extend(line.into_bytes());
}

/// A character of a field of the header.
fn of_header(c: char) -> String {
    match c {
        '\\' | '|' => format!("\\{c}"),
        _ => c.to_string(),
    }
}

/// A character of a value behind the header.
fn of_value(c: char) -> String {
    match c {
        '\\' | '=' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        _ => c.to_string(),
    }
}

/// What stands behind the header, by the names of the format's own list; what that has no name for is named beside it.
fn fields(record: &AuditRecord, chain: &str, seq: u64) -> Vec<(&'static str, String)> {
    let optional = |value: Option<String>| value.unwrap_or_default();
    let mut fields = vec![
        ("rt", record.timestamp.as_millisecond().to_string()),
        ("externalId", record.id.to_string()),
        ("act", record.action.to_string()),
        ("outcome", record.outcome.to_string()),
        ("suser", record.actor.name.clone()),
        ("suid", record.actor.id.clone()),
        ("requestClientApplication", optional(record.user_agent.clone())),
        ("reason", record.details.after["reason"].as_str().unwrap_or_default().to_owned()),
    ];
    fields.extend(source(record));
    fields.extend(request(record));
    let change = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    let named = [
        ("cs1", "cs1Label", "resource", record.resource.clone()),
        ("cs2", "cs2Label", "request_id", record.request_id.clone()),
        ("cs3", "cs3Label", "session_id", optional(record.session_id.as_ref().map(ToString::to_string))),
        ("cs4", "cs4Label", "before", change(&record.details.before)),
        ("cs5", "cs5Label", "after", change(&record.details.after)),
        ("cs6", "cs6Label", "actor_type", record.actor.kind.to_string()),
        ("cn1", "cn1Label", "entry", seq.to_string()),
        ("flexString1", "flexString1Label", "chain", chain.to_owned()),
    ];
    for (key, label, name, value) in named.into_iter().filter(|(.., value)| !value.is_empty()) {
        fields.extend([(key, value), (label, name.to_owned())]);
    }
    fields
}

/// From where; `src` holds IPv4 alone.
fn source(record: &AuditRecord) -> Vec<(&'static str, String)> {
    match record.ip_address {
        Some(ip) if ip.is_ipv4() => vec![("src", ip.to_string())],
        Some(ip) => vec![("c6a2", ip.to_string()), ("c6a2Label", "Source IPv6 Address".to_owned())],
        None => Vec::new(),
    }
}

/// What was asked, where the record is about a request, such as `GET /v1/members`.
fn request(record: &AuditRecord) -> Vec<(&'static str, String)> {
    match record.resource.split_once(' ') {
        Some((method, path)) if path.starts_with('/') => {
            vec![("requestMethod", method.to_owned()), ("request", path.to_owned())]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kt_domain::actor::Actor;
    use kt_domain::audit::AuditAction;
    use kt_domain::ctx::{Client, Ctx};
    use kt_domain::random::Random;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn record(resource: &str, ip: &str, agent: &str) -> AuditRecord {
        let ctx = Ctx {
            actor: Actor::System("test"),
            client: Client { ip: Some(ip.parse().unwrap()), user_agent: Some(agent.to_owned()) },
            request_id: "r".into(),
            now: "2026-03-15T14:22:31.5Z".parse().unwrap(),
        };
        AuditRecord::new(&ctx, &mut Random::seeded(1), AuditAction::SignIn, resource)
    }

    /// The header and the fields of a line, as whoever reads the format takes it apart.
    fn read(record: &AuditRecord) -> (Vec<String>, BTreeMap<String, String>) {
        let mut line = Vec::new();
        write(record, "org_1", 7, &mut line);
        let line = String::from_utf8(line).unwrap();
        let line = line.strip_suffix('\n').unwrap();
        assert!(!line.contains(['\r', '\n']), "one line: {line:?}");
        let mut parts = split_unescaped(line, '|');
        let extension = parts.split_off(7).join("|");
        (parts.iter().map(|part| plain(part)).collect(), values(&extension))
    }

    /// The pieces between those of these characters that no backslash stands before.
    fn split_unescaped(text: &str, at: char) -> Vec<String> {
        let (mut pieces, mut is_escaped) = (vec![String::new()], false);
        for c in text.chars() {
            if c == at && !is_escaped {
                pieces.push(String::new());
            } else {
                pieces.last_mut().unwrap().push(c);
            }
            is_escaped = c == '\\' && !is_escaped;
        }
        pieces
    }

    /// Before each `=` stands a key, and before that, behind a blank, the value of the key before.
    fn values(extension: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let pieces = split_unescaped(extension, '=');
        let mut key = pieces[0].clone();
        for (place, piece) in pieces.iter().enumerate().skip(1) {
            let is_last = place + 1 == pieces.len();
            let (value, next) = if is_last { (&**piece, "") } else { piece.rsplit_once(' ').unwrap() };
            assert!(found.insert(key, plain(value)).is_none());
            key = next.to_owned();
        }
        found
    }

    fn plain(text: &str) -> String {
        let (mut plain, mut chars) = (String::new(), text.chars());
        while let Some(c) = chars.next() {
            plain.push(match c {
                '\\' => match chars.next().unwrap() {
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                },
                _ => c,
            });
        }
        plain
    }

    #[test]
    fn a_line_says_what_happened_by_the_names_of_the_format() {
        let after = json!({ "reason": "wrong_password" });
        let record = record("usr_1", "192.0.2.1", "curl/8").with_change(Value::Null, after).refused();
        let (header, fields) = read(&record);
        let version = env!("CARGO_PKG_VERSION");
        let sentence = "Somebody signed in, or tried to.";
        assert_eq!(header, ["CEF:0", "Keeptrusts", "Keeptrusts", version, "auth.sign_in", sentence, "3"]);
        for (key, value) in [
            ("rt", "1773584551500"),
            ("act", "auth.sign_in"),
            ("outcome", "failure"),
            ("src", "192.0.2.1"),
            ("suser", "test"),
            ("reason", "wrong_password"),
            ("requestClientApplication", "curl/8"),
            ("cs1", "usr_1"),
            ("cs1Label", "resource"),
            ("cs5", "{\"reason\":\"wrong_password\"}"),
            ("cn1", "7"),
            ("flexString1", "org_1"),
        ] {
            assert_eq!(fields.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert!(!fields.contains_key("cs4"), "nothing was before");
        assert!(!fields.contains_key("request"), "it is about no request");
    }

    #[test]
    fn a_request_and_an_address_of_ipv6_have_names_of_their_own() {
        let (_, fields) = read(&record("GET /v1/members?a=b", "2001:db8::1", "curl/8"));
        assert_eq!((&*fields["requestMethod"], &*fields["request"]), ("GET", "/v1/members?a=b"));
        assert_eq!((&*fields["c6a2"], fields.get("src")), ("2001:db8::1", None));
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_value_comes_back_as_it_was(text in "[ -~|=\\\\\r\nä]{1,40}") {
            let (_, fields) = read(&record(&text, "192.0.2.1", &text));
            prop_assert_eq!(&fields["cs1"], &text);
            prop_assert_eq!(&fields["requestClientApplication"], &text);
        }
    }
}
