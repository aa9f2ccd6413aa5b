//! The thread that waits for the disk, so that the one that writes need not.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use super::super::disk::LogFile;
use super::Shared;

/// Flushes files, one after the other, and tells the queue how it went.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    files: mpsc::Sender<Arc<dyn LogFile>>,
}

impl Flusher {
    /// Starts the thread; it ends when the flusher is dropped.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (files, to_flush) = mpsc::channel::<Arc<dyn LogFile>>();
        let told = Arc::clone(&shared);
        thread::Builder::new().name("event-flush".to_owned()).stack_size(128 << 10).spawn(move || {
            for file in to_flush {
                told.end_flush(file.sync());
            }
        })?;
        Ok(Self { shared, files })
    }

    /// Has `file` flushed; the outcome comes to the queue.
    pub(super) fn flush(&self, file: Arc<dyn LogFile>) {
        if self.files.send(file).is_err() {
            self.shared.end_flush(Err(io::Error::other("the thread that flushes has ended")));
        }
    }
}
