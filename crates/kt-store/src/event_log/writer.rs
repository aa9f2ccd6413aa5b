//! Group commit: events gather in a queue, one thread writes all that have gathered, and another one flushes them
//! meanwhile.

mod committer;
mod flusher;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kt_domain::events::{Entry, Event};

use super::bodies::Bodies;
use super::disk::{Disk, RealDisk};
use super::error::{AtPath, LogError};
use super::log::Log;
use super::{Options, Retention};
use committer::Committer;
use flusher::Flusher;

/// How long events gather before they are written together, when nobody waits for them. It is half of the 100 ms within
/// which an event is to be on disk; the disk has the other half.
const GATHERING: Duration = Duration::from_millis(50);

/// How many events are written without gathering further: turning more than these into lines would take of the disk's
/// half when processors are scarce.
const GROUP: usize = 256;

/// Called once an event is on disk, or cannot be.
type Done = Box<dyn FnOnce(Result<(), RecordError>) + Send>;

/// Why an event is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The disk does not take events at present; it is tried again.
    #[error("the event log cannot be written at present")]
    Unwritable,
    /// As many events wait for the disk as may.
    #[error("the event log has fallen too far behind")]
    Full,
    /// The writer was shut down.
    #[error("the event log is closed")]
    Closed,
}

/// Appends events to a log. Dropping it closes it.
pub struct EventWriter {
    shared: Arc<Shared>,
    gateway_id: Arc<str>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EventWriter {
    /// Opens the log in `directory`, or begins one.
    pub fn open(directory: &Path, options: &Options) -> Result<Self, LogError> {
        Self::open_on(Box::new(RealDisk), directory, options)
    }

    fn open_on(disk: Box<dyn Disk>, directory: &Path, options: &Options) -> Result<Self, LogError> {
        let log = Log::open(disk, directory, options)?;
        let gateway_id = Arc::clone(log.gateway_id());
        let shared = Arc::new(Shared::new(options));
        let flusher = Flusher::start(Arc::clone(&shared)).at(directory)?;
        let committer = Committer::new(Arc::clone(&shared), log, flusher, options);
        let thread = thread::Builder::new()
            .name("event-log".to_owned())
            .stack_size(256 << 10)
            .spawn(move || committer.run())
            .at(directory)?;
        Ok(Self { shared, gateway_id, thread: Mutex::new(Some(thread)) })
    }

    /// The gateway whose log it is.
    #[must_use]
    pub fn gateway_id(&self) -> &Arc<str> {
        &self.gateway_id
    }

    /// Takes `event`; it is on disk within 100 ms, or as soon as a disk that refuses takes events again. One that there is
    /// no room for is counted in an `events_lost` event instead.
    pub fn record(&self, event: &Event) -> Result<(), RecordError> {
        let body = body_of(event)?;
        let mut queue = self.shared.queue();
        self.shared.admit(&mut queue, &body)?;
        let is_needed = queue.writer_sleeps || queue.is_urgent();
        let is_woken = is_needed && queue.stop_waiting();
        self.shared.wake_if(is_woken, queue);
        Ok(())
    }

    /// Takes `event`, has it written at once, and calls `done` from the writer's thread when it is on disk; while the disk
    /// refuses, at once. After an error the event may still be written later; never twice.
    pub fn record_then(&self, event: &Event, done: impl FnOnce(Result<(), RecordError>) + Send + 'static) {
        let body = match body_of(event) {
            Ok(body) => body,
            Err(error) => return done(Err(error)),
        };
        let mut queue = self.shared.queue();
        let taken = self.shared.admit(&mut queue, &body);
        if let Err(error) = taken.and_then(|()| self.shared.promise()) {
            drop(queue);
            return done(Err(error));
        }
        queue.waiting.push(Box::new(done));
        let is_woken = queue.stop_waiting();
        self.shared.wake_if(is_woken, queue);
    }

    /// Whether what begins now can be recorded, as far as anybody can tell: the disk takes events at present, none has kept
    /// it busy for too long, and half of the places are free. The other half is for what has begun already.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        let Shared { refuses, capacity, .. } = &*self.shared;
        !refuses.load(Ordering::Relaxed) && !self.shared.is_stalled() && self.shared.behind() <= capacity / 2
    }

    /// Waits until every event that was taken so far is on disk. While the disk refuses it says so at once.
    pub fn sync(&self) -> Result<(), RecordError> {
        self.ask_to_sync()?.recv().unwrap_or(Err(RecordError::Closed))
    }

    /// The same, for no longer than `limit`; a disk that takes longer counts as one that refuses.
    pub fn sync_within(&self, limit: Duration) -> Result<(), RecordError> {
        self.ask_to_sync()?.recv_timeout(limit).unwrap_or(Err(RecordError::Unwritable))
    }

