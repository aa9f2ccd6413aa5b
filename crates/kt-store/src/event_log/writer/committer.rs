//! The thread that writes: takes what has gathered, appends it, goes on doing so while that is flushed, tells who waits,
//! and keeps trying while the disk refuses.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kt_domain::clock::Clock;
use kt_domain::events::{Event, EventType};
use kt_domain::id::event_id;
use kt_domain::random::Random;

use super::super::bodies::Bodies;
use super::super::log::Log;
use super::super::{LogError, Options, rfc_3339};
use super::flusher::Flusher;
use super::{Done, GATHERING, Queue, RecordError, Shared, body_of};

/// How long to wait before a disk that refused is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a turn may last when every flush ends with more to flush and there is a reason to end it.
pub(super) const TURN: Duration = Duration::from_millis(500);

/// How many events the queue keeps room for when it is empty.
const IDLE_ROOM: usize = 1024;

pub(super) struct Committer {
    shared: Arc<Shared>,
    log: Log,
    flusher: Flusher,
    clock: Arc<dyn Clock>,
    random: Random,
    checkpoints: Checkpoints,
    taken: Taken,
    is_closing: bool,
}

/// When entries are signed.
struct Checkpoints {
    interval: Duration,
    /// When those that no checkpoint covers are to get one.
    due: Option<Instant>,
}

