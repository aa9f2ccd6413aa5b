//! How much may be asked for: by a key, from an address, by all together; alone and with several gateways.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kt_domain::clock::ManualClock;
use kt_domain::events::{EventType, MatchedRule};

use crate::harness::{Answer, Client, Line, OwnRedis, Request, TestGateway, Then, Through, wait_for};

const KEYS: &str = "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: CLIENT_KEY}}, {id: other, secret_key_ref: {env: PROVIDER_KEY}}]}\n";

/// A gateway whose clock stands still.
fn clocked(yaml: &str) -> (TestGateway, ManualClock) {
    let clock = ManualClock::starting_at("2026-03-15T14:22:31Z".parse().expect("a moment"));
    let gateway = TestGateway::with_options(yaml, |options| options.clock = Arc::new(clock.clone()));
    (gateway, clock)
}

fn with_key(key: &str) -> Request {
    Request::chat().header("Authorization", format!("Bearer {key}"))
}

fn limited(code: &str) -> (u16, String) {
    (429, code.to_owned())
}

#[test]
fn each_key_has_its_own_limit() {
    let (gateway, clock) = clocked(&format!("{KEYS}rate_limits: {{per_key: {{requests_per_minute: 2}}}}"));
    let ask = |key| gateway.ask(&with_key(key));
    assert_eq!([ask("client-key").status, ask("client-key").status], [200, 200]);
    let refused = ask("client-key");
    assert_eq!(refused.outcome(), limited("rate_limited"));
    assert_eq!(refused.header("retry-after"), Some("30"));
    let event = gateway.event_of(refused.request_id());
    assert_eq!(event.event_type, EventType::RateLimited);
    assert_eq!((event.limited_by.as_deref(), event.key_id.as_deref()), (Some("key requests"), Some("app")));
    assert_eq!(ask(crate::harness::PROVIDER_KEY).status, 200, "another key has not used anything");
    clock.advance(Duration::from_secs(30));
    assert_eq!([ask("client-key").status, ask("client-key").status], [200, 429]);
    assert_eq!(gateway.upstream.requests().len(), 4);
}

#[test]
fn each_address_has_its_own_limit_whatever_it_writes_into_headers() {
    let (gateway, _) = clocked("rate_limits: {per_address: {requests_per_minute: 1}}");
    let forged = |n: u8| Request::chat().header("X-Forwarded-For", format!("203.0.113.{n}"));
    assert_eq!(gateway.ask(&forged(1)).status, 200);
    let refused = gateway.ask(&forged(2));
    assert_eq!(refused.outcome(), limited("rate_limited"));
    assert_eq!(gateway.event_of(refused.request_id()).limited_by.as_deref(), Some("address requests"));
    assert_eq!(gateway.connect_from(Ipv4Addr::new(127, 0, 0, 2)).ask(&Request::chat()).status, 200);
}

#[test]
fn an_address_behind_a_proxy_is_the_one_that_the_allowlist_sees() {
    let (gateway, _) = clocked(
        "ip_allowlist: {enabled: true, allow: [203.0.113.0/24], trust_proxy_headers: true}\nrate_limits: {per_address: {requests_per_minute: 1}}",
    );
    let from = |chain: &str| gateway.ask(&Request::chat().header("X-Forwarded-For", chain)).status;
    assert_eq!([from("203.0.113.1"), from("203.0.113.2")], [200, 200]);
    assert_eq!(from("198.51.100.7, 203.0.113.1"), 429, "what the client put in front changes nothing");
}

#[test]
fn an_address_that_a_proxy_does_not_tell_is_refused_where_each_has_its_limit() {
    const TRUSTING: &str = "ip_allowlist: {enabled: false, trust_proxy_headers: true}\n";
    let (gateway, _) =
        clocked(&format!("{TRUSTING}rate_limits: {{per_address: {{requests_per_minute: 1}}}}"));
    let from = |line: &str| gateway.ask(&Request::chat().header("X-Forwarded-For", line));
    for unknown in [Request::chat(), Request::chat().header("X-Forwarded-For", "garbage")] {
        let refused = gateway.ask(&unknown);
        assert_eq!(refused.outcome(), (403, "ip_denied".to_owned()), "{unknown:?}");
        let event = gateway.event_of(refused.request_id());
        assert_eq!(event.matched_rule, Some(MatchedRule::UnresolvedSource), "{unknown:?}");
        assert_eq!((event.source_ip, event.peer_ip), (None, Some([127, 0, 0, 1].into())), "{unknown:?}");
    }
    assert_eq!(gateway.ask(&Request::new("GET", "/healthz")).status, 200, "health is not counted");
    assert_eq!([from("203.0.113.1").status, from("203.0.113.2").status], [200, 200], "the control");
    assert_eq!(from("203.0.113.1").outcome(), limited("rate_limited"));
    for rules in ["", "rate_limits: {total: {requests_per_minute: 9}, per_key: {requests_per_minute: 1}}"] {
        gateway.reload(&format!("{TRUSTING}{rules}")).expect("it is valid");
        assert_eq!(gateway.ask(&Request::chat()).status, 200, "nothing asks for an address: {rules}");
    }
}

