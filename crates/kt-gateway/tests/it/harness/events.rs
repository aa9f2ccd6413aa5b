//! Where the gateway's events go in a test: into memory, unless the test makes that fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use kt_domain::events::Event;
use kt_gateway::{EventSink, QueryError, Unrecordable};
use tokio::sync::oneshot;

/// Keeps every event that it is given, in order.
#[derive(Default)]
pub(crate) struct RecordedEvents {
    events: Mutex<Vec<Event>>,
    broken: AtomicBool,
    panics: AtomicBool,
}

impl RecordedEvents {
    pub(crate) fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next one who asks whether anything can be recorded meets a defect.
    pub(crate) fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    pub(crate) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }
}

impl EventSink for RecordedEvents {
    fn record(&self, event: Event) -> Result<(), Unrecordable> {
        if !self.is_writable() {
            return Err(Unrecordable);
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        Ok(())
    }

    fn record_durably(&self, event: Event, done: oneshot::Sender<Result<(), Unrecordable>>) {
        // The request that waits for this may be gone.
        let _ = done.send(self.record(event));
    }

    fn is_writable(&self) -> bool {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a defect of the tests' own");
        !self.broken.load(Ordering::SeqCst)
    }

    fn query(&self, _: &str) -> Result<String, QueryError> {
        let events = serde_json::to_string(&self.all()).map_err(|_| QueryError::Unreadable)?;
        Ok(format!(r#"{{"events":{events},"next_cursor":null}}"#))
    }
}
