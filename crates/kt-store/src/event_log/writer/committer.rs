//! The thread that writes: takes what has gathered, appends it with one flush, tells who waits, and keeps trying while
//! the disk refuses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kt_domain::clock::Clock;
use kt_domain::events::{Event, EventType};
use kt_domain::id::event_id;
use kt_domain::random::Random;

use super::super::log::Log;
use super::super::{LogError, Options, rfc_3339};
use super::{Done, RecordError, Shared};

/// How long to wait before a disk that refused is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// How many events the queue keeps room for when it is empty.
const IDLE_ROOM: usize = 1024;

pub(super) struct Committer {
    shared: Arc<Shared>,
    log: Log,
    clock: Arc<dyn Clock>,
    random: Random,
    checkpoint_interval: Duration,
    /// When the entries that no checkpoint covers are to get one.
    checkpoint_due: Option<Instant>,
    /// When events were last taken from the queue; what is in it came later.
    last_taken: Instant,
    /// What is being written.
    events: Vec<Event>,
    waiting: Vec<Done>,
    is_closing: bool,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, log: Log, options: &Options) -> Self {
        let mut committer = Self {
            shared,
            log,
            clock: Arc::clone(&options.clock),
            random: Random::from_os(),
            checkpoint_interval: options.checkpoint_interval,
            checkpoint_due: None,
            last_taken: Instant::now(),
            events: Vec::new(),
            waiting: Vec::new(),
            is_closing: false,
        };
        committer.schedule_checkpoint();
        committer
    }

    /// Writes until the writer is closed.
    pub(super) fn run(mut self) {
        while !self.is_closing {
            self.take_gathered();
            if let Err(error) = self.write_gathered() {
                tracing::error!(%error, "the event log cannot be written; trying until it can");
                self.write_until_it_succeeds();
            }
        }
        if let Err(error) = self.log.append_checkpoint() {
            tracing::warn!(%error, "the event log was closed without a last checkpoint");
        }
    }

    /// Waits for events and takes all that have gathered, or none when a checkpoint is due.
    fn take_gathered(&mut self) {
        let mut queue = self.shared.wait_for_events(self.last_taken, self.checkpoint_due);
        self.last_taken = Instant::now();
        std::mem::swap(&mut queue.events, &mut self.events);
        std::mem::swap(&mut queue.waiting, &mut self.waiting);
        self.is_closing = queue.is_closing;
        if let Some(retention) = queue.retention.take() {
            self.log.set_retention(retention);
        }
        let refused = std::mem::take(&mut queue.refused);
        drop(queue);
        if refused > 0 {
            let lost = self.events_lost(refused);
            self.events.push(lost);
        }
    }

    /// Writes what was taken and tells who waits how it went; then a checkpoint, when it is due.
    fn write_gathered(&mut self) -> Result<(), LogError> {
        let appended = if self.events.is_empty() { Ok(()) } else { self.log.append(&self.events) };
        let outcome = if appended.is_ok() { Ok(()) } else { Err(RecordError::Unwritable) };
        if outcome.is_err() {
            self.shared.is_writable.store(false, Ordering::Relaxed);
        }
        for done in self.waiting.drain(..) {
            done(outcome);
        }
        appended?;
        self.events.clear();
        self.events.shrink_to(IDLE_ROOM);
        if self.checkpoint_due.is_some_and(|due| due <= Instant::now()) {
            self.log.append_checkpoint()?;
        }
        self.schedule_checkpoint();
        Ok(())
    }

    fn schedule_checkpoint(&mut self) {
        let uncovered_since = self.checkpoint_due.filter(|due| *due > Instant::now());
        let due = uncovered_since.unwrap_or_else(|| Instant::now() + self.checkpoint_interval);
        self.checkpoint_due = self.log.is_uncovered().then_some(due);
    }

    /// Refuses events until those that were taken are on disk.
    fn write_until_it_succeeds(&mut self) {
        self.shared.is_writable.store(false, Ordering::Relaxed);
        loop {
            self.shared.wait_for_closing(PAUSE);
            self.is_closing = self.shared.queue().is_closing;
            match self.write_gathered() {
                Ok(()) => break,
                Err(error) if self.is_closing => {
                    let events = self.events.len();
                    tracing::error!(%error, events, "events were lost: the event log cannot be written");
                    return;
                }
                Err(error) => tracing::debug!(%error, "the event log still cannot be written"),
            }
        }
        tracing::info!("the event log can be written again");
        self.shared.is_writable.store(true, Ordering::Relaxed);
    }

    fn events_lost(&mut self, count: u64) -> Event {
        let now = self.clock.now();
        let id = event_id(now.as_microsecond(), &mut self.random);
        let mut event =
            Event::new(EventType::EventsLost, id, rfc_3339(now), Arc::clone(self.log.gateway_id()));
        event.count = Some(count);
        event
    }
}

impl Drop for Committer {
    /// Leaves nobody waiting, also when the thread ends by a panic.
    fn drop(&mut self) {
        self.shared.is_writable.store(false, Ordering::Relaxed);
        let mut queue = self.shared.queue();
        queue.is_closing = true;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        for done in self.waiting.drain(..).chain(waiting) {
            done(Err(RecordError::Closed));
        }
    }
}
