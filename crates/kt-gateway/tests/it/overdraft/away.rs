//! What becomes of claims while the Redis is slow or away in which gateways count together.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{hold, spent};
use crate::budgets::{chat, clocked, tokens, used_up};
use crate::harness::{Line, OwnRedis, Request, TestGateway, Through, wait_for, within};

/// A gateway whose line to its Redis can fail, with one budget of 4000 tokens.
fn over_a_line(on_failure: &str) -> (TestGateway, Line, OwnRedis) {
    let redis = OwnRedis::start();
    let line = Line::to(&redis);
    let yaml = format!(
        "rate_limits: {{on_failure: {on_failure}}}\nbudgets: [{{id: b, per: total, period: day, tokens: 4000}}]"
    );
    let gateway = clocked(&yaml, |options| options.redis_url = Some(line.url.clone())).0;
    (gateway, line, redis)
}

fn used(gateway: &TestGateway) -> u64 {
    gateway.events().iter().map(tokens).sum()
}

/// Asks until Redis knows exactly what was used.
fn comes_to_know_all(gateway: &TestGateway, redis: &OwnRedis) {
    wait_for("Redis to know what was used", || {
        assert_ne!(gateway.ask(&chat("m")).outcome(), used_up(), "what was never used is not charged");
        within(Duration::from_millis(300), || (spent(redis) == used(gateway)).then_some(()))
    });
}

/// The answer is lost, and with it whether there was one: the claim stands in Redis.
#[test]
fn a_claim_whose_answer_never_came_is_taken_back() {
    for (on_failure, status) in [("refuse", 503), ("local", 200), ("allow", 200)] {
        let (gateway, line, redis) = over_a_line(on_failure);
        assert_eq!(gateway.ask(&chat("m")).status, 200);
        line.let_through(Through::Commands);
        let large = format!("{:80}", r#"{"model":"m","max_tokens":3500,"messages":[]}"#);
        assert_eq!(gateway.ask(&Request::chat().json(large)).status, status, "{on_failure}");
        line.let_through(Through::Everything);
        if on_failure == "allow" {
            // What nobody counted is in no sum.
            wait_for("the claim to be taken back", || {
                gateway.ask(&chat("m"));
                (spent(&redis) < 2000).then_some(())
            });
        } else {
            comes_to_know_all(&gateway, &redis);
        }
    }
}

/// A request ends while Redis cannot be told.
#[test]
fn what_was_used_is_settled_once_redis_can_be_told() {
    for on_failure in ["refuse", "local"] {
        for lost in [Through::Commands, Through::Nothing] {
            let (gateway, line, redis) = over_a_line(on_failure);
            let go_on = hold(&gateway);
            let mut client = gateway.connect();
            client.send(chat("m").bytes()).expect("the request is taken");
            wait_for("it to be under way", || (gateway.upstream.requests().len() == 1).then_some(()));
            assert_eq!(spent(&redis), 85);
            line.let_through(lost);
            go_on.store(true, Ordering::SeqCst);
            assert_eq!(client.answer().status, 200);
            line.let_through(Through::Everything);
            comes_to_know_all(&gateway, &redis);
        }
    }
}

/// Others spend from the same budget, and are to know.
#[test]
fn what_was_spent_while_redis_was_away_is_added_once_it_is_back() {
    for lost in [Through::Commands, Through::Nothing] {
        let (gateway, line, redis) = over_a_line("local");
        assert_eq!(gateway.ask(&chat("m")).status, 200);
        wait_for("it to be settled", || (spent(&redis) == 8).then_some(()));
        line.let_through(lost);
        for _ in 0..20 {
            assert_eq!(gateway.ask(&chat("m")).status, 200);
        }
        let go_on = hold(&gateway);
        let mut held = gateway.connect();
        held.send(chat("m").bytes()).expect("the request is taken");
        wait_for("it to be under way", || (gateway.upstream.requests().len() == 22).then_some(()));
        line.let_through(Through::Everything);
        go_on.store(true, Ordering::SeqCst);
        assert_eq!(held.answer().status, 200);
        comes_to_know_all(&gateway, &redis);
        assert!(spent(&redis) >= 22 * 8);
    }
}
