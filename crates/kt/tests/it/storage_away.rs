//! What a control plane does while it cannot store anything: the database is gone, or the disk is full. Nobody is let in
//! unseen, nothing half is done, and what was confirmed is there afterwards.

use std::thread;

use serde_json::{Value, json};

use crate::gateway::wait_for;
use crate::plane::{Home, PASSWORD, Plane};
use crate::postgres::OwnPostgres;
use crate::small_disk::SmallDisk;

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn new_key(plane: &Plane, token: &str, name: &str) -> (u16, Value) {
    let body = json!({ "type": "access", "name": name, "scope": "read-only" }).to_string();
    plane.try_ask("POST /v1/tokens", &bearer(token), &body).unwrap()
}

/// The names of the keys that there are.
fn keys(plane: &Plane, token: &str) -> Vec<String> {
    let listed = plane.ask("GET /v1/tokens?type=access", &bearer(token), "");
    let keys = listed["tokens"].as_array().unwrap_or_else(|| panic!("{listed}"));
    keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

fn is_ready(plane: &Plane) -> bool {
    plane.try_ask("GET /readyz", "", "").unwrap().0 == 200
}

#[test]
fn without_its_database_everything_is_answered_with_503_and_nothing_confirmed_is_lost() {
    let database = OwnPostgres::start();
    let plane = Home::new().start_on(&database.url);
    let token = plane.sign_in(PASSWORD).unwrap();
    let (made, key) = new_key(&plane, &token, "before");
    assert_eq!((made, is_ready(&plane)), (201, true), "the control");
    let key = key["key"].as_str().unwrap().to_owned();

    database.fail();
    wait_for("`/readyz` to say so", || (!is_ready(&plane)).then_some(()));
    assert_eq!(plane.try_ask("GET /healthz", "", "").unwrap().0, 200, "the process itself lives");
    let sign_in = json!({ "email": crate::plane::EMAIL, "password": PASSWORD }).to_string();
    let rename = json!({ "name": "Renamed" }).to_string();
    let invite = json!({ "email": "jo@acme.example", "role": "member" }).to_string();
    let (of_person, of_key) = (bearer(&token), bearer(&key));
    let asked = [
        ("POST /v1/auth/login", "", &*sign_in),
        ("POST /v1/auth/password/forgot", "", r#"{"email":"owner@acme.example"}"#),
        ("GET /v1/whoami", &*of_person, ""),
        ("GET /v1/whoami", &*of_key, ""),
        ("GET /v1/audit-log", &*of_person, ""),
        ("PATCH /v1/organization", &*of_person, &*rename),
        ("POST /v1/invitations", &*of_person, &*invite),
        ("GET /readyz", "", ""),
    ];
    thread::scope(|scope| {
        for (what, credentials, body) in asked {
            let plane = &plane;
            scope.spawn(move || {
                let (status, error) = plane.refusal(what, credentials, body);
                assert_eq!((status, &error["code"]), (503, &json!("store_unavailable")), "{what}");
                assert_eq!(error["type"], "unavailable", "{what}");
                assert!(error["message"].as_str().unwrap().contains("Nothing was changed"), "{error}");
                assert!(!error.to_string().contains("postgres"), "nothing of the inside: {error}");
                assert!(error["request_id"].is_string(), "{error}");
            });
        }
    });

    database.come_back();
    wait_for("`/readyz` to take it back", || is_ready(&plane).then_some(()));
    assert_eq!(keys(&plane, &token), ["before"], "what was confirmed is there");
    assert_eq!(plane.try_ask("GET /v1/whoami", &bearer(&key), "").unwrap().0, 200, "and works");
    let organization = plane.ask("GET /v1/organization", &bearer(&token), "");
    assert_ne!(organization["name"], "Renamed", "what was refused was not done");
    assert_eq!(new_key(&plane, &token, "after").0, 201, "and it goes on");
    assert!(plane.sign_in(PASSWORD).is_some());
}

#[test]
fn on_a_full_disk_changes_are_answered_with_503_and_nothing_confirmed_is_lost() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(home.path("data"), "8m") else { return };
    let plane = home.start();
    let token = plane.sign_in(PASSWORD).unwrap();
    let mut confirmed = vec!["before".to_owned()];
    assert_eq!(new_key(&plane, &token, "before").0, 201, "the control");

    disk.fill();
    // What is there of the write-ahead log may still take a few.
    let refused = wait_for("the disk to be full", || {
        let name = format!("while it fills, {}", confirmed.len());
        let (status, answer) = new_key(&plane, &token, &name);
        if status == 201 {
            confirmed.push(name);
            return None;
        }
        Some((status, answer))
    });
    assert_eq!((refused.0, &refused.1["error"]["code"]), (503, &json!("store_unavailable")));
    assert_eq!(plane.try_ask("GET /healthz", "", "").unwrap().0, 200);

    disk.make_room();
    wait_for("a change to be taken", || (new_key(&plane, &token, "after").0 == 201).then_some(()));
    let kept = keys(&plane, &token);
    for name in &confirmed {
        assert!(kept.contains(name), "{name} was confirmed, and there are {kept:?}");
    }
    assert_eq!(kept.len(), confirmed.len() + 1, "and nothing that was refused: {kept:?}");
    let (home, status) = plane.terminate();
    assert!(status.success());
    let again = home.start();
    let token = again.sign_in(PASSWORD).unwrap();
    assert_eq!(keys(&again, &token).len(), kept.len());
}
