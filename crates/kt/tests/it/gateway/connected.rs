//! A gateway connected to a control plane, both as processes: keys, revocation, and events that arrive once, whatever
//! is away or killed meanwhile.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::http::{Answer, Http};
use super::process::{Place, Process};
use super::{ECHO, recorded_requests, wait_for};

pub(super) const EMAIL: &str = "owner@example.com";
pub(super) const PASSWORD: &str = "Tall green walnuts dance 7";

/// Within which time a revoked key stops at every gateway that can reach the control plane (SPEC section 13).
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// A control plane's directory, and the address at which it is started again and again.
pub(super) struct Plane {
    directory: tempfile::TempDir,
    pub(super) address: Option<SocketAddr>,
}

impl Plane {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), address: None }
    }

    pub(super) fn start(&mut self) -> Process {
        let listen = self.address.map_or("127.0.0.1:0".to_owned(), |address| address.to_string());
        let process = Process::spawn(
            Command::new(env!("CARGO_BIN_EXE_kt"))
                .current_dir(self.directory.path())
                .env("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL)
                .env("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD)
                .args([
                    "server",
                    "run",
                    "--data-dir",
                    "data",
                    "--api-listen",
                    &listen,
                    "--console-listen",
                    "127.0.0.1:0",
                ]),
        );
        self.address = Some(process.api());
        process
    }
}

/// Somebody who is signed in: the owner, if nobody else is named.
pub(super) struct Owner {
    api: SocketAddr,
    token: String,
}

impl Owner {
    pub(super) fn sign_in(api: SocketAddr) -> Self {
        Self::sign_in_as(api, EMAIL)
    }

    /// Somebody else with [`PASSWORD`].
    fn sign_in_as(api: SocketAddr, email: &str) -> Self {
        let body = json!({ "email": email, "password": PASSWORD }).to_string();
        let answer = Http::connect(api).unwrap().ask("POST", "/v1/auth/login", None, &body).unwrap();
        Self { api, token: answer.json()["access_token"].as_str().unwrap().to_owned() }
    }

    pub(super) fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = Http::connect(self.api).unwrap().ask(method, path, Some(&self.token), &body).unwrap();
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer
    }

    /// A new key: its id and its text.
    pub(super) fn new_key(&self, kind: &str) -> (String, String) {
        let body = json!({ "type": kind, "name": format!("a {kind} key"), "scope": "write" });
        let made = self.ask("POST", "/v1/tokens", &body).json();
        let text =
            |field: &str| made[field].as_str().unwrap_or_else(|| panic!("{field} in {made}")).to_owned();
        (text("id"), text("key"))
    }

    fn revoke(&self, id: &str) {
        self.ask("DELETE", &format!("/v1/tokens/{id}"), &Value::Null);
    }

    /// How often each request of the gateways stands among the events that have arrived.
    pub(super) fn arrived(&self) -> HashMap<String, usize> {
        let events = self.ask("GET", "/v1/events?limit=1000", &Value::Null).json();
        let mut counts = HashMap::new();
        for event in events["events"].as_array().unwrap() {
            if let Some(request_id) = event["request_id"].as_str() {
                *counts.entry(request_id.to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

fn start_gateway(place: &Place, api: SocketAddr, key: &str) -> Process {
    let api = format!("http://{api}");
    Process::spawn(place.command(&["--api-url", &api]).env("KEEPTRUSTS_GATEWAY_TOKEN", key))
}

pub(super) fn chat(gateway: &Process, key: &str) -> Answer {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
    Http::connect(gateway.gateway()).unwrap().ask("POST", "/v1/chat/completions", Some(key), body).unwrap()
}

/// Waits until the gateway lets the key in; gives the request that it did so for.
pub(super) fn let_in(gateway: &Process, key: &str) -> String {
    wait_for("the key to be let in", || {
        let answer = chat(gateway, key);
        (answer.status == 200).then(|| answer.request_id())
    })
}

#[test]
fn a_revoked_key_stops_within_seconds_and_the_others_go_on() {
    let mut plane = Plane::new();
    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    let ((_, gateway_key), (first, first_key), (_, second_key)) =
        (owner.new_key("gateway"), owner.new_key("access"), owner.new_key("access"));
    let edge = Place::with(ECHO);
    let gateway = start_gateway(&edge, server.api(), &gateway_key);
    let_in(&gateway, &first_key);
    assert_eq!(chat(&gateway, &second_key).status, 200);
    assert_eq!(chat(&gateway, "kt_ak_nobody").code(), "invalid_key");

    owner.revoke(&first);
    let revoked = Instant::now();
    wait_for("the key to be refused", || (chat(&gateway, &first_key).status == 401).then_some(()));
    assert!(revoked.elapsed() < REVOKED_WITHIN, "{:?}", revoked.elapsed());
    assert_eq!(chat(&gateway, &second_key).status, 200);

    let gateways = owner.ask("GET", "/v1/gateways", &Value::Null).json();
    assert_eq!(gateways["gateways"][0]["connected"], true, "{gateways}");
    gateway.terminate();
    server.terminate();
}

#[test]
fn what_is_in_force_from_its_own_files_is_shown_without_secrets_and_follows_them() {
    let mut plane = Plane::new();
    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    let (_, gateway_key) = owner.new_key("gateway");
    let config = |name: &str| {
        format!(
            "pack: {{name: {name}, version: 1.0.0}}\nproviders:\n  targets:\n    - \
             {{id: main, provider: openai, base_url: 'https://model.example/v1', headers: {{x-account: canary-7}}}}\n"
        )
    };
    let edge = Place::with(&config("one"));
    let gateway = start_gateway(&edge, server.api(), &gateway_key);
    let shows = |name: &str| {
        wait_for("the configuration to be shown", || {
            let listed = owner.ask("GET", "/v1/gateways", &Value::Null).json();
            let id = listed["gateways"][0]["id"].as_str()?.to_owned();
            let shown = owner.ask("GET", &format!("/v1/gateways/{id}"), &Value::Null).json();
            (shown["configuration"]["pack"]["name"] == name).then_some(shown["configuration"].clone())
        })
    };
    let first = shows("one");
    assert_eq!(first["providers"]["targets"][0]["headers"]["x-account"], "***", "{first}");
    assert!(!first.to_string().contains("canary-7"));
    gateway.terminate();
    edge.write_config(&config("two"));
    let gateway = start_gateway(&edge, server.api(), &gateway_key);
    shows("two");
    gateway.terminate();
    server.terminate();
}

#[test]
fn a_key_stops_with_its_owner_and_reaches_no_further_than_they_do() {
    const JO: &str = "jo@example.com";
    let mut plane = Plane::new();
    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    let organization =
        owner.ask("GET", "/v1/whoami", &Value::Null).json()["organization"]["identifier"].clone();
    owner.ask("POST", "/v1/invitations", &json!({ "email": JO, "role": "admin" }));
    let token = crate::killed::token_in_letter(&plane.directory.path().join("data"), JO);
    let joins = json!({
        "organization": organization, "email": JO, "name": "Jo", "password": PASSWORD, "invitation_token": token,
    });
    owner.ask("POST", "/v1/auth/register", &joins);
    let jo = Owner::sign_in_as(server.api(), JO);
    let member = jo.ask("GET", "/v1/whoami", &Value::Null).json()["user"]["id"].as_str().unwrap().to_owned();
    let member = format!("/v1/members/{member}");
    let ((_, gateway_key), (_, own_key), (_, jos_key)) =
        (owner.new_key("gateway"), owner.new_key("access"), jo.new_key("access"));
    let edge = Place::with(ECHO);
    let gateway = start_gateway(&edge, server.api(), &gateway_key);
    let_in(&gateway, &jos_key);

    let stops = |what: &str, change: &dyn Fn()| {
        change();
        let changed = Instant::now();
        wait_for(what, || (chat(&gateway, &jos_key).status != 200).then_some(()));
        let waited = changed.elapsed();
        assert!(waited < REVOKED_WITHIN, "{what}: {waited:?}");
        println!("{what}: refused {waited:?} after it was answered");
        assert_eq!(chat(&gateway, &own_key).status, 200, "the control");
    };
    stops("Jo is suspended", &|| drop(owner.ask("POST", &format!("{member}/suspend"), &json!({}))));
    owner.ask("POST", &format!("{member}/reactivate"), &json!({}));
    let_in(&gateway, &jos_key);
    stops("Jo becomes an auditor", &|| drop(owner.ask("PATCH", &member, &json!({ "role": "auditor" }))));
    gateway.terminate();
    server.terminate();
}

#[test]
fn it_works_on_and_starts_again_while_the_control_plane_is_away_and_its_events_arrive_once() {
    let mut plane = Plane::new();
    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    let ((_, gateway_key), (_, key)) = (owner.new_key("gateway"), owner.new_key("access"));
    let edge = Place::with(ECHO);
    let gateway = start_gateway(&edge, server.api(), &gateway_key);
    let mut requests = vec![let_in(&gateway, &key)];
    wait_for("the first event to arrive", || owner.arrived().contains_key(&requests[0]).then_some(()));
    server.kill();

    let ask = |gateway: &Process| {
        let answer = chat(gateway, &key);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.request_id()
    };
    requests.extend((0..20).map(|_| ask(&gateway)));
    wait_for("the events to be on disk", || {
        let recorded = recorded_requests(&edge.data_dir());
        requests.iter().all(|request| recorded.contains(request)).then_some(())
    });
    gateway.kill();
    let gateway = start_gateway(&edge, plane.address.unwrap(), &gateway_key);
    requests.extend((0..20).map(|_| ask(&gateway)));

    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    let all_there = || {
        let arrived = owner.arrived();
        requests.iter().all(|request| arrived.contains_key(request)).then_some(arrived)
    };
    let arrived = wait_for("all events to arrive", all_there);
    assert!(arrived.values().all(|count| *count == 1), "each once: {arrived:?}");
    gateway.terminate();
    server.terminate();
}

#[test]
fn a_gateway_whose_own_key_is_revoked_lets_nobody_in() {
    let mut plane = Plane::new();
    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    let ((gateway_id, gateway_key), (_, key)) = (owner.new_key("gateway"), owner.new_key("access"));
    let edge = Place::with(ECHO);
    let gateway = start_gateway(&edge, server.api(), &gateway_key);
    let_in(&gateway, &key);
    owner.revoke(&gateway_id);
    wait_for("the key to be refused", || (chat(&gateway, &key).code() == "keys_unavailable").then_some(()));
    gateway.kill();
    let again = start_gateway(&edge, server.api(), &gateway_key);
    assert_eq!(chat(&again, &key).code(), "keys_unavailable", "nor does it remember them");
    again.signal(Signal::TERM);
    again.complains_of("some events have not arrived");
}

#[test]
fn a_gateway_that_asks_from_an_address_that_is_refused_keeps_its_keys() {
    let mut plane = Plane::new();
    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    let ((gateway_id, gateway_key), (_, key)) = (owner.new_key("gateway"), owner.new_key("access"));
    let edge = Place::with(ECHO);
    let gateway = start_gateway(&edge, server.api(), &gateway_key);
    let_in(&gateway, &key);
    let bind = |range: &str| {
        owner.ask("PATCH", &format!("/v1/tokens/{gateway_id}"), &json!({ "ip_ranges": [range] }))
    };
    bind("192.0.2.0/24");
    gateway.complains_of("key_ip_denied");
    assert_eq!(chat(&gateway, &key).status, 200);
    gateway.kill();
    let again = start_gateway(&edge, server.api(), &gateway_key);
    again.complains_of("key_ip_denied");
    assert_eq!(chat(&again, &key).status, 200, "it remembers them");

    bind("127.0.0.0/8");
    let (_, later) = owner.new_key("access");
    let request = let_in(&again, &later);
    wait_for("the event to arrive", || owner.arrived().contains_key(&request).then_some(()));
    owner.revoke(&gateway_id);
    wait_for("the key to be refused", || (chat(&again, &key).code() == "keys_unavailable").then_some(()));
}

#[test]
fn half_a_connection_does_not_start() {
    let edge = Place::with(ECHO);
    let output = edge.command(&["--api-url", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("KEEPTRUSTS_GATEWAY_TOKEN"), "{complaint}");
}

#[test]
fn kt_up_asks_for_the_keys_of_its_own_control_plane() {
    let edge = Place::with(ECHO);
    let up = Process::spawn(
        Command::new(env!("CARGO_BIN_EXE_kt"))
            .current_dir(edge.path(""))
            .env("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL)
            .env("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD)
            .args(["up", "--policy-config", "policy-config.yaml", "--data-dir", "data"])
            .args(["--api-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"])
            .args(["--gateway-listen", "127.0.0.1:0", "--gateway-admin-listen", "127.0.0.1:0"]),
    );
    let owner = Owner::sign_in(up.api());
    let (id, key) = owner.new_key("access");
    let request = let_in(&up, &key);
    wait_for("the event to arrive", || owner.arrived().contains_key(&request).then_some(()));
    owner.revoke(&id);
    wait_for("the key to be refused", || (chat(&up, &key).code() == "invalid_key").then_some(()));
    up.terminate();
}
