//! Exports prove themselves; retention removes whole beginnings, in their time and with a signed statement.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kt_domain::clock::{Clock, ManualClock};
use kt_domain::events::Event;
use kt_store::event_log::{
    Beginning, EventFilter, EventQuery, EventWriter, Expectations, Options, Retention, Span, Verification,
    export, purge, query, retain, verify,
};

use crate::support::{clock, event, ids, options, record, segments};

/// One event a day for ten days from 15 March on, each day a segment.
fn ten_days(directory: &Path, retention: Retention) -> (ManualClock, Options) {
    let clock = clock();
    let options = Options { clock: Arc::new(clock.clone()), retention, ..options() };
    let writer = EventWriter::open(directory, &options).unwrap();
    for n in 0..10 {
        record(&writer, &event(&format!("evt_{n}"))).unwrap();
        clock.advance(Duration::from_hours(24));
    }
    (clock, options)
}

fn check(path: &Path) -> Verification {
    verify(&[path.to_owned()], &Expectations::default(), &mut |_| {}).unwrap()
}

fn days(retention: u32, immutable: bool) -> Retention {
    Retention { days: retention, immutable }
}

#[test]
fn retention_removes_whole_days_when_their_time_has_come_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (clock, options) = ten_days(directory.path(), days(7, true));
    // Each segment is finished a day after its event, when the next begins.
    let removed = retain(directory.path(), &options).unwrap();
    assert_eq!((removed.segments, ids(directory.path()).len()), (2, 8));
    let found = check(directory.path());
    assert!(found.valid, "{:?}", found.problem);
    assert_eq!(found.beginning, Beginning::Removed);
    assert_eq!(found.first_seq, removed.entries + 1);
    assert_eq!(found.unproven(), 0);

    assert_eq!(retain(directory.path(), &options).unwrap().segments, 0, "there is nothing left to remove");
    clock.advance(Duration::from_hours(24 * 400));
    retain(directory.path(), &options).unwrap();
    assert!(ids(directory.path()).len() <= 1);
    assert!(check(directory.path()).valid);
    let writer = EventWriter::open(directory.path(), &options).unwrap();
    record(&writer, &event("evt_after")).unwrap();
    assert!(check(directory.path()).valid);
}

#[test]
fn a_retention_beside_a_gateway_leaves_its_anchor_at_the_newest_entry() {
    for removes in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (log, anchor_file) = (directory.path().join("log"), directory.path().join("anchor"));
        let (_, options) = ten_days(&log, days(7, false));
        if !removes {
            retain(&log, &options).unwrap();
        }
        let anchored = Options { anchor_file: Some(anchor_file.clone()), ..options.clone() };
        let writer = EventWriter::open(&log, &anchored).unwrap();
        record(&writer, &event("evt_last")).unwrap();
        let removed = retain(&log, &options).unwrap();
        assert_eq!(removed.segments > 0, removes);
        drop(writer);

        let anchor: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&anchor_file).unwrap()).unwrap();
        let found = check(&log);
        assert!(found.valid, "{:?}", found.problem);
        // The checkpoint is the entry behind the one that it was signed for.
        assert_eq!(anchor["seq"].as_u64(), Some(found.last_seq - 1), "removed: {removes}");
    }
}

#[test]
fn immutable_events_stay_until_their_retention_ends_whatever_is_asked() {
    for (immutable, kept) in [(true, 10), (false, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut options) = ten_days(directory.path(), days(30, immutable));
        // A shorter retention set later does not shorten that of events which are there.
        options.retention = days(1, false);
        assert_eq!(retain(directory.path(), &options).unwrap().segments, 0);
        let removed =
            purge(directory.path(), &options, options.clock.now() + Duration::from_hours(1)).unwrap();
        assert_eq!(removed.kept_immutable, immutable);
        assert_eq!(ids(directory.path()).len(), kept, "immutable: {immutable}");
        assert!(check(directory.path()).valid);
    }
}

