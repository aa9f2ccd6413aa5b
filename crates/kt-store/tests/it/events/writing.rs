//! What was recorded is there afterwards, once, in order, for its owner alone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use kt_store::event_log::{
    EventWriter, Expectations, LogError, Options, Retention, Tampering, repair, verify,
};

use crate::support::{clock, event, events, ids, lines, options, record, segments};

#[test]
fn events_are_there_in_order_after_each_of_several_lives() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("deep/events");
    for life in 0..3 {
        let writer = EventWriter::open(&log, &options()).unwrap();
        assert_eq!(&**writer.gateway_id(), "gw_test");
        for n in 0..10 {
            writer.record(&event(&format!("evt_{life}_{n}"))).unwrap();
        }
    }
    let expected: Vec<String> =
        (0..3).flat_map(|life| (0..10).map(move |n| format!("evt_{life}_{n}"))).collect();
    assert_eq!(ids(&log), expected);
    assert!(lines(&log).last().unwrap().starts_with("{\"checkpoint\":"));
}

#[test]
fn a_lazy_event_is_on_disk_soon_without_anybody_waiting_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let writer = EventWriter::open(directory.path(), &options()).unwrap();
    for n in 0..3 {
        writer.record(&event(&format!("evt_{n}"))).unwrap();
        let start = Instant::now();
        while ids(directory.path()).len() <= n {
            assert!(start.elapsed() < Duration::from_secs(5), "the event never came");
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_acknowledged_event_is_on_disk_when_it_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let writer = EventWriter::open(directory.path(), &options()).unwrap();
    for n in 0..20 {
        record(&writer, &event(&format!("evt_{n}"))).unwrap();
        assert_eq!(ids(directory.path()).len(), n + 1);
    }
}

#[test]
fn files_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("events");
    drop(EventWriter::open(&log, &options()).unwrap());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&log), 0o700);
    let names: Vec<_> = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for path in names {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn an_unfinished_last_line_is_cut_off_and_the_chain_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path();
    record(&EventWriter::open(log, &options()).unwrap(), &event("evt_1")).unwrap();
    let torn = &lines(log)[1][..40];
    fs::File::options().append(true).open(&segments(log)[0]).unwrap().write_all(torn.as_bytes()).unwrap();
    record(&EventWriter::open(log, &options()).unwrap(), &event("evt_2")).unwrap();
    assert_eq!(ids(log), ["evt_1", "evt_2"]);
}

#[test]
fn a_segment_that_was_never_begun_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path();
    drop(EventWriter::open(log, &options()).unwrap());
    let next = lines(log).len() + 1;
    fs::write(log.join(format!("{next:020}.jsonl")), "{\"segment\":{").unwrap();
    record(&EventWriter::open(log, &options()).unwrap(), &event("evt_1")).unwrap();
    assert_eq!(ids(log), ["evt_1"]);
    assert_eq!(segments(log).len(), 1);
}

#[test]
fn a_damaged_end_is_not_buried() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path();
    {
        // No checkpoint behind the event, as after a crash.
        let writer = EventWriter::open(log, &options()).unwrap();
        record(&writer, &event("evt_1")).unwrap();
        fs::copy(&segments(log)[0], log.join("copy")).unwrap();
    }
    let segment = &segments(log)[0];
    let written = fs::read_to_string(log.join("copy")).unwrap();
    fs::write(segment, written.replace("evt_1", "evt_2")).unwrap();
    assert!(matches!(EventWriter::open(log, &options()), Err(LogError::Damaged { .. })));
    assert!(verify_log(log).is_some_and(|found| found == Tampering::Edited));

    // Going on behind the damage hides nothing of it.
    repair(log, &options()).unwrap();
    record(&EventWriter::open(log, &options()).unwrap(), &event("evt_3")).unwrap();
    assert_eq!(verify_log(log), Some(Tampering::Edited));
    assert_eq!(verify_log(&segments(log)[1]), None);
    assert!(repair(log, &options()).is_err(), "there is nothing left to repair");

    fs::remove_file(&segments(log)[1]).unwrap();
    fs::write(&segments(log)[0], written).unwrap();
    EventWriter::open(log, &options()).unwrap();
    assert_eq!(verify_log(log), None);
}

fn verify_log(path: &std::path::Path) -> Option<Tampering> {
    let found = verify(&[path.to_owned()], &Expectations::default(), &mut |_| {}).unwrap();
    found.problem.map(|problem| problem.kind)
}

