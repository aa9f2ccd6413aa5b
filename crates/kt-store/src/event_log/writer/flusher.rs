//! The thread that waits for the disk, so that the one that writes need not.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use super::super::log::FlushWork;
use super::Shared;

/// Does the work of flushes, one after the other, and tells the queue how it went.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    work: mpsc::Sender<FlushWork>,
}

impl Flusher {
    /// Starts the thread; it ends when the flusher is dropped.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (work, to_do) = mpsc::channel::<FlushWork>();
        let told = Arc::clone(&shared);
        thread::Builder::new().name("event-flush".to_owned()).stack_size(128 << 10).spawn(move || {
            for work in to_do {
                told.end_flush(work.run());
            }
        })?;
        Ok(Self { shared, work })
    }

    /// Has `work` done; the outcome comes to the queue.
    pub(super) fn flush(&self, work: FlushWork) {
        if self.work.send(work).is_err() {
            self.shared.end_flush(Err(io::Error::other("the thread that flushes has ended")));
        }
    }
}