    /// Asks to be told when every event that was taken so far is on disk.
    fn ask_to_sync(&self) -> Result<mpsc::Receiver<Result<(), RecordError>>, RecordError> {
        let (done, outcome) = mpsc::sync_channel(1);
        let mut queue = self.shared.queue();
        if queue.is_closing {
            return Err(RecordError::Closed);
        }
        self.shared.promise()?;
        queue.waiting.push(Box::new(move |result| {
            // Who asked may have waited for long enough.
            let _ = done.send(result);
        }));
        let is_woken = queue.stop_waiting();
        self.shared.wake_if(is_woken, queue);
        Ok(outcome)
    }

    /// Writes what waits, signs a checkpoint, and closes the log; nothing is taken afterwards. Whoever calls this, the log is
    /// closed when it returns.
    pub fn close(&self) {
        let mut queue = self.shared.queue();
        queue.is_closing = true;
        self.shared.wake_if(true, queue);
        // Held meanwhile, so that others who close it wait too.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic there was already reported by the thread itself.
            let _ = thread.join();
        }
    }

    /// Whether everything that stands in the log is on disk for good, once it is closed: false for one whose disk failed to
    /// the end.
    #[must_use]
    pub fn is_closed_whole(&self) -> bool {
        self.shared.closed_whole.load(Ordering::Acquire)
    }

    /// Changes how long the events that come from now on are kept.
    pub fn set_retention(&self, retention: Retention) {
        self.shared.queue().retention = Some(retention);
    }

    /// Keeps the anchor in another file from now on, or in none. One that holds the anchor of another log is left alone, the
    /// former one stays, and the log of the process says so.
    pub fn move_anchor(&self, to: Option<PathBuf>) {
        let mut queue = self.shared.queue();
        queue.moved_anchor = Some(MovedAnchor { to });
        let is_woken = queue.stop_waiting();
        self.shared.wake_if(is_woken, queue);
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        self.close();
    }
}

/// The event as it is written. It is made by whoever records it: there its memory is still at hand, and soon free for the next.
fn body_of(event: &Event) -> Result<Vec<u8>, RecordError> {
    Entry::Event(event).open_body().map_err(|_| RecordError::Unwritable)
}

/// What the writer's thread and its callers share.
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Whether the disk refused what was last to be written. Set while the queue is held, so that nobody begins to wait for a
    /// disk that refuses.
    refuses: AtomicBool,
    /// Whether the log was closed with everything in it on disk.
    closed_whole: AtomicBool,
    /// How many events were taken and are not on disk, written or not.
    behind: AtomicUsize,
    /// Since when the disk has been at one piece of work, in milliseconds after `opened`; [`u64::MAX`] while it rests.
    at_work_since: AtomicU64,
    opened: Instant,
    stalled_after: Duration,
    capacity: usize,
}

/// A change of where the anchor is kept.
struct MovedAnchor {
    /// The file; `None` for none.
    to: Option<PathBuf>,
}

/// What waits for the disk.
#[derive(Default)]
struct Queue {
    events: Bodies,
    waiting: Vec<Done>,
    /// What came of the flush, once it has ended.
    flushed: Option<io::Result<()>>,
    /// How many events were refused since the last `events_lost`.
    refused: u64,
    retention: Option<Retention>,
    /// Where the anchor is to be kept, where that was changed.
    moved_anchor: Option<MovedAnchor>,
    is_closing: bool,
    /// The thread waits until something comes.
    writer_sleeps: bool,
    /// The thread lets events gather until they are urgent.
    writer_gathers: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        let has_changed = self.moved_anchor.is_some() || self.is_closing;
        self.events.is_empty() && self.waiting.is_empty() && self.refused == 0 && !has_changed
    }

    /// Whether there is something that is done between two turns only.
    fn asks_for_next_turn(&self) -> bool {
        self.refused > 0 || self.retention.is_some() || self.moved_anchor.is_some()
    }

    /// Whether what is there is to be written without waiting for more.
    fn is_urgent(&self) -> bool {
        self.is_closing || !self.waiting.is_empty() || self.events.len() >= GROUP
    }

    /// Notes that the thread is woken; false when it is awake already.
    fn stop_waiting(&mut self) -> bool {
        let slept = std::mem::take(&mut self.writer_sleeps);
        let gathered = std::mem::take(&mut self.writer_gathers);
        slept || gathered
    }
}