#[test]
fn a_purge_removes_what_lies_before_its_time_only() {
    let directory = tempfile::tempdir().unwrap();
    let (_, options) = ten_days(directory.path(), days(30, false));
    purge(directory.path(), &options, "2026-03-20T13:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(ids(directory.path()), ["evt_5", "evt_6", "evt_7", "evt_8", "evt_9"]);
    assert!(check(directory.path()).valid);
}

#[test]
fn a_beginning_that_was_removed_by_hand_is_told_from_retention() {
    let directory = tempfile::tempdir().unwrap();
    let (_, options) = ten_days(directory.path(), days(7, true));
    retain(directory.path(), &options).unwrap();
    fs::remove_file(&segments(directory.path())[0]).unwrap();
    assert!(!check(directory.path()).valid);
}

#[test]
fn an_export_of_any_time_verifies_on_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("events");
    ten_days(&log, days(30, true));
    let file = directory.path().join("export.jsonl");
    let spans = [
        (None, None, 0..10),
        (Some("2026-03-18T00:00:00Z"), None, 3..10),
        (None, Some("2026-03-18T00:00:00Z"), 0..3),
        (Some("2026-03-18T00:00:00Z"), Some("2026-03-20T00:00:00Z"), 3..5),
        (Some("2020-01-01T00:00:00Z"), None, 0..10),
    ];
    for (since, until, expected) in spans {
        let time = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let mut copy = Vec::new();
        let span = Span { since: time(since), until: time(until) };
        let exported = export(&log, span, &mut copy, &mut |_| {}).unwrap();
        let text = String::from_utf8(copy).unwrap();
        for n in expected {
            assert!(text.contains(&format!("\"evt_{n}\"")), "{since:?} to {until:?} lacks event {n}");
        }
        fs::write(&file, &text).unwrap();
        let found = check(&file);
        assert!(found.valid, "{since:?} to {until:?}: {:?}", found.problem);
        assert_eq!(found.unproven(), 0);
        assert_eq!(
            (found.events, found.first_seq, found.last_seq),
            (exported.events, exported.first_seq, exported.last_seq)
        );

        fs::write(&file, text.replacen("200", "201", 1)).unwrap();
        assert!(!check(&file).valid);
    }
}

#[test]
fn an_excerpt_is_no_longer_than_its_time_needs() {
    let directory = tempfile::tempdir().unwrap();
    ten_days(directory.path(), days(30, true));
    let span = Span {
        since: Some("2026-03-18T00:00:00Z".parse().unwrap()),
        until: Some("2026-03-20T00:00:00Z".parse().unwrap()),
    };
    let mut copy = Vec::new();
    let exported = export(directory.path(), span, &mut copy, &mut |_| {}).unwrap();
    assert!(exported.events <= 4, "{exported:?}");
    assert!(copy.starts_with(b"{\"excerpt\":") || copy.starts_with(b"{\"segment\":"));
}

#[test]
fn a_clock_that_was_set_back_hides_no_event_from_a_search_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("events");
    let clock = clock();
    let options = Options { clock: Arc::new(clock.clone()), checkpoint_entries: 1, ..options() };
    let start = clock.now();
    // Minutes from the start: within a life, from one life to the next, and over more than a day.
    let lives: &[&[i64]] = &[&[0, 10, 5, 15], &[7, 20], &[-3000, -2990], &[30]];
    let minute = |minutes: i64| start + jiff::Span::new().minutes(minutes);
    for life in lives {
        clock.set(minute(life[0]));
        let writer = EventWriter::open(&log, &options).unwrap();
        for minutes in *life {
            clock.set(minute(*minutes));
            let timestamp = minute(*minutes).strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
            record(&writer, &Event { timestamp, ..event(&format!("evt_{minutes}m")) }).unwrap();
        }
    }
    assert!(check(&log).valid);

    let all: Vec<i64> = lives.concat();
    for since in all.iter().copied().chain([6, 25]) {
        let filter = EventFilter { since: Some(minute(since)), ..EventFilter::default() };
        let page = query(&log, &EventQuery { filter, ..EventQuery::default() }).unwrap();
        let expected = all.iter().filter(|minutes| **minutes >= since).count();
        assert_eq!(page.events.len(), expected, "since minute {since}");
        for until in all.iter().copied().filter(|until| *until >= since) {
            let span = Span { since: Some(minute(since)), until: Some(minute(until)) };
            let mut copy = Vec::new();
            export(&log, span, &mut copy, &mut |_| {}).unwrap();
            let text = String::from_utf8(copy).unwrap();
            for inside in all.iter().filter(|minutes| (since..until).contains(*minutes)) {
                assert!(text.contains(&format!("\"evt_{inside}m\"")), "{since} to {until} lacks {inside}");
            }
        }
    }
}
