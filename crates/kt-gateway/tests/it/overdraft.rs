//! That budgets are overdrawn by one request at most: by many at once, and by answers that are longer than was thought.

mod away;
mod bounds;

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use kt_domain::events::{Event, EventType};
use serde_json::Value;

use crate::budgets::{chat, clocked, tokens, used_up};
use crate::harness::{Client, OwnRedis, PATIENCE, Request, TestGateway, Then, wait_for};

/// How many of a thousand requests pass, sent by fifty clients at once to these gateways in turn, and then one by one
/// until so many tokens are used: what was claimed and not used is given back a moment after the answer.
fn pass(gateways: &[&TestGateway], budget: u64) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..50 {
            let (gateway, passed) = (gateways[client % gateways.len()], &passed);
            scope.spawn(move || {
                let mut client = gateway.connect();
                for _ in 0..20 {
                    let outcome = client.ask(&chat("m")).outcome();
                    if outcome.0 == 200 {
                        passed.fetch_add(1, Ordering::SeqCst);
                    } else {
                        assert_eq!(outcome, used_up());
                    }
                }
            });
        }
    });
    let passed = passed.into_inner();
    let mut more = 0;
    wait_for("the budget to be used up", || {
        let is_refused = gateways[0].ask(&chat("m")).outcome() == used_up();
        more += usize::from(!is_refused);
        (is_refused && used(gateways) >= budget).then_some(())
    });
    passed + more
}

/// The tokens that these gateways' requests have used.
fn used(gateways: &[&TestGateway]) -> u64 {
    gateways.iter().flat_map(|gateway| gateway.events()).map(|event| tokens(&event)).sum()
}

/// GW-H1: 8 are used by each request and 85 are claimed for it, so that 125 requests use up a budget of 1000 and none is
/// refused for good that had room.
#[test]
fn a_thousand_requests_of_fifty_clients_overdraw_a_budget_by_one_request_at_most() {
    let (gateway, _) = clocked("budgets: [{id: burst, per: total, period: day, tokens: 1000}]", |_| {});
    assert_eq!(pass(&[&gateway], 1000), 125);
    assert_eq!(used(&[&gateway]), 1000);
    assert_eq!(gateway.upstream.requests().len(), 125);
}

#[test]
fn a_thousand_requests_of_fifty_clients_overdraw_the_budget_of_two_gateways_by_one_request_at_most() {
    let redis = OwnRedis::start();
    let yaml = "budgets: [{id: burst, per: total, period: day, tokens: 1001}]";
    let both = [(), ()].map(|()| clocked(yaml, |options| options.redis_url = Some(redis.url.clone())).0);
    let [one, other] = &both;
    assert_eq!(pass(&[one, other], 1001), 126);
    assert_eq!(used(&[one, other]), 1008, "seven more than the budget, and one request uses eight");
    assert_eq!(other.ask(&chat("m")).outcome(), used_up());
}

/// Streams that say one piece after another, each when the test says so: an answer goes on for as long as it is let.
#[derive(Default)]
struct Rounds {
    now: Mutex<usize>,
    next: Condvar,
}

/// Eight tokens, as an estimate.
const PIECE: &str = "thirty-two letters, all told....";
/// The prompt has as many tokens as it can have, and nobody tells how many the answer has.
const TOLD: &str = r#""usage":{"prompt_tokens":80}"#;

