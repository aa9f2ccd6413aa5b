//! What attackers write into fields, in every field of the API: it is a value or refused, and never a part of a statement,
//! a pattern or a template (OWASP ASVS 5.0, 1.2.4 and 1.3).

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::documented::{Operation, operations};
use crate::harness::{Answer, TestApi, on_both};

/// Of statements, patterns, templates, paths and lines; a zero byte, which PostgreSQL keeps in no text; and what patterns
/// that go back on their steps never come to an end with.
fn hostile() -> Vec<String> {
    let mut texts = vec![format!("{}!", "a".repeat(20_000)), "a\0b".to_owned()];
    texts.extend(
        [
            "'; DROP TABLE users; --",
            "' OR '1'='1",
            "\") UNION SELECT email, password_hash FROM users --",
            "%",
            "_%!\\",
            "$1 ?1 :name @p",
            "(a+)+$",
            "{{7*7}}${jndi:ldap://127.0.0.1/x}<%= 1 %>",
            "../../../etc/passwd",
            "owner@acme.example\r\nBcc: thief@evil.example",
            "\u{202e}\u{0}\u{feff}",
            "__proto__",
        ]
        .map(str::to_owned),
    );
    texts
}

impl Operation {
    /// Its requests with this text: in each part of the path, in each parameter, and in each field of the body.
    fn with(&self, text: &str) -> Vec<(String, Option<Value>)> {
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let encoded = encoded.replace('+', "%20");
        let parts = self.path.split('/').map(|part| if part.starts_with('{') { &encoded } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        let mut requests = vec![(path.clone(), self.body.clone())];
        requests
            .extend(self.query.iter().map(|name| (format!("{path}?{name}={encoded}"), self.body.clone())));
        if let Some(body) = &self.body {
            let plain = self.plain_path();
            requests.extend(each_field(body, text).into_iter().map(|body| (plain.clone(), Some(body))));
        }
        requests
    }
}

/// The document with the text in place of each of its texts, one at a time, and once as the name of a field.
fn each_field(value: &Value, text: &str) -> Vec<Value> {
    match value {
        Value::String(_) => vec![json!(text)],
        Value::Array(items) => {
            let inside = items.iter().flat_map(|item| each_field(item, text));
            inside.map(|item| json!([item])).collect()
        }
        Value::Object(fields) => {
            let with = |name: &str, value: Value| {
                let mut changed: Map<_, _> = fields.clone();
                changed.insert(name.to_owned(), value);
                Value::Object(changed)
            };
            let inside = fields.iter().flat_map(|(name, value)| {
                each_field(value, text).into_iter().map(move |value| with(name, value))
            });
            inside.chain([with(text, json!(text))]).collect()
        }
        _ => Vec::new(),
    }
}

async fn ask(api: &TestApi, method: &Method, path: &str, body: Option<Value>, bearer: &str) -> Answer {
    api.request(method.clone(), path).bearer(bearer).body(body).send().await
}

on_both! {
    what_attackers_write_is_a_value_or_refused_in_every_field(api) {
        let texts = hostile();
        let (mut asked, mut broken) = (0, Vec::new());
        let owner = api.owner().await;
        let new = json!({ "type": "scim", "name": "provider", "scope": "write" });
        let provisioning = api.post("/v1/tokens", new).bearer(owner.access_token()).send().await.text("/key").to_owned();
        for operation in operations("x") {
            for text in &texts {
                // Whatever counts failures has forgotten them.
                api.clock.advance(Duration::from_hours(1));
                let is_provisioning = operation.path.starts_with("/scim/");
                let bearer = if is_provisioning {
                    provisioning.clone()
                } else {
                    api.token_of("owner@acme.example").await
                };
                for (path, body) in operation.with(text) {
                    let what = format!("{} {path}: {body:?}", operation.method);
                    let answer = ask(&api, &operation.method, &path, body, &bearer).await;
                    // Provisioning has errors of its own (RFC 7644 section 3.12).
                    let says = if is_provisioning { &answer.json["detail"] } else { &answer.json["error"]["code"] };
                    let is_told = answer.status.is_success() || says.is_string();
                    if answer.status.is_server_error() || !is_told {
                        broken.push(format!("{}: {}", answer.status, what.chars().take(200).collect::<String>()));
                    }
                    asked += 1;
                }
            }
        }
        assert!(broken.is_empty(), "{} of {asked}: {broken:#?}", broken.len());
        assert!(asked > 3000, "{asked}");
        let owner = api.token_of("owner@acme.example").await;
        let members = ask(&api, &Method::GET, "/v1/members", None, &owner).await;
        assert_eq!(members.status, StatusCode::OK);
        assert_eq!(members.json["members"].as_array().map(Vec::len), Some(1), "{}", members.body);
    }
}