#[test]
fn segments_follow_one_another_by_size_by_day_and_by_retention() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path();
    let clock = clock();
    let options = Options { clock: std::sync::Arc::new(clock.clone()), segment_bytes: 4096, ..options() };
    let writer = EventWriter::open(log, &options).unwrap();
    for n in 0..100 {
        record(&writer, &event(&format!("evt_{n}"))).unwrap();
    }
    let by_size = segments(log).len();
    assert!(by_size > 3);

    clock.advance(Duration::from_hours(24));
    record(&writer, &event("evt_next_day")).unwrap();
    assert_eq!(segments(log).len(), by_size + 1);

    writer.set_retention(Retention { days: 30, immutable: false });
    record(&writer, &event("evt_retention")).unwrap();
    assert_eq!(segments(log).len(), by_size + 2);

    drop(writer);
    assert_eq!(events(log).len(), 102);
    for path in segments(log) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("{\"segment\":"));
        assert!(text.lines().last().unwrap().starts_with("{\"checkpoint\":"));
    }
}

#[test]
fn the_anchor_moves_to_another_file_and_not_into_one_of_another_log() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let held = |name: &str| fs::read_to_string(at(name)).ok();
    let seq = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["seq"].as_u64().unwrap();
    let writer = |log: &str, anchor: &str| {
        EventWriter::open(&at(log), &Options { anchor_file: Some(at(anchor)), ..options() }).unwrap()
    };
    drop(writer("theirs", "of_theirs"));
    let writer = writer("ours", "before");
    record(&writer, &event("evt_1")).unwrap();
    writer.move_anchor(Some(at("behind")));
    writer.sync().unwrap();
    let (before, behind) = (held("before").unwrap(), held("behind").unwrap());
    assert!(seq(&behind) > seq(&before), "{before} {behind}");

    let of_theirs = held("of_theirs");
    writer.move_anchor(Some(at("of_theirs")));
    record(&writer, &event("evt_2")).unwrap();
    drop(writer);
    assert_eq!(held("of_theirs"), of_theirs, "it is another log's");
    assert_eq!(held("before"), Some(before), "the former one stays as it is");
    assert!(seq(&held("behind").unwrap()) > seq(&behind));
}

#[test]
fn a_log_whose_anchor_was_left_behind_by_another_is_told_from_one_that_shares_it() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { anchor_file: Some(directory.path().join("anchor")), ..options() };
    let open = |log: &str| EventWriter::open(&directory.path().join(log), &options).map(drop);
    open("lost").unwrap();
    fs::remove_dir_all(directory.path().join("lost")).unwrap();
    let lost = open("lost").unwrap_err().to_string();
    assert!(lost.contains("a log that is not in") && lost.contains("from a copy"), "{lost}");
    EventWriter::open(&directory.path().join("other"), &Options { anchor_file: None, ..options.clone() })
        .unwrap();
    let other = open("other").unwrap_err().to_string();
    assert!(other.contains("another key than the one of this log"), "{other}");
    fs::remove_file(directory.path().join("anchor")).unwrap();
    open("lost").expect("the control");
}

#[test]
fn two_writers_share_one_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path();
    let options = Options { segment_bytes: 8192, checkpoint_entries: 7, ..options() };
    std::thread::scope(|scope| {
        for name in ["old", "new"] {
            let writer = EventWriter::open(log, &options).unwrap();
            scope.spawn(move || {
                for n in 0..200 {
                    record(&writer, &event(&format!("{name}_{n}"))).unwrap();
                }
            });
        }
    });
    let ids = ids(log);
    for name in ["old", "new"] {
        let own: Vec<&String> = ids.iter().filter(|id| id.starts_with(name)).collect();
        let expected: Vec<String> = (0..200).map(|n| format!("{name}_{n}")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_log_keeps_its_gateway_and_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path();
    drop(EventWriter::open(log, &options()).unwrap());
    let unnamed = Options { gateway_id: None, ..options() };
    assert_eq!(&**EventWriter::open(log, &unnamed).unwrap().gateway_id(), "gw_test");
    let other = Options { gateway_id: Some("gw_other".to_owned()), ..options() };
    assert!(matches!(EventWriter::open(log, &other), Err(LogError::Unusable { .. })));
    fs::rename(log.join("signing.key"), log.join("elsewhere")).unwrap();
    assert!(matches!(EventWriter::open(log, &options()), Err(LogError::Unusable { .. })));
}

#[test]
fn a_public_key_that_a_crash_left_unwritten_is_written_when_the_log_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("signing.pub");
    drop(EventWriter::open(directory.path(), &options()).unwrap());
    let key = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    drop(EventWriter::open(directory.path(), &options()).unwrap());
    assert_eq!(fs::read(&file).unwrap(), key);
}
