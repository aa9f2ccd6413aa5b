//! Where the gateway's events go in a test: into memory, unless the test makes that fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kt_domain::events::Event;
use kt_gateway::{EventSink, Keeping, QueryError, Unrecordable};
use tokio::sync::oneshot;

/// Whom a store is to tell when an event is on disk.
type Done = oneshot::Sender<Result<(), Unrecordable>>;

/// Keeps every event that it is given, in order.
#[derive(Default)]
pub(crate) struct RecordedEvents {
    events: Mutex<Vec<Event>>,
    state: Mutex<State>,
    panics: AtomicBool,
    /// Held while the disk hangs.
    disk: Mutex<()>,
    /// Who waits for a disk that hangs.
    waiting: Mutex<Vec<Done>>,
    keeping: Mutex<Option<Keeping>>,
}

/// How a store fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Well,
    /// It cannot write, and has room.
    Unwritable,
    /// It cannot write, and has no room left.
    Full,
}

impl RecordedEvents {
    pub(crate) fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next one who asks whether anything can be recorded meets a defect.
    pub(crate) fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// How events are to be kept, as was said last.
    pub(crate) fn keeping(&self) -> Option<Keeping> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the disk hang until what is given is dropped.
    pub(crate) fn hang(&self) -> MutexGuard<'_, ()> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for RecordedEvents {
    fn record(&self, event: &Event) -> Result<(), Unrecordable> {
        if self.state() == State::Full {
            return Err(Unrecordable);
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        Ok(())
    }

    fn record_durably(&self, event: &Event, done: Done) {
        let taken = self.record(event);
        if self.disk.try_lock().is_err() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(done);
            return;
        }
        let is_well = self.state() == State::Well;
        // The request that waits for this may be gone.
        let _ = done.send(taken.and(if is_well { Ok(()) } else { Err(Unrecordable) }));
    }

    fn is_writable(&self) -> bool {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a defect of the tests' own");
        self.state() == State::Well
    }

    fn keep(&self, keeping: Keeping) {
        *self.keeping.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeping);
    }

    fn query(&self, _: &str) -> Result<String, QueryError> {
        let _disk = self.hang();
        let events = serde_json::to_string(&self.all()).map_err(|_| QueryError::Unreadable)?;
        Ok(format!(r#"{{"events":{events},"next_cursor":null}}"#))
    }
}
