//! The gateway's event log on its way to the control plane: its entries in order, each until it has arrived.
//!
//! The log on this machine's disk is the spool. What was delivered is remembered by the last entry's number and hash;
//! what is delivered twice (after a crash in between) is recognised there by its place in the chain.

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kt_domain::events::Head;
use kt_store::event_log::{Batch, BatchSize, EventWriter, Follower, LogError, RecordError};
use tokio::sync::watch;

use super::plane::{Plane, PlaneError};
use crate::event_store::EventStore;
use crate::failure::Failure;
use crate::kept_up::until;

/// One delivery.
const SIZE: BatchSize = BatchSize { entries: 1000, bytes: 1 << 20 };

/// How often the log is looked at for something new. What comes in between is delivered together: each delivery costs a flush
/// of the log and a request.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long to wait after the first failure; twice as long after each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Delivers a log.
pub(super) struct Delivery {
    plane: Plane,
    events: Arc<EventStore>,
    follower: Follower,
    position: PositionFile,
}

/// Where it is remembered how far the log was delivered.
struct PositionFile(PathBuf);

impl Delivery {
    /// Goes on where an earlier life of this gateway came to.
    pub(super) fn open(events: Arc<EventStore>, plane: Plane) -> Result<Self, Failure> {
        let position = PositionFile(events.directory().join("delivered.json"));
        let follower = Follower::open(events.directory(), position.load())
            .map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { plane, events, follower, position })
    }

    /// Opens it anew, as often as it takes.
    pub(super) async fn reopen(events: Arc<EventStore>, plane: Plane) -> Self {
        loop {
            match Self::open(Arc::clone(&events), plane.clone()) {
                Ok(delivery) => return delivery,
                Err(error) => tracing::error!(%error, "the event log cannot be read for delivery"),
            }
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
    }

    /// Delivers until `ended` says so and everything has arrived, or nobody is there yet to deliver to.
    pub(super) async fn run(mut self, mut ended: watch::Receiver<bool>) {
        loop {
            // Asked first: whoever says so has closed the log before, and what was read may be older than that.
            let is_last = *ended.borrow_and_update();
            let next;
            (self, next) = self.read().await;
            match next {
                Ok(Some(batch)) => {
                    let has_more_behind = batch.has_more_behind;
                    if self.deliver(batch, &ended).await.is_break() {
                        tracing::info!(
                            "nobody has set up an organization yet; events are kept on this machine's disk and delivered once somebody has"
                        );
                        return;
                    }
                    if !has_more_behind && !is_last {
                        something_new(&mut ended).await;
                    }
                }
                Ok(None) if is_last => return,
                Ok(None) => something_new(&mut ended).await,
                Err(error) => {
                    tracing::error!(%error, "the event log cannot be read for delivery");
                    tokio::time::sleep(LONGEST_PAUSE).await;
                }
            }
        }
    }

    /// Reads what is on disk for good, on a thread where nothing else waits. What a loss of power or a disk that fails could
    /// still take back is not delivered: the log would go on differently from what the control plane knows.
    async fn read(mut self) -> (Self, Result<Option<Batch>, LogError>) {
        let read = tokio::task::spawn_blocking(move || {
            let Self { follower, events, .. } = &mut self;
            let next = follower.next_settled(SIZE, || is_settled(events.writer()));
            (self, next)
        });
        match read.await {
            Ok(read) => read,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only when the process ends is such a thread not let finish.
            Err(_) => std::future::pending().await,
        }
    }

    /// Is ready once the control plane has all of `batch`, or has named another place to go on from. Breaks off when
    /// nobody has set it up by the time that `ended` says so.
    async fn deliver(&mut self, batch: Batch, ended: &watch::Receiver<bool>) -> ControlFlow<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            let entries = &batch.entries;
            match self.plane.deliver(self.events.writer().gateway_id(), entries).await {
                Ok(()) => {
                    self.position.store(batch.head);
                    return ControlFlow::Continue(());
                }
                Err(PlaneError::Gap) if self.is_whole() => {
                    self.begin_anew();
                    return ControlFlow::Continue(());
                }
                Err(PlaneError::NotSetUp) if *ended.borrow() => return ControlFlow::Break(()),
                Err(PlaneError::NotSetUp) => until(ended.clone(), tokio::time::sleep(pause)).await,
                Err(reason) => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%reason, "events cannot be delivered; they wait on this machine's disk");
                    }
                    tokio::time::sleep(pause).await;
                }
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Whether it has not begun anew already.
    fn is_whole(&self) -> bool {
        self.position.load().is_some()
    }

    /// The control plane lacks entries, as after it was set back to a backup: it gets them all again.
    fn begin_anew(&mut self) {
        tracing::warn!("the control plane lacks events that it had; all that are here are delivered again");
        self.position.forget();
        match Follower::open(self.events.directory(), None) {
            Ok(follower) => self.follower = follower,
            Err(error) => tracing::error!(%error, "the event log cannot be read for delivery"),
        }
    }
}

/// Is over when it is worth looking again: after a while, or because `ended` says something.
async fn something_new(ended: &mut watch::Receiver<bool>) {
    // Whichever it was makes no difference.
    let _ = tokio::time::timeout(LOOK_EVERY, ended.changed()).await;
}

/// Waits until everything that was written so far is on disk; `false` when it never will be, in a log whose disk failed
/// until it was closed.
fn is_settled(writer: &EventWriter) -> bool {
    loop {
        match writer.sync() {
            Ok(()) => return true,
            Err(RecordError::Closed) => {
                // It may be about to.
                writer.close();
                return writer.is_closed_whole();
            }
            Err(RecordError::Unwritable | RecordError::Full) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

impl PositionFile {
    /// Without one, or with one that cannot be read, everything is delivered anew: what arrived is recognised.
    fn load(&self) -> Option<Head> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "it is not known which events were delivered; all are delivered anew");
                return None;
            }
        };
        serde_json::from_slice(&text).ok()
    }

    fn forget(&self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, "how far events were delivered is remembered wrongly");
        }
    }

    fn store(&self, head: Head) {
        let new = self.0.with_extension("new");
        let stored = serde_json::to_vec(&head)
            .map_err(std::io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &self.0));
        if let Err(error) = stored {
            tracing::warn!(%error, "how far events were delivered cannot be remembered");
        }
    }
}
