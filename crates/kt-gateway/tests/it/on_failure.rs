//! What happens while events cannot be recorded, and how a flood of refusals is recorded without being lost.

use kt_domain::events::{Event, EventType};

use crate::drain::stream_on_demand;
use crate::harness::{Request, State, TestGateway, wait_for};

const DENIES_OTHERS: &str = "ip_allowlist: {enabled: true, allow: [127.0.0.1/32]}\n";

fn metric(gateway: &TestGateway, line: &str) -> u64 {
    let answer = gateway.connect_admin().ask(&Request::new("GET", "/metrics"));
    let text = String::from_utf8(answer.body).expect("metrics are text");
    let value = text.lines().find_map(|own| own.strip_prefix(line)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse().expect("a number")
}

fn gateway(yaml: &str) -> TestGateway {
    TestGateway::with_options(yaml, |options| options.admin_listen = Some(([127, 0, 0, 1], 0).into()))
}

#[test]
fn refuse_lets_nothing_through_unrecorded() {
    let gateway = gateway(&format!("{DENIES_OTHERS}events: {{on_failure: refuse}}"));
    assert_eq!(gateway.ask(&Request::chat()).status, 200, "the control");
    let stream = stream_on_demand(&gateway);
    let mut begun = gateway.connect();
    begun.send(Request::chat().bytes()).expect("the request is taken");
    let head = begun.head_answer();

    gateway.set_store(State::Unwritable);
    for _ in 0..3 {
        assert_eq!(gateway.ask(&Request::chat()).outcome(), (503, "events_unavailable".to_owned()));
    }
    assert_eq!(gateway.upstream.requests().len(), 2);
    assert_eq!(
        gateway.connect_from([127, 0, 0, 9]).ask(&Request::chat()).outcome(),
        (403, "ip_denied".to_owned())
    );
    assert_eq!(metric(&gateway, "keeptrusts_gateway_unrecorded_events_total"), 4);

    drop(stream);
    assert_eq!(begun.chunk(), None);
    assert_eq!(gateway.event_of(head.request_id()).reason_code.as_deref(), Some("ok"), "it had begun before");
    assert_eq!(gateway.events().len(), 2, "what room there is, is not for what is refused");

    gateway.set_store(State::Well);
    let answer = gateway.ask(&Request::chat());
    assert_eq!(answer.status, 200);
    gateway.event_of(answer.request_id());
    let counted = || gateway.events().iter().filter_map(|event| event.count).sum::<u64>();
    wait_for("what was refused meanwhile to be told", || (counted() == 4).then_some(()));
}

#[test]
fn what_was_refused_while_nothing_could_be_recorded_is_told_at_the_latest_when_the_gateway_ends() {
    let gateway = TestGateway::with("");
    gateway.set_store(State::Unwritable);
    assert_eq!(gateway.ask(&Request::chat()).status, 503);
    assert_eq!(accounted(&gateway.drain().events), 1);
}

#[test]
fn a_disk_that_hangs_keeps_no_refused_client_waiting() {
    let gateway = gateway(DENIES_OTHERS);
    let hangs = gateway.hang_disk();
    let answer = gateway.connect_from([127, 0, 0, 9]).ask(&Request::chat());
    assert_eq!(answer.outcome(), (403, "ip_denied".to_owned()));
    assert_eq!(metric(&gateway, "keeptrusts_gateway_unrecorded_events_total"), 1);
    drop(hangs);
    gateway.event_of(answer.request_id());
}

#[test]
fn to_refuse_is_the_default() {
    let gateway = TestGateway::with("");
    gateway.set_store(State::Unwritable);
    assert_eq!(gateway.ask(&Request::chat()).outcome(), (503, "events_unavailable".to_owned()));
}

#[test]
fn allow_forwards_and_counts_what_was_not_recorded() {
    let gateway = gateway(&format!("{DENIES_OTHERS}events: {{on_failure: allow}}"));
    gateway.set_store(State::Full);
    for _ in 0..3 {
        assert_eq!(gateway.ask(&Request::chat()).status, 200);
    }
    assert_eq!(
        gateway.connect_from([127, 0, 0, 9]).ask(&Request::chat()).outcome(),
        (403, "ip_denied".to_owned())
    );
    assert_eq!(gateway.upstream.requests().len(), 3);
    assert_eq!(metric(&gateway, "keeptrusts_gateway_unrecorded_events_total"), 4);
    assert!(gateway.events().is_empty());

    gateway.set_store(State::Well);
    let answer = gateway.ask(&Request::chat());
    gateway.event_of(answer.request_id());
}

/// How many refusals the events stand for.
fn accounted(events: &[Event]) -> u64 {
    events.iter().map(|event| event.count.unwrap_or(1)).sum()
}

/// Has many connections at once send requests from one address that is refused.
fn flood(gateway: &TestGateway, connections: usize, requests: usize) {
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(move || {
                let mut client = gateway.connect_from([127, 0, 0, 9]);
                for _ in 0..requests {
                    assert_eq!(client.ask(&Request::new("GET", "/v1/models")).status, 403);
                }
            });
        }
    });
}

#[test]
fn a_flood_of_refusals_is_counted_to_the_last_one() {
    // Without an admin listener too.
    let gateway = TestGateway::with(&format!("{DENIES_OTHERS}events: {{refusals_per_second: 10}}"));
    flood(&gateway, 5, 1000);
    wait_for("every refusal to be accounted for", || (accounted(&gateway.events()) == 5000).then_some(()));
    let events = gateway.events();
    assert!(events.iter().all(|event| event.event_type == EventType::IpDenied));
    assert!(events.iter().all(|event| event.source_ip == Some([127, 0, 0, 9].into())));
    let (summaries, single): (Vec<Event>, Vec<Event>) =
        events.into_iter().partition(|event| event.count.is_some());
    assert!(single.len() >= 100, "the first burst is recorded one by one: {}", single.len());
    assert!(single.len() < 1000, "and then no more than the rate: {}", single.len());
    assert!(single.iter().all(|event| event.request_id.is_some()));
    assert!(summaries.iter().all(|event| event.since.is_some() && event.request_id.is_none()));
}

#[test]
fn what_was_only_counted_is_recorded_at_the_latest_when_the_gateway_ends() {
    let test = TestGateway::with(&format!("{DENIES_OTHERS}events: {{refusals_per_second: 1}}"));
    flood(&test, 1, 100);
    assert_eq!(accounted(&test.drain().events), 100);
}

#[test]
fn a_flood_of_requests_for_nothing_is_counted_too() {
    let test = TestGateway::with("events: {refusals_per_second: 1}");
    let mut client = test.connect();
    for _ in 0..100 {
        assert_eq!(client.ask(&Request::new("GET", "/v1/nope")).status, 404);
    }
    let events = test.drain().events;
    assert_eq!(accounted(&events), 100);
    assert!(events.len() < 50, "{} events", events.len());
}
