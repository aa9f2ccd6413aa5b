//! How much may be used in a day or a month, by whom; alone, with several gateways, and beyond a restart.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kt_domain::clock::ManualClock;
use kt_domain::events::{Event, EventType};
use kt_domain::keys::{KeyRestrictions, KeySnapshot, KeyTerms, KnownKey};
use kt_domain::secret::SecretDigest;
use kt_gateway::{AccessKeys, Options};

use crate::harness::{OwnRedis, PROVIDER_KEY, Request, TestGateway, Then, wait_for};

const KEYS: &str = "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: CLIENT_KEY}}, {id: other, secret_key_ref: {env: PROVIDER_KEY}}]}\n";
const PRICES: &str = "prices: {currency: EUR, models: [{model: 'big*', input: 2.50, output: '10'}, {model: '*', input: 1, output: 1}]}\n";
/// Nine hours, 37 minutes and 29 seconds before midnight.
const START: &str = "2026-03-31T14:22:31Z";
const UNTIL_MIDNIGHT: u64 = 9 * 3600 + 37 * 60 + 29;

fn clock() -> ManualClock {
    ManualClock::starting_at(START.parse().expect("a moment"))
}

/// A gateway whose clock stands still.
pub(crate) fn clocked(yaml: &str, change: impl FnOnce(&mut Options)) -> (TestGateway, ManualClock) {
    let clock = clock();
    let gateway = TestGateway::with_options(yaml, |options| {
        options.clock = Arc::new(clock.clone());
        change(options);
    });
    (gateway, clock)
}

/// A request whose prompt is taken to have 20 tokens, of 80 that it may have, and whose answer has 5 at most; the provider says
/// 3 and 5.
pub(crate) fn chat(model: &str) -> Request {
    let body = format!(r#"{{"model":"{model}","max_tokens":5,"messages":[]}}"#);
    Request::chat().json(format!("{body:80}"))
}

fn with_key(key: &str) -> Request {
    chat("m").header("Authorization", format!("Bearer {key}"))
}

pub(crate) fn used_up() -> (u16, String) {
    (429, "budget_exceeded".to_owned())
}

pub(crate) fn tokens(event: &Event) -> u64 {
    event.input_tokens.unwrap_or(0) + event.output_tokens.unwrap_or(0)
}

#[test]
fn each_key_has_its_own_budget_until_the_day_is_over() {
    let (gateway, clock) =
        clocked(&format!("{KEYS}budgets: [{{id: daily, per: key, period: day, tokens: 20}}]"), |_| {});
    let ask = |key| gateway.ask(&with_key(key));
    // 8 each: the third begins while something is left.
    for _ in 0..3 {
        assert_eq!(ask("client-key").status, 200);
    }
    let refused = ask("client-key");
    assert_eq!(refused.outcome(), used_up());
    assert_eq!(refused.header("retry-after"), Some(&*UNTIL_MIDNIGHT.to_string()));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(
        ["limit", "remaining"].map(|what| refused.header(&format!("x-ratelimit-{what}-budget"))),
        [Some("20"), Some("0")]
    );
    assert_eq!(
        ["limit", "remaining", "reset"].map(|what| refused.header(&format!("x-ratelimit-{what}"))),
        [Some("20"), Some("0"), Some(&*UNTIL_MIDNIGHT.to_string())]
    );
    let said = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(said.contains("`daily`") && said.contains("2026-04-01T00:00:00Z"), "{said}");
    let event = gateway.event_of(refused.request_id());
    assert_eq!(event.event_type, EventType::RateLimited);
    assert_eq!((event.limited_by.as_deref(), event.key_id.as_deref()), (Some("budget daily"), Some("app")));
    assert_eq!(ask(PROVIDER_KEY).status, 200, "another key has not used anything");
    clock.advance(Duration::from_secs(UNTIL_MIDNIGHT - 1));
    assert_eq!(ask("client-key").outcome(), used_up());
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask("client-key").status, 200);
    assert_eq!(gateway.upstream.requests().len(), 5);
}

