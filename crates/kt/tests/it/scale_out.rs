//! Two control planes as processes, over one PostgreSQL and one Redis: to whoever asks, they are one.

use std::thread;

use serde_json::{Value, json};

use crate::gateway::wait_for;
use crate::plane::{EMAIL, Home, PASSWORD, Plane};
use crate::postgres::Schema;
use crate::redis::OwnRedis;

/// Two processes that share everything; the second is given the first one's key file.
fn two_planes(schema: &Schema, redis: &OwnRedis) -> [Plane; 2] {
    let homes = [Home::new(), Home::new()];
    let (database, key_file) = (schema.url(), homes[0].path("secrets.key"));
    let environment = [
        ("KEEPTRUSTS_DATABASE__URL", &*database),
        ("KEEPTRUSTS_REDIS__URL", &*redis.url),
        ("KEEPTRUSTS_SECRETS__KEY_FILE", key_file.to_str().unwrap()),
        ("KEEPTRUSTS_API__PUBLIC_URL", "https://api.example.com"),
        ("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL),
        ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD),
    ];
    homes.map(|home| home.start_in(&environment))
}

/// Uses the key this often in each process, at once; how many uses were let in.
fn let_in(planes: &[Plane; 2], key: &str, times: usize) -> usize {
    thread::scope(|scope| {
        let uses: Vec<_> = planes
            .iter()
            .cycle()
            .take(times * 2)
            .map(|plane| scope.spawn(|| is_let_in(plane, key)))
            .collect();
        uses.into_iter().map(|used| used.join().unwrap()).filter(|let_in| *let_in).count()
    })
}

fn is_let_in(plane: &Plane, key: &str) -> bool {
    let answer = plane.ask("GET /v1/whoami", &bearer(key), "");
    let code = &answer["error"]["code"];
    assert!(code.is_null() || code == "rate_limited", "{answer}");
    code.is_null()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// How many times a plane has complained of its Redis.
fn complaints(plane: &Plane) -> usize {
    let told = std::fs::read_to_string(plane.home.path("complaints")).unwrap();
    told.matches("Redis does not count").count()
}

#[test]
fn two_processes_share_people_keys_and_the_limits_of_keys() {
    let (schema, redis) = (Schema::new(), OwnRedis::start());
    let planes = two_planes(&schema, &redis);
    let token = planes[0].sign_in(PASSWORD).unwrap();
    let body = json!({ "type": "access", "name": "CI", "scope": "read-only", "requests_per_minute": 10 });
    let made: Value = planes[1].ask("POST /v1/tokens", &bearer(&token), &body.to_string());
    let key = made["key"].as_str().unwrap_or_else(|| panic!("{made}"));

    assert_eq!(let_in(&planes, key, 10), 10);
    let written = format!("SELECT count(*) FROM {}.counters WHERE key LIKE 'key/%'", schema.name);
    assert_eq!(schema.ask(&written), "0", "no use was written to the database");

    redis.kill();
    assert_eq!(let_in(&planes, key, 10), 10, "the database counts in its place, from one on");
    assert_eq!(schema.ask(&written), "1");
    wait_for("both to say that Redis is away", || {
        planes.iter().all(|plane| complaints(plane) == 1).then_some(())
    });
}