impl Rounds {
    fn begin_next(&self) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.next.notify_all();
    }

    /// Waits for a round, unless it never comes.
    fn wait_for(&self, round: usize) -> io::Result<()> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, _) = self
            .next
            .wait_timeout_while(now, PATIENCE * 6, |now| *now < round)
            .unwrap_or_else(PoisonError::into_inner);
        if *now < round { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// An endless stream in the words of the API of a path.
    fn speak(&self, path: &str, client: &mut TcpStream) -> io::Result<Then> {
        let event = match path {
            "/v1/messages" => format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{PIECE}"}},{TOLD}}}"#
            ),
            "/v1/responses" => format!(r#"{{"type":"response.output_text.delta","delta":"{PIECE}",{TOLD}}}"#),
            _ => format!(r#"{{"choices":[{{"delta":{{"content":"{PIECE}"}}}}],{TOLD}}}"#),
        };
        let event = format!("data: {event}\n\n");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(head.as_bytes())?;
        for round in 1.. {
            self.wait_for(round)?;
            write!(client, "{:x}\r\n{event}\r\n", event.len())?;
        }
        Ok(Then::Close)
    }
}

/// Has a gateway's provider speak in rounds.
fn in_rounds(gateways: &[&TestGateway]) -> Arc<Rounds> {
    let rounds = Arc::<Rounds>::default();
    for gateway in gateways {
        let rounds = Arc::clone(&rounds);
        gateway.upstream.behave(move |received, client| {
            let path = received.request_line().split(' ').nth(1).unwrap_or_default().to_owned();
            rounds.speak(&path, client)
        });
    }
    rounds
}

/// A request for a stream that bounds it by nothing; its prompt has 80 tokens at most.
fn unbounded(path: &str) -> Request {
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    Request::new("POST", path).json(format!("{body:80}"))
}

fn text_of(chunk: &[u8]) -> String {
    String::from_utf8_lossy(chunk).into_owned()
}

/// One gateway that counts by itself, and one over a Redis.
fn each_way(yaml: &str, test: impl Fn(&TestGateway, Option<&OwnRedis>)) {
    test(&clocked(yaml, |_| {}).0, None);
    let redis = OwnRedis::start();
    test(&clocked(yaml, |options| options.redis_url = Some(redis.url.clone())).0, Some(&redis));
}

/// 96 are claimed at first, and 16 four times more, a little before they are needed: 80 and 80 are 160.
#[test]
fn a_stream_claims_more_as_it_comes_and_ends_where_nothing_is_left() {
    let yaml = "rate_limits: {assumed_output_tokens: 16}\nbudgets: [{id: b, per: total, period: day, tokens: 160, unbounded_answers: true}]";
    for (path, error) in [
        ("/v1/chat/completions", r#"data: {"error":{"type":"#),
        ("/v1/messages", "event: error\ndata: {\"type\":\"error\""),
        ("/v1/responses", "event: error\ndata: {"),
    ] {
        each_way(yaml, |gateway, _| {
            let rounds = in_rounds(&[gateway]);
            let mut client = gateway.connect();
            client.send(unbounded(path).bytes()).expect("the request is taken");
            let id = client.head_answer().request_id().to_owned();
            for _ in 0..10 {
                rounds.begin_next();
                let said = text_of(&client.chunk().expect("the answer goes on"));
                assert!(said.contains(PIECE) && !said.contains("error"), "{path} {said}");
            }
            let end = text_of(&client.rest());
            assert!(
                end.contains(error) && end.contains("budget_exceeded") && end.contains("`b`"),
                "{path} {end}"
            );
            assert!(!end.ends_with("0\r\n\r\n"), "a part is not taken for the whole");
            let event = gateway.event_of(&id);
            assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some("budget_exceeded")));
            assert_eq!(
                (event.event_type, event.limited_by.as_deref()),
                (EventType::Decision, Some("budget b"))
            );
            assert_eq!((event.input_tokens, event.output_tokens), (Some(80), Some(80)));
            let closed = || (gateway.upstream.open_connections() == 0).then_some(());
            wait_for("the upstream call to end", || {
                rounds.begin_next();
                closed()
            });
            assert_eq!(gateway.ask(&chat("m")).outcome(), used_up(), "160 of 160");
        });
    }
}

/// What was claimed on the way is given back in the end: each uses 48, though 112 were claimed.
#[test]
fn what_a_stream_claimed_on_its_way_is_settled_by_what_it_used() {
    let yaml = "rate_limits: {assumed_output_tokens: 16}\nbudgets: [{id: b, per: total, period: day, tokens: 257, unbounded_answers: true}]";
    each_way(yaml, |gateway, redis| {
        gateway.upstream.behave(|_, client| {
            let said =
                format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", PIECE.repeat(4));
            let told =
                "data: {\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":28}}\n\ndata: [DONE]\n\n";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close";
            write!(client, "{head}\r\n\r\n{said}{told}").map(|()| Then::Close)
        });
        for used in [48, 96, 144, 192] {
            let answer = gateway.ask(&unbounded("/v1/chat/completions"));
            assert_eq!(answer.status, 200, "{used}");
            let event = gateway.event_of(answer.request_id());
            assert_eq!((tokens(&event), event.reason_code.as_deref()), (48, Some("ok")), "{used}");
            // Over Redis that is a moment later.
            wait_for("it to be settled", || redis.is_none_or(|redis| spent(redis) == used).then_some(()));
        }
        gateway.upstream.answer_as("200 OK", "", r#"{"usage":{"prompt_tokens":63,"completion_tokens":5}}"#);
        assert_eq!(gateway.ask(&chat("m")).status, 200, "192 of 257");
        wait_for("it to be settled", || redis.is_none_or(|redis| spent(redis) == 260).then_some(()));
        assert_eq!(gateway.ask(&chat("m")).outcome(), used_up(), "260 of 257");
    });
}

