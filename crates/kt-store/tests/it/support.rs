//! Logs to try things on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use jiff::Timestamp;
use kt_domain::clock::ManualClock;
use kt_domain::events::{Event, EventType, Head, Kind, Record};
use kt_store::event_log::{EventWriter, Options, RecordError};

/// A clock that shows noon.
pub(crate) fn clock() -> ManualClock {
    ManualClock::starting_at("2026-03-15T12:00:00Z".parse::<Timestamp>().unwrap())
}

/// Options with a manual clock, for a gateway called `gw_test`.
pub(crate) fn options() -> Options {
    Options { gateway_id: Some("gw_test".to_owned()), ..Options::new(Arc::new(clock())) }
}

/// An event named `id`.
pub(crate) fn event(id: &str) -> Event {
    let mut event = Event::new(
        EventType::Decision,
        id.to_owned(),
        "2026-03-15T12:00:00.000Z".to_owned(),
        "gw_test".into(),
    );
    event.request_path = Some("/v1/chat/completions".to_owned());
    event.status = Some(200);
    event
}

/// Records an event and waits until it is on disk.
pub(crate) fn record(writer: &EventWriter, event: &Event) -> Result<(), RecordError> {
    let (sender, receiver) = mpsc::channel();
    writer.record_then(event, move |outcome| sender.send(outcome).unwrap());
    receiver.recv().unwrap()
}

/// The segments of a log, first to last.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    paths.sort();
    paths
}

/// All complete lines of a log.
pub(crate) fn lines(directory: &Path) -> Vec<String> {
    let text: String = segments(directory).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect()
}

/// The events of a log, oldest first, after asserting that its chain holds.
pub(crate) fn events(directory: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    let mut head: Option<Head> = None;
    for line in lines(directory) {
        let record = Record::from_written(line.as_bytes()).unwrap();
        if let Some(head) = head {
            assert!(head.is_followed_by(&record), "{line} does not follow");
        }
        head = Some(record.head());
        if record.kind == Kind::Event {
            events.push(serde_json::from_slice(record.content()).unwrap());
        }
    }
    events
}

/// Their ids.
pub(crate) fn ids(directory: &Path) -> Vec<String> {
    events(directory).into_iter().map(|event| event.id).collect()
}
