//! `kt audit …` against a control plane that runs.

use std::fs;

use serde_json::Value;

use crate::plane::{PASSWORD, Plane};
use crate::{complaint, said};

#[test]
fn the_log_is_shown_copied_and_proven() {
    let plane = Plane::start();
    assert_eq!(plane.sign_in("wrong"), None);
    let access_token = plane.sign_in(PASSWORD).unwrap();
    let token = Some(access_token.as_str());

    let shown = said(&plane.kt(token, &["audit", "tail"]), 0);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines[1].contains("failure") && lines[1].contains("auth.sign_in"), "oldest first: {shown}");
    let one = said(&plane.kt(token, &["audit", "tail", "--outcome", "failure", "--json"]), 0);
    let record: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(record["action"], "auth.sign_in");

    let copied = plane.kt(token, &["audit", "export", "--output", "copy.jsonl"]);
    said(&copied, 0);
    assert!(complaint(&copied).contains("kt audit verify copy.jsonl"), "{}", complaint(&copied));
    let again = plane.kt(token, &["audit", "export", "--output", "copy.jsonl"]);
    said(&again, 1);
    assert!(complaint(&again).contains("exists already"));
    let table = said(&plane.kt(token, &["audit", "export", "--format", "csv"]), 0);
    assert!(table.starts_with("\"id\",\"timestamp\","), "{table}");

    let credentials = format!("Authorization: Bearer {access_token}\r\n");
    let keys = plane.ask("GET /v1/audit-log/keys", &credentials, "");
    let key = keys["keys"][0]["public_key"].as_str().unwrap();
    let proof = said(&plane.kt(None, &["audit", "verify", "copy.jsonl", "--public-key", key]), 0);
    assert!(proof.contains("audit records of organization org_"), "{proof}");
    let other = "07".repeat(32);
    let forged = plane.kt(None, &["audit", "verify", "copy.jsonl", "--public-key", &other, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said(&forged, 1)).unwrap()["valid"], false);

    let path = plane.home.path("copy.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("failure", "success", 1)).unwrap();
    let problem = said(&plane.kt(None, &["audit", "verify", "copy.jsonl"]), 1);
    assert!(problem.contains("entry 2"), "{problem}");
}

#[test]
fn who_may_not_ask_is_told_so_by_the_exit_status() {
    let plane = Plane::start();
    let nobody = plane.kt(None, &["audit", "tail"]);
    said(&nobody, 3);
    assert!(complaint(&nobody).contains("KEEPTRUSTS_API_TOKEN"));
    said(&plane.kt(Some("wrong"), &["audit", "tail"]), 3);
    let token = plane.sign_in(PASSWORD).unwrap();
    said(&plane.kt(Some(&token), &["audit", "tail"]), 0);
    said(&plane.kt(Some(&token), &["audit", "tail", "--action", "nothing"]), 2);
    let plain = plane.kt(Some(&token), &["audit", "tail", "--api-url", "http://api.example.com"]);
    said(&plain, 2);
    assert!(complaint(&plain).contains("use https"), "{}", complaint(&plain));
    let away = plane.kt(Some(&token), &["audit", "tail", "--api-url", "http://127.0.0.1:1"]);
    said(&away, 4);
}