/// A provider ends what it is told to bound, so an estimate of its letters cuts nothing off; one that does not end it is
/// cut off like any other.
#[test]
fn an_answer_that_its_request_bounds_is_not_cut_off_for_its_long_words() {
    let yaml = "budgets: [{id: b, per: total, period: day, tokens: 40}]";
    each_way(yaml, |gateway, _| {
        let rounds = in_rounds(&[gateway]);
        let body = r#"{"model":"m","stream":true,"max_tokens":20,"messages":[]}"#;
        let mut client = gateway.connect();
        client.send(Request::chat().json(format!("{body:80}")).bytes()).expect("the request is taken");
        let id = client.head_answer().request_id().to_owned();
        for _ in 0..5 {
            rounds.begin_next();
            assert!(text_of(&client.chunk().expect("the answer goes on")).contains(PIECE));
        }
        assert!(text_of(&client.rest()).contains("budget_exceeded"), "40 is twice as long as it may be");
        assert_eq!(gateway.event_of(&id).output_tokens, Some(40));
    });
}

/// GW-H1: a thousand streams, all open at once, each of which says what it may until it is ended. 144 are claimed for
/// each at first.
fn a_thousand_streams_overdraw_by_one_claim_at_most(gateways: &[&TestGateway], budget: u64) {
    let rounds = in_rounds(gateways);
    let begin = |n: usize| {
        let mut client = gateways[n % gateways.len()].connect();
        client.send(unbounded("/v1/chat/completions").bytes()).expect("the request is taken");
        client
    };
    let mut open: Vec<Client> = (0..1000).map(begin).collect();
    for (n, client) in open.iter_mut().enumerate() {
        wait_for("it to begin, as all of them have room at first", || {
            let status = client.head_answer().status;
            if status == 503 {
                // Redis was too slow, and nothing is let through that it has not counted.
                *client = begin(n);
            } else {
                assert_eq!(status, 200);
            }
            (status == 200).then_some(())
        });
    }
    for round in 1.. {
        assert!(round < 100, "it never ends");
        rounds.begin_next();
        open.retain_mut(|client| {
            let said = text_of(&client.chunk().expect("the answer goes on"));
            let is_ended = said.contains("budget_exceeded") || said.contains("limits_unavailable");
            assert!(said.contains(PIECE) || is_ended, "{said}");
            !is_ended
        });
        if open.is_empty() {
            break;
        }
    }
    let events = wait_for("every event", || {
        let events = gateways.iter().flat_map(|gateway| gateway.events());
        let events: Vec<Event> = events.filter(|event| event.status == Some(200)).collect();
        (events.len() == 1000).then_some(events)
    });
    let ids: HashSet<_> = events.iter().map(|event| event.request_id.clone()).collect();
    assert_eq!(ids.len(), 1000);
    let is_ended = |event: &Event| match event.reason_code.as_deref() {
        Some("budget_exceeded") => event.limited_by.as_deref() == Some("budget b"),
        code => code == Some("limits_unavailable"),
    };
    assert!(events.iter().all(is_ended));
    let used: u64 = events.iter().map(tokens).sum();
    assert!(used < budget + 144, "{used} of {budget}: one claim more than the budget at most");
    assert!(used > budget / 2, "{used} of {budget}: it was used");
}

const THOUSAND: &str = "rate_limits: {assumed_output_tokens: 64, on_failure: refuse}\nbudgets: [{id: b, per: total, period: day, tokens: 210000, unbounded_answers: true}]";

#[test]
fn a_thousand_streams_open_at_once_overdraw_a_budget_by_one_claim_at_most() {
    a_thousand_streams_overdraw_by_one_claim_at_most(&[&clocked(THOUSAND, |_| {}).0], 210_000);
}

#[test]
fn a_thousand_streams_open_at_once_through_two_gateways_overdraw_their_budget_by_one_claim_at_most() {
    let redis = OwnRedis::start();
    let both = [(), ()].map(|()| clocked(THOUSAND, |options| options.redis_url = Some(redis.url.clone())).0);
    a_thousand_streams_overdraw_by_one_claim_at_most(&[&both[0], &both[1]], 210_000);
}

/// How many tokens are claimed for a prompt of 80 bytes and an answer that nobody but its budget bounds.
const CLAIM: u64 = 80 + 4096;

