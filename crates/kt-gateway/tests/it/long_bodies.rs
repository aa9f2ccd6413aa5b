//! Bodies that take long to judge.

use std::thread;

use crate::harness::{Request, TestGateway};

const CHAIN: &str = "policies: {chain: [pii-detector]}\npolicy: {pii-detector: {action: redact}}";

fn chat(content: &str) -> Request {
    Request::chat().json(
        serde_json::json!({ "model": "m", "messages": [{ "role": "user", "content": content }] }).to_string(),
    )
}

/// Beginnings of account numbers, each of which is looked at until it turns out to be none. The gateway has one thread to
/// serve with.
#[test]
fn while_a_long_body_is_judged_others_are_served() {
    let gateway = TestGateway::with(CHAIN);
    let long = chat(&"DE11 ".repeat(60_000));
    let mut slow = gateway.connect();
    let judged = thread::spawn(move || slow.ask(&long).status);
    let mut served = 0;
    while !judged.is_finished() {
        assert_eq!(gateway.ask(&chat("short")).status, 200);
        served += 1;
    }
    assert_eq!(judged.join().expect("it is answered"), 200);
    assert!(served > 20, "only {served} were served meanwhile");
}

#[test]
fn a_long_body_is_judged_like_a_short_one() {
    let gateway = TestGateway::with(CHAIN);
    for filling in [10, 200_000] {
        let answer = gateway.ask(&chat(&format!("{} to jane@example.com", "x ".repeat(filling))));
        assert_eq!((answer.status, answer.header("x-kt-policy-action")), (200, Some("redact")), "{filling}");
        let asked = gateway.upstream.requests().pop().expect("it was forwarded");
        let asked = String::from_utf8(asked.body).expect("JSON");
        assert!(asked.contains(" to [email]\"") && !asked.contains("jane"), "{filling}");
    }
    let blocking = TestGateway::with(&CHAIN.replace("redact", "block"));
    let answer = blocking.ask(&chat(&format!("{} to jane@example.com", "x ".repeat(200_000))));
    assert_eq!(answer.outcome(), (409, "policy_block".to_owned()));
    assert_eq!(blocking.upstream.connections(), 0);
}
