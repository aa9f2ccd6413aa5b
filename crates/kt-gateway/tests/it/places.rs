//! That no more requests are under way than may be, through two gateways, also when the Redis in which they count together
//! goes away and comes back: with what it knew, and without.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::harness::{Client, Line, OwnRedis, Request, TestGateway, Then, Through, wait_for};

/// Requests that the provider holds until the test ends them, one by one. Others are answered at once.
#[derive(Default)]
struct Held {
    begun: AtomicUsize,
    ended: Mutex<usize>,
    changed: Condvar,
}

impl Held {
    /// Has the provider behind a gateway hold what asks to be held.
    fn behind(self: &Arc<Self>, gateway: &TestGateway) {
        let held = Arc::clone(self);
        gateway.upstream.behave(move |received, client| {
            if received.body == HELD.as_bytes() {
                held.wait_for_the_end();
            }
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").map(|()| Then::KeepOpen)
        });
    }

    fn wait_for_the_end(&self) {
        let own = self.begun.fetch_add(1, Ordering::SeqCst);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(ended, |ended| *ended <= own));
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Sends one more through a gateway, which lets it pass.
    fn begin(&self, gateway: &TestGateway) -> Client {
        let before = self.begun();
        let mut client = gateway.connect();
        client.send(Request::chat().json(HELD).bytes()).expect("the request is taken");
        wait_for("it to be under way", || (self.begun() > before).then_some(()));
        client
    }

    /// As [`Self::begin`], where the last answer has just come: its place may be given back a moment later.
    fn begin_once_free(&self, gateway: &TestGateway) -> Client {
        wait_for("a place for it", || {
            let before = self.begun();
            let mut client = gateway.connect();
            client.send(Request::chat().json(HELD).bytes()).expect("the request is taken");
            wait_for("it to be under way, or refused", || {
                let is_under_way = self.begun() > before;
                (is_under_way || !client.is_left_open(Duration::from_millis(10))).then_some(is_under_way)
            })
            .then_some(client)
        })
    }

    /// Ends the one that began first of those that are still held.
    fn end(&self, client: &mut Client) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
        assert_eq!(client.answer().status, 200);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = usize::MAX;
        self.changed.notify_all();
    }
}

const HELD: &str = r#"{"model":"held","messages":[]}"#;

fn no_place() -> (u16, String) {
    (429, "concurrency_limit".to_owned())
}

/// What a request is told that is not held.
fn ask(gateway: &TestGateway) -> (u16, String) {
    gateway.ask(&Request::chat()).outcome()
}

/// A Redis that goes away and comes back.
struct Failing {
    redis: OwnRedis,
    line: Line,
    forgets: bool,
}

impl Failing {
    fn new(forgets: bool) -> Self {
        let redis = OwnRedis::start();
        let line = Line::to(&redis);
        Self { redis, line, forgets }
    }

    /// Two gateways that count together in it, and the requests that are held behind them.
    fn two_over(&self, yaml: &str) -> ([TestGateway; 2], Arc<Held>) {
        let held = Arc::new(Held::default());
        let gateways = [(), ()].map(|()| {
            TestGateway::with_options(yaml, |options| options.redis_url = Some(self.line.url.clone()))
        });
        for gateway in &gateways {
            held.behind(gateway);
        }
        (gateways, held)
    }

    fn go_away(&self) {
        if self.forgets { self.redis.kill() } else { self.line.let_through(Through::Nothing) }
    }

    fn come_back(&self) {
        if self.forgets {
            self.redis.come_back();
        }
        self.line.let_through(Through::Everything);
    }
}