impl Shared {
    fn new(options: &Options) -> Self {
        Self {
            queue: Mutex::default(),
            wake: Condvar::new(),
            refuses: AtomicBool::new(false),
            closed_whole: AtomicBool::new(false),
            behind: AtomicUsize::new(0),
            at_work_since: AtomicU64::new(u64::MAX),
            opened: Instant::now(),
            stalled_after: options.stalled_after,
            capacity: options.queue_capacity,
        }
    }

    /// The queue stays consistent between any two of its operations, so a panic elsewhere does not spoil it.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more event wait while there is room, whether the disk takes any at present or not; otherwise it is counted.
    fn admit(&self, queue: &mut Queue, body: &[u8]) -> Result<(), RecordError> {
        let refusal = if queue.is_closing {
            RecordError::Closed
        } else if self.behind() >= self.capacity {
            RecordError::Full
        } else {
            self.behind.fetch_add(1, Ordering::Relaxed);
            queue.events.push(body);
            return Ok(());
        };
        queue.refused += 1;
        Err(refusal)
    }

    /// Whether anybody may wait for the disk. To be asked while the queue is held.
    fn promise(&self) -> Result<(), RecordError> {
        if self.refuses.load(Ordering::Relaxed) { Err(RecordError::Unwritable) } else { Ok(()) }
    }

    /// Notes that the disk refuses; gives who waits, to be told so.
    fn refuse(&self) -> Vec<Done> {
        let mut queue = self.queue();
        self.refuses.store(true, Ordering::Relaxed);
        std::mem::take(&mut queue.waiting)
    }

    fn behind(&self) -> usize {
        self.behind.load(Ordering::Relaxed)
    }

    /// Notes that the disk is asked for the next piece of work.
    fn begin_work(&self) {
        self.at_work_since.store(self.since_opened(), Ordering::Relaxed);
    }

    /// Notes that the disk is asked for nothing.
    fn rest(&self) {
        self.at_work_since.store(u64::MAX, Ordering::Relaxed);
    }

    /// Whether one piece of work has kept the disk busy for too long.
    fn is_stalled(&self) -> bool {
        let since = self.at_work_since.load(Ordering::Relaxed);
        since != u64::MAX
            && u128::from(self.since_opened().saturating_sub(since)) > self.stalled_after.as_millis()
    }

    /// In milliseconds.
    fn since_opened(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Wakes the thread after the queue was let go, so that it does not run into the lock.
    fn wake_if(&self, condition: bool, queue: MutexGuard<'_, Queue>) {
        drop(queue);
        if condition {
            self.wake.notify_one();
        }
    }

    /// Waits until what has come since `last_taken` has gathered for long enough or is urgent. When nothing has come,
    /// waits for the first event, at the latest until `deadline`, and gathers anew.
    fn wait_for_events(&self, last_taken: Instant, deadline: Option<Instant>) -> MutexGuard<'_, Queue> {
        let mut queue = self.gather_until(self.queue(), last_taken + GATHERING);
        if queue.is_idle() {
            queue = self.sleep_until(queue, deadline);
            queue = self.gather_until(queue, Instant::now() + GATHERING);
        }
        queue
    }

    /// Waits until `end`, or until what has gathered is urgent. A single event does not wake the thread meanwhile, so
    /// that it is woken once a group.
    fn gather_until<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, end: Instant) -> MutexGuard<'a, Queue> {
        while !queue.is_urgent() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue.writer_gathers = true;
            queue = self.wait(queue, Some(left));
            queue.writer_gathers = false;
        }
        queue
    }

    /// Waits until something comes; at the latest until `deadline`.
    fn sleep_until<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, Queue> {
        while queue.is_idle() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            queue.writer_sleeps = true;
            queue = self.wait(queue, left);
            queue.writer_sleeps = false;
        }
        queue
    }

    /// Waits until the flush has ended; with a moment at which events are `due`, until then or until there are enough.
    fn wait_for_flush(&self, due: Option<Instant>) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue();
        while queue.flushed.is_none() {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || (left.is_some() && queue.events.len() >= GROUP) {
                break;
            }
            queue.writer_gathers = true;
            queue = self.wait(queue, left);
            queue.writer_gathers = false;
        }
        queue
    }

    /// Tells the thread that writes what came of a flush.
    fn end_flush(&self, outcome: io::Result<()>) {
        let mut queue = self.queue();
        queue.flushed = Some(outcome);
        let is_woken = queue.stop_waiting();
        self.wake_if(is_woken, queue);
    }

    /// Waits for `pause`, or until the writer is to close.
    fn wait_for_closing(&self, pause: Duration) {
        let queue = self.queue();
        let waited = self.wake.wait_timeout_while(queue, pause, |queue| !queue.is_closing);
        drop(waited);
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>, left: Option<Duration>) -> MutexGuard<'a, Queue> {
        match left {
            Some(left) => self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
        }
    }
}