#[test]
fn all_together_have_a_limit_too_and_the_answers_say_how_it_stands() {
    let (gateway, _) = clocked(&format!(
        "{KEYS}rate_limits: {{total: {{requests_per_minute: 3}}, per_key: {{requests_per_minute: 60, tokens_per_minute: 6000}}}}"
    ));
    let answer = gateway.ask(&with_key("client-key"));
    assert_eq!(answer.status, 200);
    let told = |name| answer.header(name).unwrap_or_default();
    assert_eq!(
        told("ratelimit-policy"),
        r#""total-requests";q=3;w=60, "key-requests";q=60;w=60, "key-tokens";q=6000;w=60"#
    );
    assert!(
        told("ratelimit")
            .starts_with(r#""total-requests";r=2;t=20, "key-requests";r=59;t=1, "key-tokens";r="#)
    );
    assert_eq!(
        [
            told("x-ratelimit-limit-requests"),
            told("x-ratelimit-remaining-requests"),
            told("x-ratelimit-reset-requests")
        ],
        ["3", "2", "20s"]
    );
    assert_eq!(told("x-ratelimit-limit-tokens"), "6000");
    assert_eq!(nearest(&answer), ["3", "2", "20"]);
    for (status, left) in [(200, ["3", "1", "40"]), (200, ["3", "0", "60"]), (429, ["3", "0", "20"])] {
        let answer = gateway.ask(&with_key(crate::harness::PROVIDER_KEY));
        assert_eq!((answer.status, nearest(&answer)), (status, left));
    }
}

/// How the nearest of all limits stands: limit, remaining, reset.
fn nearest(answer: &Answer) -> [&str; 3] {
    ["limit", "remaining", "reset"]
        .map(|what| answer.header(&format!("x-ratelimit-{what}")).unwrap_or_default())
}

#[test]
fn the_nearest_limit_is_the_one_of_which_the_smallest_part_is_left() {
    let (gateway, _) = clocked(
        "rate_limits: {total: {requests_per_minute: 10, tokens_per_minute: 100000}, per_address: {requests_per_minute: 8}}",
    );
    assert_eq!(nearest(&gateway.ask(&Request::chat())), ["8", "7", "8"]);
    let (gateway, _) = clocked("rate_limits: {total: {requests_per_minute: 600, tokens_per_minute: 2000}}");
    let [limit, remaining, _] = nearest(&gateway.ask(&Request::chat())).map(str::to_owned);
    assert_eq!(limit, "2000");
    assert!(remaining.parse::<u64>().is_ok_and(|left| (1..2000).contains(&left)), "{remaining}");
    let (unlimited, _) = clocked("");
    assert_eq!(nearest(&unlimited.ask(&Request::chat())), ["", "", ""]);
}

#[test]
fn without_limits_nothing_is_said_and_a_providers_words_pass() {
    let gateway = TestGateway::with("");
    gateway.upstream.answer_as("200 OK", "X-RateLimit-Limit-Requests: 7\r\n", "{}");
    let answer = gateway.ask(&Request::chat());
    assert_eq!((answer.header("ratelimit"), answer.header("x-ratelimit-limit-requests")), (None, Some("7")));
    let (limited, _) = clocked("rate_limits: {total: {requests_per_minute: 9}}");
    limited.upstream.answer_as("200 OK", "X-RateLimit-Limit-Requests: 7\r\n", "{}");
    assert_eq!(limited.ask(&Request::chat()).header("x-ratelimit-limit-requests"), Some("9"));
}

/// A chat that asks for at most so many tokens; its own text counts as 15.
fn chat_of(max_tokens: u32) -> Request {
    let body = format!(r#"{{"model":"m","max_tokens":{max_tokens:3},"messages":[]}}"#);
    Request::chat().json(format!("{body:60}"))
}

#[test]
fn tokens_are_claimed_before_and_settled_after() {
    let (gateway, clock) = clocked("rate_limits: {total: {tokens_per_minute: 100}}");
    let remaining =
        |answer: &Answer| answer.header("x-ratelimit-remaining-tokens").unwrap_or_default().to_owned();
    // The provider says that it was 3 and 5.
    let first = gateway.ask(&chat_of(60));
    assert_eq!((first.status, remaining(&first)), (200, "25".to_owned()));
    let second = gateway.ask(&chat_of(60));
    assert_eq!((second.status, remaining(&second)), (200, "17".to_owned()), "8 were used in the end, not 75");

    gateway.upstream.answer_as("200 OK", "", r#"{"usage":{"prompt_tokens":100,"completion_tokens":84}}"#);
    assert_eq!(gateway.ask(&chat_of(60)).status, 200, "an answer may be larger than was thought");
    let refused = gateway.ask(&chat_of(1));
    assert_eq!(refused.outcome(), limited("tokens_limited"));
    assert_eq!(gateway.event_of(refused.request_id()).limited_by.as_deref(), Some("total tokens"));
    clock.advance(Duration::from_mins(1));
    assert_eq!(
        gateway.ask(&chat_of(1)).outcome(),
        limited("tokens_limited"),
        "it is paid for over two minutes"
    );
    clock.advance(Duration::from_mins(1));
    assert_eq!(gateway.ask(&chat_of(1)).status, 200);
}

#[test]
fn what_was_refused_or_failed_is_not_charged() {
    let (gateway, _) = clocked("rate_limits: {total: {tokens_per_minute: 100}}\nretry: {max_retries: 0}");
    for status in ["400 Bad", "500 Oh"] {
        gateway.upstream.answer_as(status, "", "{}");
        for _ in 0..5 {
            assert_ne!(gateway.ask(&chat_of(60)).status, 429, "{status}");
        }
    }
}

#[test]
fn going_away_early_is_no_way_to_avoid_the_charge() {
    let (gateway, _) = clocked("rate_limits: {total: {tokens_per_minute: 100}}");
    // 240 letters, which are taken for 60 tokens.
    let said = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{:240}\"}}}}]}}\n\n", "so much");
    gateway.upstream.behave(move |_, client| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked";
        write!(client, "{head}\r\n\r\n{:x}\r\n{said}\r\n", said.len())?;
        loop {
            client.write_all(b"2\r\n\n\n\r\n")?;
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut client = gateway.connect();
    client.send(chat_of(60).bytes()).expect("the request is taken");
    let id = client.head_answer().request_id().to_owned();
    client.chunk().expect("the answer begins");
    drop(client);
    assert_eq!(gateway.event_of(&id).reason_code.as_deref(), Some("client_closed"));
    assert_eq!(gateway.ask(&chat_of(60)).outcome(), limited("tokens_limited"));
}

#[test]
fn so_many_requests_are_under_way_at_once_and_no_more() {
    let (gateway, _) = clocked("rate_limits: {total: {concurrent: 2}}");
    let go_on = Arc::new(AtomicBool::new(false));
    let waiting = Arc::clone(&go_on);
    gateway.upstream.behave(move |_, client| {
        wait_for("the test to go on", || waiting.load(Ordering::SeqCst).then_some(()));
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").map(|()| Then::KeepOpen)
    });
    let mut held = [gateway.connect(), gateway.connect()];
    for client in &mut held {
        client.send(Request::chat().bytes()).expect("the request is taken");
    }
    wait_for("both to be under way", || (gateway.upstream.requests().len() == 2).then_some(()));
    let refused = gateway.ask(&Request::chat());
    assert_eq!(refused.outcome(), limited("concurrency_limit"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("x-ratelimit-limit-concurrent"), Some("2"));
    assert_eq!(refused.header("x-ratelimit-remaining-concurrent"), Some("0"));
    assert_eq!(nearest(&refused), ["2", "0", "1"]);
    let gone = gateway.connect();
    drop(gone);
    go_on.store(true, Ordering::SeqCst);
    assert_eq!(held.each_mut().map(|client| client.answer().status), [200, 200]);
    assert_eq!(gateway.ask(&Request::chat()).status, 200);
}

#[test]
fn a_reload_forgives_nobody() {
    let rule = "rate_limits: {total: {requests_per_minute: 1}}\n";
    let (gateway, _) = clocked(rule);
    assert_eq!(gateway.ask(&Request::chat()).status, 200);
    gateway.reload(&format!("{rule}pack: {{name: renamed}}")).expect("it is valid");
    assert_eq!(gateway.ask(&Request::chat()).status, 429);
}

/// For gateways that a thousand clients connect to before the first sends the rest of its head.
const PATIENT: &str = "timeouts: {request_header: 2m}\n";

/// How many of a thousand requests are let through, all of which have begun before the first of them is whole, sent to these
/// gateways in turn. After so many of them as it names, each of `meanwhile` is done.
fn let_through_while(gateways: &[&TestGateway], meanwhile: &[(usize, &dyn Fn())]) -> usize {
    let request = Request::chat();
    let bytes = request.bytes();
    let (beginning, rest) = bytes.split_at(16);
    let begin = |n: usize| {
        let mut client = gateways[n % gateways.len()].connect();
        client.send(beginning).expect("the request is taken");
        client
    };
    let mut open: Vec<Client> = (0..1000).map(begin).collect();
    for (n, client) in open.iter_mut().enumerate() {
        meanwhile.iter().filter(|(when, _)| *when == n).for_each(|(_, act)| act());
        client.send(rest).expect("the request is taken");
    }
    let mut passed = 0;
    for (n, client) in open.iter_mut().enumerate() {
        let mut outcome = client.answer().outcome();
        wait_for("Redis to count it", || {
            let is_counted = outcome.0 != 503;
            if !is_counted {
                outcome = gateways[n % gateways.len()].ask(&request).outcome();
            }
            is_counted.then_some(())
        });
        match outcome.0 {
            200 => passed += 1,
            429 => {}
            _ => panic!("{outcome:?}"),
        }
    }
    passed
}

fn let_through(gateways: &[&TestGateway]) -> usize {
    let_through_while(gateways, &[])
}

#[test]
fn of_a_thousand_at_once_exactly_the_limit_passes() {
    let (gateway, _) = clocked(&format!("{PATIENT}rate_limits: {{total: {{requests_per_minute: 100}}}}"));
    assert_eq!(let_through(&[&gateway]), 100);
    assert_eq!(gateway.upstream.requests().len(), 100);
    let (control, _) = clocked(&format!("{PATIENT}rate_limits: {{total: {{requests_per_minute: 1000}}}}"));
    assert_eq!(let_through(&[&control]), 1000);
}

/// Two gateways that count together.
fn two_over(redis: &OwnRedis, yaml: &str) -> [TestGateway; 2] {
    [(), ()].map(|()| TestGateway::with_options(yaml, |options| options.redis_url = Some(redis.url.clone())))
}

#[test]
fn two_gateways_over_one_redis_let_no_more_through_than_one() {
    let redis = OwnRedis::start();
    let rule = format!("{PATIENT}rate_limits: {{total: {{requests_per_minute: 60}}, on_failure: refuse}}");
    let [one, other] = two_over(&redis, &rule);
    let start = Instant::now();
    assert_eq!([&one, &other].map(|gateway| gateway.ask(&Request::chat()).status), [200, 200]);
    let passed = 2 + let_through(&[&one, &other]);
    // The server's clock goes on, and a limit of 60 a minute lets one more through each second.
    let most = 60 + usize::try_from(start.elapsed().as_secs()).expect("a few seconds") + 1;
    assert!((60..=most).contains(&passed), "{passed} of at most {most}");
    assert_eq!(one.upstream.requests().len() + other.upstream.requests().len(), passed);
}

/// Redis goes away and comes back while a thousand are under way.
#[test]
fn a_redis_that_goes_away_in_the_midst_lets_no_more_through_than_the_guide_says() {
    for (on_failure, times) in [("refuse", 1), ("local", 3)] {
        let redis = OwnRedis::start();
        let line = Line::to(&redis);
        let limits = format!("rate_limits: {{total: {{requests_per_minute: 60}}, on_failure: {on_failure}}}");
        let rule = format!("{PATIENT}{limits}");
        let both = [(), ()]
            .map(|()| TestGateway::with_options(&rule, |options| options.redis_url = Some(line.url.clone())));
        let start = Instant::now();
        let (goes, comes) = (|| line.let_through(Through::Nothing), || line.let_through(Through::Everything));
        let passed = let_through_while(&[&both[0], &both[1]], &[(20, &goes), (980, &comes)]);
        // Each second there is room for one more, wherever is counted.
        let seconds = usize::try_from(start.elapsed().as_secs()).expect("a few seconds") + 1;
        assert!(passed <= times * (60 + seconds), "{on_failure}: {passed} in {seconds} seconds");
        assert!(passed >= 20, "{on_failure}: {passed}");
    }
}

#[test]
fn the_limit_of_a_key_is_one_over_two_gateways() {
    let redis = OwnRedis::start();
    let [one, other] =
        two_over(&redis, &format!("{KEYS}rate_limits: {{per_key: {{requests_per_minute: 4}}}}"));
    let ask = |gateway: &TestGateway, key: &str| gateway.ask(&with_key(key)).status;
    let in_turn = || [ask(&one, "client-key"), ask(&other, "client-key")];
    assert_eq!([in_turn(), in_turn()], [[200, 200], [200, 200]]);
    assert_eq!(in_turn(), [429, 429], "a quarter of a minute has not passed");
    let another = crate::harness::PROVIDER_KEY;
    assert_eq!([ask(&one, another), ask(&other, another)], [200, 200], "another key has not used anything");
}

#[test]
fn places_and_tokens_are_shared_as_well() {
    let redis = OwnRedis::start();
    let [one, other] = two_over(&redis, "rate_limits: {total: {concurrent: 1, tokens_per_minute: 1000}}");
    let go_on = Arc::new(AtomicBool::new(false));
    let waiting = Arc::clone(&go_on);
    one.upstream.behave(move |_, client| {
        wait_for("the test to go on", || waiting.load(Ordering::SeqCst).then_some(()));
        let body = r#"{"usage":{"prompt_tokens":500,"completion_tokens":490}}"#;
        write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .map(|()| Then::KeepOpen)
    });
    let mut held = one.connect();
    held.send(chat_of(60).bytes()).expect("the request is taken");
    wait_for("it to be under way", || (one.upstream.requests().len() == 1).then_some(()));
    assert_eq!(other.ask(&chat_of(60)).outcome(), limited("concurrency_limit"));
    go_on.store(true, Ordering::SeqCst);
    assert_eq!(held.answer().status, 200);
    wait_for("the place to be free and the tokens to be charged", || {
        (other.ask(&chat_of(60)).outcome() == limited("tokens_limited")).then_some(())
    });
}

#[test]
fn while_redis_is_away_each_gateway_counts_for_itself() {
    let redis = OwnRedis::start();
    let rule = "rate_limits: {total: {requests_per_minute: 6}, on_failure: local}";
    let [one, other] = two_over(&redis, rule);
    let ask = |gateway: &TestGateway| gateway.ask(&Request::chat()).status;
    assert_eq!([ask(&one), ask(&one), ask(&one), ask(&one), ask(&other)], [200; 5]);
    redis.kill();
    // What a gateway let through before is not forgotten.
    assert_eq!([ask(&one), ask(&one), ask(&one)], [200, 200, 429]);
    assert_eq!((0..6).map(|_| ask(&other)).collect::<Vec<_>>(), [200, 200, 200, 200, 200, 429]);
    redis.come_back();
    wait_for("both to count together again", || (ask(&one) == 200).then_some(()));
}

#[test]
fn while_redis_is_away_nobody_or_everybody_passes_as_configured() {
    for (on_failure, expected) in
        [("refuse", (503, "limits_unavailable".to_owned())), ("allow", (200, String::new()))]
    {
        let redis = OwnRedis::start();
        let rule = format!("rate_limits: {{total: {{requests_per_minute: 2}}, on_failure: {on_failure}}}");
        let [one, _] = two_over(&redis, &rule);
        assert_eq!(one.ask(&Request::chat()).status, 200);
        redis.kill();
        for _ in 0..4 {
            assert_eq!(one.ask(&Request::chat()).outcome(), expected);
        }
        redis.come_back();
        let is_limited = || one.ask(&Request::chat()).status == 429;
        wait_for("the limit to hold again", || is_limited().then_some(()));
    }
}

#[test]
fn an_address_of_redis_that_is_none_starts_nothing() {
    let started =
        TestGateway::try_with_options("", |options| options.redis_url = Some("nonsense".to_owned()));
    assert!(started.is_err());
}