/// What was taken from the queue and is not known to be on disk.
struct Taken {
    events: Bodies,
    waiting: Vec<Done>,
    /// When it was last added to; what is in the queue came later.
    last: Instant,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, log: Log, flusher: Flusher, options: &Options) -> Self {
        let mut committer = Self {
            shared,
            log,
            flusher,
            clock: Arc::clone(&options.clock),
            random: Random::from_os(),
            checkpoints: Checkpoints { interval: options.checkpoint_interval, due: None },
            taken: Taken { events: Bodies::default(), waiting: Vec::new(), last: Instant::now() },
            is_closing: false,
        };
        committer.checkpoints.schedule(&committer.log);
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
        match self.log.append_checkpoint() {
            Ok(()) => self.shared.closed_whole.store(true, Ordering::Release),
            Err(error) => tracing::warn!(%error, "the event log was closed without a last checkpoint"),
        }
    }

    /// Waits for events and takes all that have gathered, or none when a checkpoint is due.
    fn take_gathered(&mut self) {
        self.shared.rest();
        let mut queue = self.shared.wait_for_events(self.taken.last, self.checkpoints.due);
        self.shared.begin_work();
        self.taken.take_from(&mut queue);
        self.is_closing = queue.is_closing;
        if let Some(retention) = queue.retention.take() {
            self.log.set_retention(retention);
        }
        let refused = std::mem::take(&mut queue.refused);
        let moved_anchor = queue.moved_anchor.take();
        drop(queue);
        if let Some(Err(error)) = moved_anchor.map(|moved| self.log.move_anchor(moved.to)) {
            tracing::error!(%error, "the anchor file was not changed");
        }
        if refused > 0 {
            let lost = self.events_lost(refused);
            if let Ok(body) = body_of(&lost) {
                self.shared.behind.fetch_add(1, Ordering::Relaxed);
                self.taken.events.push(&body);
            }
        }
    }

    /// Writes what was taken, and a checkpoint when it is due, and tells who waits how it went.
    fn write_gathered(&mut self) -> Result<(), LogError> {
        if let Err(error) = self.append_taken() {
            // What was signed may have been cut off again.
            self.checkpoints.due = Some(Instant::now());
            self.taken.waiting.extend(self.shared.refuse());
            self.taken.tell_all(Err(RecordError::Unwritable));
            return Err(error);
        }
        // Who waits for nothing but what was on disk already.
        self.taken.tell_all(Ok(()));
        Ok(())
    }

    /// Writes what was taken and has it flushed; meanwhile takes and writes what gathers, so that it outlives the process.
    /// A turn ends when nothing is left to flush. Where it has to end sooner, its last flush is waited for without writing.
    fn append_taken(&mut self) -> Result<(), LogError> {
        let Self { shared, log, flusher, checkpoints, taken, .. } = self;
        if taken.events.is_empty() && !checkpoints.is_due() {
            return Ok(());
        }
        shared.begin_work();
        log.append(|log| {
            let end_of_turn = Instant::now() + TURN;
            checkpoints.write(log, taken.events.iter_from(0))?;
            loop {
                let (events, waiting) = (taken.events.len(), taken.waiting.len());
                let is_last = Instant::now() >= end_of_turn
                    && (shared.queue().asks_for_next_turn() || log.should_end_append());
                let (flush, work) = log.begin_flush();
                flusher.flush(work);
                let (flushed, written) = write_while_flushing(shared, log, taken, checkpoints, is_last);
                log.end_flush(flush, flushed)?;
                shared.behind.fetch_sub(events, Ordering::Relaxed);
                taken.settle(events, waiting);
                written?;
                if !log.is_unflushed() {
                    return Ok(());
                }
                shared.begin_work();
            }
        })
    }

    /// Tries until those events are on disk that were taken from the queue, in which others wait meanwhile.
    fn write_until_it_succeeds(&mut self) {
        loop {
            self.shared.wait_for_closing(PAUSE);
            let is_closing = self.shared.queue().is_closing;
            match self.write_gathered() {
                Ok(()) => break,
                Err(error) if is_closing => {
                    let events = self.shared.behind();
                    tracing::error!(%error, events, "events were lost: the event log cannot be written");
                    self.is_closing = true;
                    return;
                }
                Err(error) => tracing::debug!(%error, "the event log still cannot be written"),
            }
        }
        tracing::info!("the event log can be written again");
        self.shared.refuses.store(false, Ordering::Relaxed);
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

impl Checkpoints {
    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// Writes `events`, and a checkpoint if one is due; says when what is not covered then will be.
    fn write<'a>(
        &mut self,
        log: &mut Log,
        events: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<(), LogError> {
        let is_due = self.is_due();
        log.write_events(events, is_due)?;
        self.due = self.due.filter(|_| !is_due);
        self.schedule(log);
        Ok(())
    }

    fn schedule(&mut self, log: &Log) {
        self.due = log.is_uncovered().then(|| self.due.unwrap_or_else(|| Instant::now() + self.interval));
    }
}

/// Writes what gathers until the flush has ended, unless it is the last one; gives what came of the flush, and of the
/// writing.
fn write_while_flushing(
    shared: &Shared,
    log: &mut Log,
    taken: &mut Taken,
    checkpoints: &mut Checkpoints,
    is_last: bool,
) -> (io::Result<()>, Result<(), LogError>) {
    let mut written = Ok(());
    loop {
        let may_write = written.is_ok() && !is_last;
        let mut queue = shared.wait_for_flush(may_write.then_some(taken.last + GATHERING));
        if let Some(flushed) = queue.flushed.take() {
            return (flushed, written);
        }
        let known = taken.events.len();
        taken.take_from(&mut queue);
        drop(queue);
        written = checkpoints.write(log, taken.events.iter_from(known));
    }
}

impl Taken {
    fn take_from(&mut self, queue: &mut Queue) {
        self.last = Instant::now();
        self.events.append(&mut queue.events);
        self.waiting.append(&mut queue.waiting);
        queue.events.shrink_to(IDLE_ROOM);
    }

    /// Lets go of the first `events`, which are on disk, and tells the first `waiting` so.
    fn settle(&mut self, events: usize, waiting: usize) {
        self.events.remove_first(events);
        self.events.shrink_to(IDLE_ROOM);
        for done in self.waiting.drain(..waiting) {
            done(Ok(()));
        }
    }

    fn tell_all(&mut self, outcome: Result<(), RecordError>) {
        for done in self.waiting.drain(..) {
            done(outcome);
        }
    }
}

impl Drop for Committer {
    /// Leaves nobody waiting, also when the thread ends by a panic.
    fn drop(&mut self) {
        self.shared.queue().is_closing = true;
        self.taken.waiting.extend(self.shared.refuse());
        self.taken.tell_all(Err(RecordError::Closed));
    }
}