#[test]
fn a_month_begins_anew_with_the_month() {
    let (gateway, clock) = clocked("budgets: [{id: monthly, per: total, period: month, tokens: 1}]", |_| {});
    let ask = || gateway.ask(&chat("m")).outcome();
    assert_eq!((ask().0, ask()), (200, used_up()));
    clock.advance(Duration::from_secs(UNTIL_MIDNIGHT));
    assert_eq!((ask().0, ask()), (200, used_up()), "it is April");
    clock.advance(Duration::from_hours(24 * 30) - Duration::from_secs(1));
    assert_eq!(ask(), used_up());
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask().0, 200, "it is May");
}

#[test]
fn events_say_what_requests_cost_and_budgets_count_the_same() {
    // 3 tokens by 2.50 and 5 by 10 for a million are 57.5 millionths, 8 by 1 are 8.
    let (gateway, _) = clocked(
        &format!("{PRICES}budgets: [{{id: money, per: total, period: day, cost: 0.000066}}]"),
        |_| {},
    );
    let ask = |model| {
        let answer = gateway.ask(&chat(model));
        let event = gateway.event_of(answer.request_id());
        (answer.status, event.cost_micros, event.currency.as_deref().map(str::to_owned))
    };
    assert_eq!(ask("big-1"), (200, Some(58), Some("EUR".to_owned())));
    assert_eq!(ask("small"), (200, Some(8), Some("EUR".to_owned())));
    assert_eq!(ask("small"), (429, None, None), "58 and 8 are 66");
}

#[test]
fn what_was_refused_or_failed_costs_nothing() {
    let (gateway, _) = clocked(
        &format!(
            "{PRICES}retry: {{max_retries: 0}}\nbudgets: [{{id: money, per: total, period: day, cost: 0.0001}}]"
        ),
        |_| {},
    );
    for status in ["400 Bad", "500 Oh"] {
        gateway.upstream.answer_as(status, "", "{}");
        for _ in 0..5 {
            let answer = gateway.ask(&chat("big"));
            assert_ne!(answer.status, 429, "{status}");
            assert_eq!(gateway.event_of(answer.request_id()).cost_micros, None);
        }
    }
}