#[test]
fn as_many_are_under_way_as_may_be_and_no_more_when_redis_comes_back() {
    for forgets in [true, false] {
        let redis = Failing::new(forgets);
        let ([one, other], held) =
            redis.two_over("rate_limits: {total: {concurrent: 4}, on_failure: refuse}");
        let mut open: Vec<Client> = [&one, &other, &one, &other].map(|gateway| held.begin(gateway)).into();
        assert_eq!([ask(&one), ask(&other)], [no_place(), no_place()], "four are under way");

        redis.go_away();
        for gateway in [&one, &other] {
            assert_eq!(ask(gateway), (503, "limits_unavailable".to_owned()));
        }
        redis.come_back();
        for gateway in [&one, &other] {
            let first = wait_for("Redis to count again", || Some(ask(gateway)).filter(|told| told.0 != 503));
            assert_eq!(first, no_place(), "the four are still under way; forgets: {forgets}");
        }

        held.end(&mut open.remove(0));
        wait_for("the place to be free", || (ask(&other).0 == 200).then_some(()));
        wait_for("that place to be free again", || (ask(&one).0 == 200).then_some(()));
        open.push(held.begin_once_free(&other));
        assert_eq!([ask(&one), ask(&other)], [no_place(), no_place()], "four again");
        assert_eq!(held.begun(), 5);
    }
}

#[test]
fn what_ended_while_redis_was_away_has_no_place_when_it_is_back() {
    let redis = Failing::new(false);
    let ([one, other], held) = redis.two_over("rate_limits: {total: {concurrent: 2}, on_failure: refuse}");
    let mut open = [held.begin(&one), held.begin(&other)];
    redis.go_away();
    held.end(&mut open[0]);
    assert_eq!(ask(&one).0, 503, "nobody can be told of it");
    redis.come_back();
    wait_for("the place to be free", || (ask(&other).0 == 200).then_some(()));
    wait_for("that place to be free again", || (ask(&one).0 == 200).then_some(()));
    let _third = held.begin_once_free(&one);
    assert_eq!([ask(&one), ask(&other)], [no_place(), no_place()], "two are under way");
}

#[test]
fn what_began_while_redis_was_away_is_known_to_all_when_it_is_back() {
    for forgets in [true, false] {
        let redis = Failing::new(forgets);
        let ([one, other], held) = redis.two_over("rate_limits: {total: {concurrent: 2}, on_failure: local}");
        let mut open = vec![held.begin(&one)];
        assert_eq!(ask(&other).0, 200, "there is one more place");
        redis.go_away();
        open.push(held.begin(&one));
        assert_eq!(ask(&one), no_place(), "it counts for itself, with what it held before");
        redis.come_back();
        wait_for("the other gateway to know of both", || {
            assert_eq!(ask(&one), no_place(), "not one more passes here meanwhile");
            (ask(&other) == no_place()).then_some(())
        });
        assert_eq!([ask(&one), ask(&other)], [no_place(), no_place()], "and it stays so; forgets: {forgets}");
        held.end(&mut open[0]);
        wait_for("a place to be free", || (ask(&other).0 == 200).then_some(()));
    }
}

#[test]
fn no_more_are_under_way_than_may_be_when_redis_forgets_and_nobody_notices() {
    let redis = Failing::new(true);
    let ([one, other], held) = redis.two_over("rate_limits: {total: {concurrent: 4}, on_failure: refuse}");
    let _open = [&one, &other, &one, &other].map(|gateway| held.begin(gateway));
    redis.redis.forget();
    for gateway in [&one, &other] {
        let first = wait_for("Redis to count again", || Some(ask(gateway)).filter(|told| told.0 != 503));
        assert_eq!(first, no_place(), "the four are still under way");
    }
}

#[test]
fn what_is_under_way_keeps_its_place_over_a_time_in_which_nobody_is_heard_of() {
    let redis = Failing::new(false);
    let ([one, other], held) = redis.two_over("rate_limits: {total: {concurrent: 1}, on_failure: refuse}");
    let mut open = held.begin(&one);
    assert_eq!(ask(&other), no_place());
    redis.redis.let_an_hour_pass();
    assert_eq!(ask(&other), no_place(), "it could not be renewed meanwhile");
    held.end(&mut open);
    wait_for("the place to be free", || (ask(&other).0 == 200).then_some(()));
}
