//! The gateway's events on this machine's disk: the port of the gateway, wired to the event log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kt_domain::events::Event;
use kt_gateway::{EventSink, Keeping, QueryError, Unrecordable};
use kt_store::event_log::{self, EventQuery, EventWriter, LogError, Options, Removed, Retention};
use tokio::sync::oneshot;

/// How long a query waits until what was recorded before it is on disk.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// The event log of a gateway that stands alone.
pub(crate) struct EventStore {
    writer: EventWriter,
    directory: PathBuf,
    options: Options,
}

impl EventStore {
    /// Opens the log in `directory`, or begins one.
    pub(crate) fn open(directory: &Path, options: Options) -> Result<Self, LogError> {
        Ok(Self { writer: EventWriter::open(directory, &options)?, directory: directory.to_owned(), options })
    }

    /// Removes what need not be kept any longer. The anchor is left to the writer.
    pub(crate) fn retain(&self, retention: Retention) -> Result<Removed, LogError> {
        let options = Options { retention, anchor_file: None, ..self.options.clone() };
        event_log::retain(&self.directory, &options)
    }

    /// Where the log is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What appends to the log.
    pub(crate) fn writer(&self) -> &EventWriter {
        &self.writer
    }
}

impl EventSink for EventStore {
    fn record(&self, event: &Event) -> Result<(), Unrecordable> {
        self.writer.record(event).map_err(|_| Unrecordable)
    }

    fn record_durably(&self, event: &Event, done: oneshot::Sender<Result<(), Unrecordable>>) {
        self.writer.record_then(event, move |outcome| {
            // A request that was given up no longer waits for its event.
            let _ = done.send(outcome.map_err(|_| Unrecordable));
        });
    }

    fn is_writable(&self) -> bool {
        self.writer.is_writable()
    }

    fn keep(&self, keeping: Keeping) {
        self.writer.set_retention(retention(&keeping));
        self.writer.move_anchor(keeping.anchor_file);
    }

    fn query(&self, query: &str) -> Result<String, QueryError> {
        let query: EventQuery = query.parse().map_err(|problem: event_log::QueryProblem| {
            QueryError::Invalid { param: problem.param, message: problem.message }
        })?;
        // What was recorded before the question belongs to its answer; while the disk refuses or hangs, what is there is
        // shown.
        let _ = self.writer.sync_within(DISK_PATIENCE);
        let page = event_log::query(&self.directory, &query).map_err(|error| {
            tracing::error!(%error, "the event log cannot be read");
            QueryError::Unreadable
        })?;
        Ok(page.to_json())
    }
}

/// How long and how firmly events are kept.
pub(crate) fn retention(keeping: &Keeping) -> Retention {
    Retention { days: keeping.days, immutable: keeping.immutable }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kt_domain::clock::SystemClock;
    use kt_domain::events::EventType;

    use super::*;

    fn event(id: &str) -> Event {
        Event::new(EventType::IpDenied, id.to_owned(), "2026-03-15T12:00:00.000Z".to_owned(), "gw".into())
    }

    #[test]
    fn what_is_acknowledged_is_found_and_a_wrong_query_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = EventStore::open(directory.path(), Options::new(Arc::new(SystemClock))).unwrap();
        let (done, outcome) = oneshot::channel();
        store.record(&event("evt_lazy")).unwrap();
        store.record_durably(&event("evt_urgent"), done);
        assert_eq!(outcome.blocking_recv(), Ok(Ok(())));
        assert!(store.is_writable());

        let body: serde_json::Value =
            serde_json::from_str(&store.query("event_type=ip_denied").unwrap()).unwrap();
        assert_eq!(body["events"][0]["id"], "evt_urgent");
        assert_eq!(body["events"][1]["id"], "evt_lazy");
        let wrong = store.query("limit=0").unwrap_err();
        assert!(matches!(wrong, QueryError::Invalid { param, .. } if param == "limit"));
    }
}
