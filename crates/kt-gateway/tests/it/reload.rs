//! Changing the configuration of a running gateway: the new one holds for the next request, nothing under way notices,
//! and one that is not valid changes nothing.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use crate::harness::{Request, TestGateway, Then, wait_for};

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const CLOSED: &str = "ip_allowlist: {enabled: true, allow: [192.0.2.1/32]}";

#[test]
fn a_new_configuration_holds_for_the_next_request_and_not_for_one_under_way() {
    let gateway = TestGateway::with("");
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    gateway.upstream.behave(move |_, client| {
        // Nobody releases the requests of the control.
        let _ = released.lock().expect("one request at a time").recv();
        client.write_all(GOOD).map(|()| Then::KeepOpen)
    });
    let mut under_way = gateway.connect();
    under_way.send(Request::chat().bytes()).expect("the request is taken");
    wait_for("the request to be forwarded", || (gateway.upstream.requests().len() == 1).then_some(()));

    let old = gateway.gateway.config_version();
    let new = gateway.reload(CLOSED).expect("it is valid");
    assert_ne!(old, new);
    assert_eq!(gateway.gateway.config_version(), new);
    let refused = gateway.ask(&Request::chat());
    assert_eq!(refused.status, 403);
    assert_eq!(gateway.event_of(refused.request_id()).config_version.as_deref(), Some(&*new));

    release.send(()).expect("the provider waits");
    let answer = under_way.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(gateway.event_of(answer.request_id()).config_version.as_deref(), Some(&*old));
    assert_eq!(under_way.ask(&Request::chat()).status, 403, "the same connection's next request");
}

#[test]
fn a_configuration_that_is_not_valid_is_reported_and_changes_nothing() {
    let gateway = TestGateway::with("cors: {enabled: true, allow_origins: ['https://app.example.com']}");
    let version = gateway.gateway.config_version();
    for (yaml, reported) in [
        ("cors: {enabled: true, allow_origins: ['*'], allow_credentials: true}", "E011"),
        ("cors: [", "E004"),
        ("cors: {enabled: maybe}", "E006"),
        ("korks: {}", "E002"),
        ("ip_allowlist: {enabled: true, allow: [10.0.0.1/8]}", "E009"),
    ] {
        let report = gateway.reload(yaml).expect_err(yaml);
        assert!(report.contains(reported), "{yaml}: {report}");
        assert_eq!(gateway.gateway.config_version(), version, "{yaml}");
        let answer = gateway.ask(&Request::chat().header("Origin", "https://app.example.com"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"), "{yaml}");
    }
    gateway.reload("").expect("the control");
    let answer = gateway.ask(&Request::chat().header("Origin", "https://app.example.com"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn no_request_fails_while_the_configuration_changes() {
    const CLIENTS: usize = 8;
    let gateway = TestGateway::with("");
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !done.load(Ordering::Relaxed) {
                    let answer = client.ask(&Request::chat());
                    assert_eq!((answer.status, answer.header("connection")), (200, None));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..50 {
            gateway
                .reload(&format!("cors: {{enabled: true, max_age_seconds: {round}}}"))
                .expect("it is valid");
            let so_far = answered.load(Ordering::Relaxed);
            wait_for("more answers", || (answered.load(Ordering::Relaxed) > so_far).then_some(()));
        }
        done.store(true, Ordering::Relaxed);
    });
    let versions: BTreeSet<_> =
        gateway.events().into_iter().filter_map(|event| event.config_version).collect();
    assert!(versions.len() > 25, "the changes came into force between requests: {}", versions.len());
    assert!(gateway.upstream.connections() <= CLIENTS, "connections to the provider outlive a change");
}

#[test]
fn a_keys_rate_outlives_a_change() {
    const KEYS: &str = "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: CLIENT_KEY}, requests_per_minute: 2}]}\n";
    let gateway = TestGateway::with(KEYS);
    let request = Request::chat().header("Authorization", "Bearer client-key");
    assert_eq!(gateway.ask(&request).status, 200);
    assert_eq!(gateway.ask(&request).status, 200);
    gateway.reload(&format!("{KEYS}size_limits: {{max_request_body_bytes: 5000}}")).expect("it is valid");
    let answer = gateway.ask(&request);
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn a_providers_key_is_read_anew() {
    let gateway = TestGateway::with("");
    gateway.ask(&Request::chat());
    gateway.set_environment("PROVIDER_KEY", Some("sk-rotated"));
    gateway.reload("").expect("it is valid");
    gateway.ask(&Request::chat());
    let keys: Vec<_> =
        gateway.upstream.requests().iter().map(|request| request.header("authorization")).collect();
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys[1].as_deref(), Some("Bearer sk-rotated"));
}

#[test]
fn a_providers_key_that_no_header_can_hold_is_told_with_its_variable_and_what_to_do() {
    let gateway = TestGateway::with("");
    gateway.set_environment("PROVIDER_KEY", Some("sk-mounted\n"));
    let report = gateway.reload("").expect_err("no header can hold it");
    for part in ["target `primary`", "PROVIDER_KEY", "a line break at its end", "printf"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("sk-mounted"), "{report}");
    gateway.set_environment("PROVIDER_KEY", Some("sk-mounted"));
    gateway.reload("").expect("the control");
}