#[test]
fn a_provider_that_tells_no_tokens_is_estimated_and_the_event_says_so() {
    let (gateway, _) = clocked(PRICES, |_| {});
    let event = || gateway.event_of(gateway.ask(&chat("m")).request_id());
    assert_eq!(event().usage_estimated, None, "what the provider tells is no estimate");
    gateway.upstream.answer_as("200 OK", "", r#"{"choices":[{"message":{"content":"twelve chars"}}]}"#);
    let estimated = event();
    assert_eq!(
        (estimated.input_tokens, estimated.output_tokens, estimated.usage_estimated, estimated.cost_micros),
        (Some(20), Some(3), Some(true), Some(23))
    );
    gateway.upstream.answer_as("200 OK", "", r#"{"data":[{"embedding":[1]}],"usage":{"prompt_tokens":7}}"#);
    let embedded = event();
    assert_eq!((embedded.input_tokens, embedded.output_tokens), (Some(7), None), "it has no answer to count");
    assert_eq!(embedded.usage_estimated, None);
}

/// A stream that says `text` and then nothing more, without ever ending.
fn speak_and_wait(gateway: &TestGateway, text: &'static str) {
    gateway.upstream.behave(move |_, client| {
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        write!(
            client,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n",
            event.len()
        )?;
        loop {
            client.write_all(b"2\r\n\n\n\r\n")?;
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}

/// GW-H2.
#[test]
fn who_stops_an_answer_ends_the_upstream_call_and_is_charged_what_was_said() {
    let (gateway, _) = clocked(
        &format!("{PRICES}budgets: [{{id: money, per: total, period: day, cost: 0.000115}}]"),
        |_| {},
    );
    speak_and_wait(&gateway, "a text of forty letters, as it happens.");
    let mut client = gateway.connect();
    client.send(chat("m").bytes()).expect("the request is taken");
    let id = client.head_answer().request_id().to_owned();
    client.chunk().expect("the answer begins");
    assert_eq!(gateway.upstream.open_connections(), 1);
    drop(client);
    let event = gateway.event_of(&id);
    assert_eq!(event.reason_code.as_deref(), Some("client_closed"));
    assert_eq!((event.input_tokens, event.output_tokens), (Some(20), Some(10)));
    assert_eq!((event.usage_estimated, event.cost_micros), (Some(true), Some(30)));
    wait_for("the upstream call to end", || (gateway.upstream.open_connections() == 0).then_some(()));
    gateway.upstream.answer_as("200 OK", "", r#"{"usage":{"prompt_tokens":80,"completion_tokens":5}}"#);
    assert_eq!(gateway.ask(&chat("m")).status, 200, "30 of 115");
    assert_eq!(gateway.ask(&chat("m")).outcome(), used_up(), "115 of 115");
}

/// A model may think for long before it says anything, and some never say what they thought.
#[test]
fn who_leaves_while_the_model_thinks_is_charged_a_usual_answer() {
    let begun = r#"{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}"#;
    let thought = r#"{"choices":[{"delta":{"content":null,"reasoning_content":"forty letters of it, as they were said.."}}]}"#;
    for (event, charged) in [("", (20, 1024)), (begun, (7, 1024)), (thought, (20, 10))] {
        let (gateway, _) = clocked("budgets: [{id: org, per: total, period: day, tokens: 100000}]", |_| {});
        let said = if event.is_empty() { ": thinking\n\n".to_owned() } else { format!("data: {event}\n\n") };
        gateway.upstream.behave(move |_, client| {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            write!(client, "{head}{:x}\r\n{said}\r\n", said.len())?;
            client.read(&mut [0]).map(|_| Then::Close)
        });
        let mut client = gateway.connect();
        let body = format!("{:80}", r#"{"model":"m","stream":true,"messages":[]}"#);
        client.send(Request::chat().json(body).bytes()).expect("the request is taken");
        let id = client.head_answer().request_id().to_owned();
        client.chunk().expect("the answer begins");
        drop(client);
        let own = gateway.event_of(&id);
        assert_eq!(own.reason_code.as_deref(), Some("client_closed"), "{event}");
        assert_eq!((own.input_tokens, own.output_tokens), (Some(charged.0), Some(charged.1)), "{event}");
        assert_eq!(own.usage_estimated, Some(true), "{event}");
    }
}

/// Each of the answers that are asked for may become as long as was said.
#[test]
fn a_request_for_many_answers_claims_all_of_them() {
    let (gateway, _) = clocked("budgets: [{id: org, per: total, period: day, tokens: 200}]", |_| {});
    let go_on = Arc::new(AtomicBool::new(false));
    let waiting = Arc::clone(&go_on);
    gateway.upstream.behave(move |_, client| {
        wait_for("the test to go on", || waiting.load(Ordering::SeqCst).then_some(()));
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").map(|()| Then::KeepOpen)
    });
    let ask = |n: u32| {
        let mut client = gateway.connect();
        let body = format!(r#"{{"model":"m","max_tokens":5,"n":{n},"messages":[]}}"#);
        client.send(Request::chat().json(format!("{body:80}")).bytes()).expect("the request is taken");
        client
    };
    let mut held = ask(15);
    wait_for("it to be under way", || (gateway.upstream.requests().len() == 1).then_some(()));
    let mut next = ask(1);
    wait_for("the next to be under way", || (gateway.upstream.requests().len() == 2).then_some(()));
    assert_eq!(gateway.ask(&chat("m")).outcome(), used_up(), "155 are claimed by the one, 85 by the other");
    go_on.store(true, Ordering::SeqCst);
    assert_eq!([held.answer().status, next.answer().status], [200, 200]);
}

/// Every way to ask a model is counted, and what is asked of no model by name costs what every model does.
#[test]
fn no_path_leads_past_a_budget() {
    for (path, body) in [
        ("/v1/responses/compact", r#"{"model":"m","input":"hello"}"#),
        ("/v1/responses/resp_1/anything", r#"{"model":"m","input":"hello"}"#),
        ("/v1/images/generations", r#"{"prompt":"a cat"}"#),
    ] {
        let (gateway, _) = clocked(
            &format!("{PRICES}budgets: [{{id: money, per: model, period: day, cost: 0.00001}}]"),
            |_| {},
        );
        gateway.upstream.answer_as("200 OK", "", r#"{"usage":{"input_tokens":7,"output_tokens":8}}"#);
        let ask = || gateway.ask(&Request::new("POST", path).json(body));
        let answer = ask();
        assert_eq!(answer.status, 200, "{path}");
        let event = gateway.event_of(answer.request_id());
        assert_eq!((event.cost_micros, tokens(&event)), (Some(15), 15), "{path}");
        assert_eq!(ask().outcome(), used_up(), "{path}: 15 of 10");
    }
}

/// Nobody tells what a client used that goes away before the answer begins: it is its prompt and a usual answer, not all
/// that it said it would take.
#[test]
fn who_goes_away_before_the_answer_is_charged_a_usual_one_and_empties_no_budget() {
    let (gateway, _) = clocked("budgets: [{id: org, per: total, period: month, tokens: 2000}]", |_| {});
    gateway.upstream.behave(|_, client| client.read(&mut [0]).map(|_| Then::Close));
    let body = format!("{:80}", r#"{"model":"m","max_tokens":4294967295,"messages":[]}"#);
    let mut client = gateway.connect();
    client.send(Request::chat().json(&body).bytes()).expect("the request is taken");
    wait_for("the provider to be asked", || (gateway.upstream.requests().len() == 1).then_some(()));
    assert_eq!(gateway.ask(&chat("m")).outcome(), used_up(), "while it is under way it may use everything");
    drop(client);
    let is_closed = |event: &Event| event.reason_code.as_deref() == Some("client_closed");
    let event = wait_for("its event", || gateway.events().into_iter().find(is_closed));
    assert_eq!((event.input_tokens, event.output_tokens), (Some(20), Some(1024)));
    assert_eq!(event.usage_estimated, Some(true));
    gateway.upstream.answer_as("200 OK", "", r#"{"usage":{"prompt_tokens":900,"completion_tokens":56}}"#);
    assert_eq!(gateway.ask(&chat("m")).status, 200, "1,044 of 2,000 are spent");
    assert_eq!(gateway.ask(&chat("m")).outcome(), used_up(), "2,000 of 2,000");
}

#[test]
fn while_redis_is_away_budgets_do_as_limits_do() {
    // Room for what one request claims and a bit more, so that nobody waits for another's claim to be settled.
    let budget = "budgets: [{id: b, per: total, period: day, tokens: 86}]\n";
    for (on_failure, expected) in [
        ("local", [(200, String::new()), (200, String::new()), used_up()]),
        ("refuse", [(); 3].map(|()| (503, "limits_unavailable".to_owned()))),
        ("allow", [(); 3].map(|()| (200, String::new()))),
    ] {
        let redis = OwnRedis::start();
        let yaml = format!("{budget}rate_limits: {{on_failure: {on_failure}}}");
        let (gateway, _) = clocked(&yaml, |options| options.redis_url = Some(redis.url.clone()));
        gateway.upstream.answer_as("200 OK", "", r#"{"usage":{"prompt_tokens":17,"completion_tokens":5}}"#);
        let ask = || gateway.ask(&chat("m")).outcome();
        assert_eq!([ask().0, ask().0], [200, 200]);
        redis.kill();
        assert_eq!([ask(), ask(), ask()], expected, "{on_failure}");
    }
}

fn keeping(yaml: &str, file: &Path) -> (TestGateway, ManualClock) {
    clocked(yaml, |options| options.budgets_file = Some(file.to_owned()))
}

#[test]
fn a_restart_gives_nobody_their_budget_back() {
    let directory = tempfile::tempdir().expect("a folder can be made");
    let file = directory.path().join("budgets.json");
    let yaml = "budgets: [{id: b, per: total, period: day, tokens: 17}]";
    let ask = |gateway: &TestGateway| gateway.ask(&chat("m")).outcome().0;

    let (first, _) = keeping(yaml, &file);
    assert_eq!(ask(&first), 200);
    first.drain();
    let (second, _) = keeping(yaml, &file);
    assert_eq!([ask(&second), ask(&second), ask(&second)], [200, 200, 429], "8, 16, 24");
    // A process that is killed has written a second before.
    let has = |text: &str| std::fs::read_to_string(&file).is_ok_and(|kept| kept.contains(text));
    wait_for("it to be written", || has("\"spent\":24").then_some(()));
    let (third, clock) = keeping(yaml, &file);
    assert_eq!(ask(&third), 429);
    clock.advance(Duration::from_secs(UNTIL_MIDNIGHT));
    assert_eq!(ask(&third), 200);
}

#[test]
fn a_reload_gives_nobody_their_budget_back() {
    let budget = "budgets: [{id: b, per: total, period: day, tokens: 1}]\n";
    let (gateway, _) = clocked(budget, |_| {});
    assert_eq!(gateway.ask(&chat("m")).status, 200);
    gateway.reload(&format!("{budget}pack: {{name: renamed}}")).expect("it is valid");
    assert_eq!(gateway.ask(&chat("m")).outcome(), used_up());
    gateway.reload("budgets: [{id: b, per: total, period: day, tokens: 100}]").expect("it is valid");
    assert_eq!(gateway.ask(&chat("m")).status, 200, "more was granted");
}

#[test]
fn groups_models_and_whoever_else_is_meant_have_budgets_of_their_own() {
    let groups = "consumer_groups: [{id: ops, keys: [app]}]\n";
    let again = ["client-key m", "client-key big-2", "provider m", "provider big-2"];
    for (budget, refused) in [
        ("per: group", &again[..2]),
        ("per: group, only: [ops]", &again[..2]),
        ("per: key, only: [other]", &again[2..]),
        ("per: model, only: ['big*']", &["client-key big-2", "provider big-2"]),
        ("per: model", &again),
    ] {
        let yaml = format!("{KEYS}{PRICES}{groups}budgets: [{{id: b, period: day, tokens: 1, {budget}}}]");
        let (gateway, _) = clocked(&yaml, |_| {});
        let ask = |who: &str| {
            let (key, model) = who.split_once(' ').expect("a key and a model");
            let key = if key == "provider" { PROVIDER_KEY } else { key };
            gateway.ask(&chat(model).header("Authorization", format!("Bearer {key}"))).status
        };
        for who in ["client-key m", "client-key big-1", "provider m", "provider big-1"] {
            ask(who);
        }
        let expected = again.map(|who| if refused.contains(&who) { 429 } else { 200 });
        assert_eq!(again.map(ask), expected, "{budget}");
    }
}

#[test]
fn all_keys_of_a_person_have_one_budget() {
    let keys = Arc::<AccessKeys>::default();
    let known = |name: &str, owner: u32| KnownKey {
        id: format!("key_{}", &SecretDigest::of(name).to_string()[..32]).parse().expect("an identifier"),
        owner: format!("usr_{owner:0>32}").parse().expect("an identifier"),
        digest: SecretDigest::of(name),
        terms: KeyTerms {
            scope: Some(kt_domain::actor::Scope::Write),
            ranges: Vec::new(),
            requests_per_minute: None,
            created_at: START.parse().expect("a moment"),
            expires_at: None,
            ends_at: None,
            flagged_at: None,
        },
    };
    let all = vec![known("first", 1), known("second", 1), known("another", 2)];
    keys.replace(KeySnapshot::new(KeyRestrictions::default(), all));
    let (gateway, _) = clocked(
        "auth: {mode: access_keys}\nbudgets: [{id: b, per: user, period: day, tokens: 1}]",
        |options| {
            options.access_keys = Some(Arc::clone(&keys));
        },
    );
    assert_eq!(["first", "second", "another"].map(|key| gateway.ask(&with_key(key)).status), [200, 429, 200]);
}

#[test]
fn an_upload_passes_as_long_as_anything_is_left() {
    let (gateway, _) = clocked("budgets: [{id: b, per: total, period: day, tokens: 8}]", |_| {});
    let upload =
        || Request::new("POST", "/v1/audio/transcriptions").header("Content-Type", "audio/wav").body("RIFF");
    gateway.upstream.answer_as("200 OK", "", r#"{"text":"hello"}"#);
    assert_eq!([gateway.ask(&upload()).status, gateway.ask(&upload()).status], [200, 200]);
    gateway.upstream.answer_as("200 OK", "", r#"{"usage":{"input_tokens":6,"output_tokens":2}}"#);
    assert_eq!([gateway.ask(&upload()).status, gateway.ask(&upload()).status], [200, 429]);
    assert_eq!(gateway.ask(&Request::new("GET", "/v1/models")).status, 200, "looking costs nothing");
}
