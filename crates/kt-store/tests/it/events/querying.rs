//! What a query finds, and what it says of a wrong one.

use std::sync::Arc;
use std::time::Duration;

use kt_domain::events::{Event, EventType, PolicyEvaluation, Verdict};
use kt_store::event_log::{EventQuery, EventWriter, Options, Page, query};
use serde_json::Value;

use crate::support::{clock, event, options, record};

/// Ten events a minute apart from 12:00, each its own in every respect, in three segments.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let clock = clock();
    let options =
        Options { clock: Arc::new(clock.clone()), segment_bytes: 1400, checkpoint_entries: 2, ..options() };
    let writer = EventWriter::open(directory.path(), &options).unwrap();
    for n in 0..10 {
        record(&writer, &numbered(n)).unwrap();
        clock.advance(Duration::from_mins(1));
    }
    directory
}

fn numbered(n: u8) -> Event {
    let mut event = event(&format!("evt_{n}"));
    event.timestamp = format!("2026-03-15T12:0{n}:00.000Z");
    event.event_type = if n.is_multiple_of(2) { EventType::Decision } else { EventType::IpDenied };
    event.source_ip = Some(format!("192.0.2.{n}").parse().unwrap());
    event.request_id = Some(format!("req \"{n}\""));
    event.verdict = Some(if n < 5 { Verdict::Allow } else { Verdict::Block });
    event.policies_evaluated = Some(vec![PolicyEvaluation::new("x".into(), Verdict::Redact)]);
    event
}

fn ids(page: &Page) -> Vec<u8> {
    let number = |text: &String| {
        let event: Event = serde_json::from_str(text).unwrap();
        event.id.strip_prefix("evt_").unwrap().parse().unwrap()
    };
    page.events.iter().map(number).collect()
}

#[test]
fn each_filter_finds_what_fits_newest_first() {
    let directory = filled();
    let cases: &[(&str, &[u8])] = &[
        ("", &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("limit=3", &[9, 8, 7]),
        ("event_type=ip_denied", &[9, 7, 5, 3, 1]),
        ("event_type=decision&limit=1", &[8]),
        ("verdict=allow", &[4, 3, 2, 1, 0]),
        ("verdict=redact", &[]),
        ("source_ip=192.0.2.7", &[7]),
        ("source_ip=::ffff:192.0.2.7", &[7]),
        ("source_ip=192.0.2.70", &[]),
        ("request_id=req+%227%22", &[7]),
        ("request_id=req%20%227%22", &[7]),
        ("request_id=7", &[]),
        ("gateway_id=gw_test&limit=2", &[9, 8]),
        ("gateway_id=gw_tes", &[]),
        ("since=2026-03-15T12:07:00Z", &[9, 8, 7]),
        ("since=2026-03-15T13:07:00%2B01:00", &[9, 8, 7]),
        ("until=2026-03-15T12:02:00Z", &[1, 0]),
        ("since=2026-03-15T12:03:00Z&until=2026-03-15T12:06:00Z&event_type=ip_denied", &[5, 3]),
        ("since=2030-01-01T00:00:00Z", &[]),
    ];
    for (text, expected) in cases {
        let page = query(directory.path(), &text.parse().unwrap()).unwrap();
        assert_eq!(ids(&page), *expected, "{text}");
    }
}

#[test]
fn pages_follow_one_another_without_gap_or_repetition() {
    let directory = filled();
    for limit in 1..=11 {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let text = format!("limit={limit}&event_type=decision{cursor}");
            let page = query(directory.path(), &text.parse().unwrap()).unwrap();
            assert!(page.events.len() <= limit);
            seen.extend(ids(&page));
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, [8, 6, 4, 2, 0], "limit {limit}");
    }
}

#[test]
fn the_body_is_an_object_with_flat_events() {
    let directory = filled();
    let page = query(directory.path(), &"limit=1".parse().unwrap()).unwrap();
    let body: Value = serde_json::from_str(&page.to_json()).unwrap();
    assert_eq!(body["events"][0]["id"], "evt_9");
    assert_eq!(body["next_cursor"], page.next_cursor.unwrap());
    let nothing = query(directory.path(), &"verdict=escalate".parse().unwrap()).unwrap();
    assert_eq!(nothing.to_json(), r#"{"events":[],"next_cursor":null}"#);
}

#[test]
fn a_wrong_query_names_its_parameter() {
    let cases = [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=-1", "limit"),
        ("event_type=nonsense", "event_type"),
        ("verdict=", "verdict"),
        ("since=yesterday", "since"),
        ("since=2026-03-15T13:07:00+01:00", "since"),
        ("until=2026-03-15", "until"),
        ("source_ip=192.0.2.0/24", "source_ip"),
        ("cursor=%00", "cursor"),
        ("cursor=bm9wZQ", "cursor"),
        ("limit=5&limit=6", "limit"),
        ("colour=red", "colour"),
    ];
    for (text, param) in cases {
        let problem = text.parse::<EventQuery>().unwrap_err();
        assert_eq!(problem.param, param, "{text}");
        assert!(problem.message.contains(param), "{}", problem.message);
    }
    for text in ["", "limit=1", "limit=1000", "event_type=ip_denied&verdict=block", "cursor=NQ"] {
        assert!(text.parse::<EventQuery>().is_ok(), "{text}");
    }
}
