//! `kt audit …` against a control plane that runs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::{complaint, printed};

const EMAIL: &str = "owner@acme.example";
const PASSWORD: &str = "seven-Bright-kettles-4";

/// A control plane with one owner, in a process of its own; killed when it is dropped.
struct Plane {
    directory: tempfile::TempDir,
    child: Child,
    /// Its address, as `127.0.0.1:PORT`.
    api: String,
}

impl Plane {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kt"))
            .current_dir(directory.path())
            .args(["server", "run", "--data-dir", "data", "--api-listen", "127.0.0.1:0"])
            .env("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL)
            .env("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let api =
            ready.trim().strip_prefix("ready api=http://").unwrap_or_else(|| panic!("{ready}")).to_owned();
        Self { directory, child, api }
    }

    /// The access token of somebody who signs in as the owner.
    fn sign_in(&self, password: &str) -> Option<String> {
        let body = json!({ "email": EMAIL, "password": password }).to_string();
        let answer = self.ask("POST /v1/auth/login", "", &body);
        answer["access_token"].as_str().map(str::to_owned)
    }

    /// HTTP/1.0: the answer ends with the connection.
    fn ask(&self, what: &str, credentials: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(&self.api).unwrap();
        let length = body.len();
        write!(
            stream,
            "{what} HTTP/1.0\r\nHost: {}\r\n{credentials}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
             {body}",
            self.api
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn kt(&self, token: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kt"));
        command
            .current_dir(self.directory.path())
            .env("KEEPTRUSTS_API_URL", format!("http://{}", self.api))
            .env_remove("KEEPTRUSTS_API_TOKEN")
            .arg("audit")
            .args(arguments);
        if let Some(token) = token {
            command.env("KEEPTRUSTS_API_TOKEN", token);
        }
        command.output().unwrap()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn said(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{}{}", printed(output), complaint(output));
    printed(output)
}

#[test]
fn the_log_is_shown_copied_and_proven() {
    let plane = Plane::start();
    assert_eq!(plane.sign_in("wrong"), None);
    let access_token = plane.sign_in(PASSWORD).unwrap();
    let token = Some(access_token.as_str());

    let shown = said(&plane.kt(token, &["tail"]), 0);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines[1].contains("failure") && lines[1].contains("auth.sign_in"), "oldest first: {shown}");
    let one = said(&plane.kt(token, &["tail", "--outcome", "failure", "--json"]), 0);
    let record: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(record["action"], "auth.sign_in");

    let copied = plane.kt(token, &["export", "--output", "copy.jsonl"]);
    said(&copied, 0);
    assert!(complaint(&copied).contains("kt audit verify copy.jsonl"), "{}", complaint(&copied));
    let again = plane.kt(token, &["export", "--output", "copy.jsonl"]);
    said(&again, 1);
    assert!(complaint(&again).contains("exists already"));
    let table = said(&plane.kt(token, &["export", "--format", "csv"]), 0);
    assert!(table.starts_with("\"id\",\"timestamp\","), "{table}");

    let credentials = format!("Authorization: Bearer {access_token}\r\n");
    let keys = plane.ask("GET /v1/audit-log/keys", &credentials, "");
    let key = keys["keys"][0]["public_key"].as_str().unwrap();
    let proof = said(&plane.kt(None, &["verify", "copy.jsonl", "--public-key", key]), 0);
    assert!(proof.contains("audit records of organization org_"), "{proof}");
    let other = "07".repeat(32);
    let forged = plane.kt(None, &["verify", "copy.jsonl", "--public-key", &other, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said(&forged, 1)).unwrap()["valid"], false);

    let path = plane.directory.path().join("copy.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("failure", "success", 1)).unwrap();
    let problem = said(&plane.kt(None, &["verify", "copy.jsonl"]), 1);
    assert!(problem.contains("entry 2"), "{problem}");
}

#[test]
fn who_may_not_ask_is_told_so_by_the_exit_status() {
    let plane = Plane::start();
    let nobody = plane.kt(None, &["tail"]);
    said(&nobody, 3);
    assert!(complaint(&nobody).contains("KEEPTRUSTS_API_TOKEN"));
    said(&plane.kt(Some("wrong"), &["tail"]), 3);
    let token = plane.sign_in(PASSWORD).unwrap();
    said(&plane.kt(Some(&token), &["tail"]), 0);
    said(&plane.kt(Some(&token), &["tail", "--action", "nothing"]), 2);
    let plain = plane.kt(Some(&token), &["tail", "--api-url", "http://api.example.com"]);
    said(&plain, 2);
    assert!(complaint(&plain).contains("use https"), "{}", complaint(&plain));
    let away = plane.kt(Some(&token), &["tail", "--api-url", "http://127.0.0.1:1"]);
    said(&away, 4);
}