/// A request that bounds its answer by nothing and asks for no stream.
fn plain() -> Request {
    Request::chat().json(format!("{:80}", r#"{"model":"m","messages":[]}"#))
}

/// Has gateways' providers hold every answer until the first round, and then answer for as long as they are let, having counted
/// a token for each byte of the prompt.
fn answer_as_long_as_they_are_let(gateways: &[&TestGateway]) -> Arc<Rounds> {
    let rounds = Arc::<Rounds>::default();
    for gateway in gateways {
        let rounds = Arc::clone(&rounds);
        gateway.upstream.behave(move |received, client| {
            let asked: Value = serde_json::from_slice(&received.body)?;
            let written = asked["max_completion_tokens"].as_u64().unwrap_or(100_000);
            rounds.wait_for(1)?;
            let body = format!(r#"{{"usage":{{"prompt_tokens":80,"completion_tokens":{written}}}}}"#);
            write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                .map(|()| Then::KeepOpen)
        });
    }
    rounds
}

/// GW-H1: a thousand requests as every SDK sends them, all open at once and held by the provider, against a budget for what is
/// claimed for five hundred of them. Gives how many passed; at least so many are under way at once.
fn a_thousand_answers_use_what_is_claimed_for_them(gateways: &[&TestGateway], held: usize) -> usize {
    let rounds = answer_as_long_as_they_are_let(gateways);
    let begin = |n: usize| {
        let mut client = gateways[n % gateways.len()].connect();
        client.send(plain().bytes()).expect("the request is taken");
        client
    };
    let mut open: Vec<Client> = (0..1000).map(begin).collect();
    wait_for("them to be held", || {
        let under_way: usize = gateways.iter().map(|gateway| gateway.upstream.requests().len()).sum();
        (under_way >= held).then_some(())
    });
    rounds.begin_next();
    let mut passed = 0;
    for (n, client) in open.iter_mut().enumerate() {
        wait_for("it to be let through or refused", || {
            let answer = client.answer();
            match answer.status {
                200 => passed += 1,
                // Redis was too slow, and nothing is let through that it has not counted.
                503 => *client = begin(n),
                _ => assert_eq!(answer.outcome(), used_up()),
            }
            (answer.status != 503).then_some(())
        });
    }
    let used = wait_for("every event", || {
        let events = gateways.iter().flat_map(|gateway| gateway.events());
        let used: Vec<u64> =
            events.filter(|event| event.status == Some(200)).map(|event| tokens(&event)).collect();
        (used.len() == passed).then_some(used)
    });
    assert!(used.iter().all(|used| *used == CLAIM), "each used what was claimed for it, and no more");
    passed
}

const FOR_FIVE_HUNDRED: &str =
    "rate_limits: {on_failure: refuse}\nbudgets: [{id: b, per: total, period: day, tokens: 2088000}]";

#[test]
fn a_thousand_answers_held_at_once_use_what_is_claimed_for_them_and_no_more() {
    assert_eq!(500 * CLAIM, 2_088_000);
    let (gateway, _) = clocked(FOR_FIVE_HUNDRED, |_| {});
    assert_eq!(a_thousand_answers_use_what_is_claimed_for_them(&[&gateway], 500), 500);
    assert_eq!(gateway.ask(&plain()).outcome(), used_up());

    let (unbounded, _) =
        clocked(&FOR_FIVE_HUNDRED.replace("8000}", "8000, unbounded_answers: true}"), |_| {});
    answer_as_long_as_they_are_let(&[&unbounded]).begin_next();
    let answer = unbounded.ask(&plain());
    assert_eq!(tokens(&unbounded.event_of(answer.request_id())), 100_080, "the control: nobody ends it");
}

#[test]
fn a_thousand_answers_held_at_once_by_two_gateways_use_what_is_claimed_for_them_and_no_more() {
    let redis = OwnRedis::start();
    let both =
        [(), ()].map(|()| clocked(FOR_FIVE_HUNDRED, |options| options.redis_url = Some(redis.url.clone())).0);
    let passed = a_thousand_answers_use_what_is_claimed_for_them(&[&both[0], &both[1]], 250);
    assert!((250..=500).contains(&passed), "{passed}");
}

/// Has the provider wait with its answers, each of 3 and 5 tokens, until it is told to go on.
fn hold(gateway: &TestGateway) -> Arc<AtomicBool> {
    let go_on = Arc::new(AtomicBool::new(false));
    let waiting = Arc::clone(&go_on);
    gateway.upstream.behave(move |_, client| {
        wait_for("the test to go on", || waiting.load(Ordering::SeqCst).then_some(()));
        let body = r#"{"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
        write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .map(|()| Then::KeepOpen)
    });
    go_on
}

/// What the Redis knows to be spent of that budget.
fn spent(redis: &OwnRedis) -> u64 {
    let until = "2026-04-01T00:00:00Z".parse::<jiff::Timestamp>().expect("a moment").as_microsecond();
    let known = redis.get(&format!("keeptrusts:{{gateway}}:total:budget:tokens:{until}:b"));
    known.map_or(0, |spent| spent.parse().expect("a number"))
}
