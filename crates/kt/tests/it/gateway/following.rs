//! Gateways without files of their own, as processes: they run what the control plane tells them, also while it is away.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::connected::{EMAIL, Owner, PASSWORD, Plane, chat, let_in};
use super::http::{Answer, Http};
use super::process::{Place, Process};
use super::wait_for;

/// What no file, log or answer may hold in clear.
const CANARY: &str = "sk-canary-51ed2c09b7";

/// A configuration whose only target answers by itself, and that asks for a stored credential.
fn echo(pack: &str) -> String {
    format!(
        "pack: {{name: {pack}, version: 1.0.0}}\nproviders:\n  targets:\n    - {{id: echo, provider: echo, \
         secret_key_ref: {{stored: spare}}}}\n"
    )
}

/// A gateway without a configuration: what a place has of one is not used.
fn command(home: &Place, api: SocketAddr, key: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kt"));
    command
        .current_dir(home.path(""))
        .env_remove("KEEPTRUSTS_ADMIN_TOKEN")
        .env("KEEPTRUSTS_GATEWAY_TOKEN", key)
        .args(["gateway", "run", "--data-dir", "data", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--api-url", &format!("http://{api}")]);
    command
}

/// A control plane that keeps `main@1`, and its owner.
fn plane_with_a_configuration(plane: &mut Plane) -> (Process, Owner) {
    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    owner.ask("POST", "/v1/provider-credentials", &json!({ "name": "spare", "key": CANARY }));
    owner.ask("POST", "/v1/configurations", &json!({ "name": "main", "text": echo("one") }));
    (server, owner)
}

fn save(owner: &Owner, text: &str) {
    owner.ask("POST", "/v1/configurations/main/versions", &json!({ "text": text }));
}

fn roll_out(owner: &Owner, version: u32) {
    owner.ask("POST", "/v1/configurations/main/rollout", &json!({ "version": version }));
}

/// The gateways as the control plane lists them.
fn gateways(owner: &Owner) -> Vec<Value> {
    let listed = owner.ask("GET", "/v1/gateways", &Value::Null).json();
    listed["gateways"].as_array().unwrap().clone()
}

fn runs(gateway: &Process, version: &str) {
    wait_for(version, || {
        (gateway.ask_admin("/keeptrusts/config").json()["config_version"] == version).then_some(())
    });
}

/// The configuration version in the event of a request that this gateway answered.
fn version_of(owner: &Owner, request: &str) -> Value {
    wait_for("the event to arrive", || {
        let path = format!("/v1/events?request_id={request}");
        let event = owner.ask("GET", &path, &Value::Null).json()["events"][0].clone();
        event.is_object().then(|| event["config_version"].clone())
    })
}

#[test]
fn two_gateways_follow_what_is_rolled_out_and_rolled_back() {
    let mut plane = Plane::new();
    let (server, owner) = plane_with_a_configuration(&mut plane);
    let ((_, gateway_key), (_, key)) = (owner.new_key("gateway"), owner.new_key("access"));
    let places = [Place::with(""), Place::with("")];
    // They wait until they are told; that they are there is seen before.
    let waiting = places.each_ref().map(|home| {
        let mut command = command(home, server.api(), &gateway_key);
        std::thread::spawn(move || Process::spawn(&mut command))
    });
    wait_for("both to have reported", || (gateways(&owner).len() == 2).then_some(()));
    assert!(gateways(&owner).iter().all(|gateway| gateway["config_version"] == "none"));
    roll_out(&owner, 1);
    let running = waiting.map(|waiting| waiting.join().unwrap());
    for gateway in &running {
        runs(gateway, "main@1");
    }
    assert_eq!(version_of(&owner, &let_in(&running[0], &key)), "main@1");

    save(&owner, &echo("two"));
    roll_out(&owner, 2);
    for gateway in &running {
        runs(gateway, "main@2");
    }
    let told: Vec<_> = gateways(&owner).iter().map(|gateway| gateway["wanted_version"].clone()).collect();
    assert_eq!(told, [json!("main@2"), json!("main@2")]);
    roll_out(&owner, 1);
    for gateway in &running {
        runs(gateway, "main@1");
    }
    assert_eq!(version_of(&owner, &let_in(&running[1], &key)), "main@1");

    for (gateway, home) in running.iter().zip(&places) {
        let shown = gateway.ask_admin("/keeptrusts/config").body;
        assert!(shown.contains("spare") && !shown.contains(CANARY), "{shown}");
        holds_no_secret(home);
    }
}

/// No file of the gateway holds the canary, and others can read none that could hold it sealed.
fn holds_no_secret(home: &Place) {
    for entry in std::fs::read_dir(home.data_dir()).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !kind.is_file() {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
        assert!(!text.contains(CANARY), "{name}");
        if ["orders.sealed", "gateway.key"].contains(&&*name) {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{name}");
        }
    }
    assert!(home.data_dir().join("orders.sealed").exists(), "the control: it remembers what it was told");
}

#[test]
fn a_version_that_does_not_work_here_is_reported_and_the_one_in_force_stays() {
    let mut plane = Plane::new();
    let (server, owner) = plane_with_a_configuration(&mut plane);
    let ((_, gateway_key), (_, key)) = (owner.new_key("gateway"), owner.new_key("access"));
    roll_out(&owner, 1);
    let home = Place::with("");
    let start = || {
        // No header can hold this key, which only the gateway can know.
        Process::spawn(command(&home, server.api(), &gateway_key).env("BROKEN_KEY", "a\u{7f}b"))
    };
    let gateway = start();
    let_in(&gateway, &key);
    save(
        &owner,
        &echo("two")
            .replace("echo, secret_key_ref: {stored: spare}", "openai, secret_key_ref: {env: BROKEN_KEY}"),
    );
    roll_out(&owner, 2);
    let refused =
        wait_for("the refusal", || Some(gateways(&owner)[0]["refused"].clone()).filter(Value::is_object));
    assert_eq!(refused["version"], "main@2");
    assert!(refused["reason"].as_str().unwrap().contains("control character"), "{refused}");
    runs(&gateway, "main@1");
    assert_eq!(chat(&gateway, &key).status, 200);
    gateway.terminate();
    let gateway = start();
    runs(&gateway, "main@1");
    assert_eq!(chat(&gateway, &key).status, 200);
    roll_out(&owner, 1);
    wait_for("the refusal to be over", || gateways(&owner)[0]["refused"].is_null().then_some(()));
}

#[test]
fn what_is_told_from_afar_cannot_ask_for_the_gateways_own_secrets() {
    let mut plane = Plane::new();
    let (server, owner) = plane_with_a_configuration(&mut plane);
    let (_, gateway_key) = owner.new_key("gateway");
    let text = "pack: {name: p, version: 1.0.0}\nproviders:\n  targets:\n    \
                - {id: own, provider: echo, secret_key_ref: {env: KEEPTRUSTS_GATEWAY_TOKEN}}\n    \
                - {id: other, provider: echo, secret_key_ref: {env: PATH}}\n";
    save(&owner, text);
    roll_out(&owner, 2);
    let home = Place::with("");
    let gateway = Process::spawn(&mut command(&home, server.api(), &gateway_key));
    let targets = gateway.ask_admin("/keeptrusts/targets").json();
    let available = |index: usize| targets["targets"][index]["available"].clone();
    assert_eq!((available(0), available(1)), (json!(false), json!(true)), "{targets}");
}

#[test]
fn it_serves_its_last_configuration_while_the_control_plane_is_away_and_follows_again() {
    let mut plane = Plane::new();
    let (server, owner) = plane_with_a_configuration(&mut plane);
    let ((_, gateway_key), (_, key)) = (owner.new_key("gateway"), owner.new_key("access"));
    roll_out(&owner, 1);
    let home = Place::with("");
    let gateway = Process::spawn(&mut command(&home, server.api(), &gateway_key));
    let_in(&gateway, &key);
    server.kill();
    gateway.kill();

    let gateway = Process::spawn(&mut command(&home, plane.address.unwrap(), &gateway_key));
    runs(&gateway, "main@1");
    assert_eq!(chat(&gateway, &key).status, 200);
    let server = plane.start();
    let owner = Owner::sign_in(server.api());
    save(&owner, &echo("two"));
    roll_out(&owner, 2);
    runs(&gateway, "main@2");
    gateway.terminate();
}

#[test]
fn a_gateway_is_drained_from_the_control_plane_and_stays_so_when_it_starts_again() {
    let mut plane = Plane::new();
    let (server, owner) = plane_with_a_configuration(&mut plane);
    let ((_, gateway_key), (_, key)) = (owner.new_key("gateway"), owner.new_key("access"));
    roll_out(&owner, 1);
    let home = Place::with("");
    let gateway = Process::spawn(&mut command(&home, server.api(), &gateway_key));
    let_in(&gateway, &key);
    let ready = |gateway: &Process| -> Answer { gateway.ask_admin("/readyz") };
    assert_eq!(ready(&gateway).status, 200, "the control");
    let id = gateways(&owner)[0]["id"].as_str().unwrap().to_owned();
    owner.ask("POST", &format!("/v1/gateways/{id}/drain"), &json!({}));
    wait_for("the gateway to stand aside", || (ready(&gateway).status == 503).then_some(()));
    wait_for("its report", || (gateways(&owner)[0]["draining"] == true).then_some(()));
    gateway.terminate();

    let gateway = Process::spawn(&mut command(&home, server.api(), &gateway_key));
    assert_eq!(ready(&gateway).json()["reason"], "draining");
    owner.ask("POST", &format!("/v1/gateways/{id}/resume"), &json!({}));
    wait_for("the gateway to take requests", || (ready(&gateway).status == 200).then_some(()));
    assert_eq!(chat(&gateway, &key).status, 200);
}

/// Everything on this machine, which nobody has set up.
fn up(home: &Place) -> Command {
    let mut up = Command::new(env!("CARGO_BIN_EXE_kt"));
    up.current_dir(home.path(""))
        .args(["up", "--data-dir", "data", "--api-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"])
        .args(["--gateway-listen", "127.0.0.1:0", "--gateway-admin-listen", "127.0.0.1:0"]);
    up
}

/// The same with an owner.
fn up_with_owner(home: &Place) -> Command {
    let mut up = up(home);
    up.env("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL).env("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD);
    up
}

#[test]
fn kt_up_that_nobody_has_set_up_ends_calmly_and_delivers_its_events_once_somebody_has() {
    let home = Place::with("");
    let mut process = Process::spawn(&mut up(&home));
    let request = Http::connect(process.gateway()).unwrap().chat().unwrap().request_id();
    process.signal(Signal::TERM);
    assert!(process.ended().success());
    process.complains_of("nobody has set up an organization yet");
    assert!(!process.errors().contains("WARN"), "{}", process.errors());

    let process = Process::spawn(&mut up_with_owner(&home));
    let owner = Owner::sign_in(process.api());
    wait_for("the event to arrive", || owner.arrived().contains_key(&request).then_some(()));
}

#[test]
fn kt_up_starts_with_echo_and_follows_what_is_published_in_it() {
    let home = Place::with("");
    let mut up = up_with_owner(&home);
    let process = Process::spawn(&mut up);
    let open = Http::connect(process.gateway()).unwrap().chat().unwrap();
    assert_eq!(open.status, 200, "anybody can try it out: {open:?}");
    let owner = Owner::sign_in(process.api());
    let (_, key) = owner.new_key("access");
    owner.ask(
        "POST",
        "/v1/configurations",
        &json!({ "name": "main", "text": echo("own").replace(", secret_key_ref: {stored: spare}", "") }),
    );
    roll_out(&owner, 1);
    runs(&process, "main@1");
    assert_eq!(
        Http::connect(process.gateway()).unwrap().chat().unwrap().status,
        401,
        "now keys are asked for"
    );
    assert_eq!(version_of(&owner, &let_in(&process, &key)), "main@1");
    process.terminate();
    let process = Process::spawn(&mut up);
    runs(&process, "main@1");
}

#[test]
fn a_gateway_that_stands_alone_needs_a_configuration() {
    let home = Place::with("");
    let mut alone = command(&home, SocketAddr::from(([127, 0, 0, 1], 1)), "");
    let output = alone.env_remove("KEEPTRUSTS_GATEWAY_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("KEEPTRUSTS_GATEWAY_TOKEN"), "{complaint}");
}
