//! One process at a time appends to a log: during a hand-over of the listening socket there are two.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{AtPath, LogError};

/// How long another process may keep the log; each keeps it for one flush, or a few when they are slow.
const PATIENCE: Duration = Duration::from_secs(2);

/// The right to append, shared by all processes that have the log open.
pub(super) struct Lock {
    file: Arc<File>,
    path: PathBuf,
}

/// Holds the right until it is dropped.
pub(super) struct Held(Arc<File>);

impl Lock {
    pub(super) fn open(directory: &Path) -> Result<Self, LogError> {
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path).at(&path)?;
        Ok(Self { file: Arc::new(file), path })
    }

    /// Waits for the right to append.
    pub(super) fn hold(&self) -> Result<Held, LogError> {
        let start = Instant::now();
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(Held(Arc::clone(&self.file))),
                Err(TryLockError::Error(source)) => return Err(source).at(&self.path),
                Err(TryLockError::WouldBlock) if start.elapsed() > PATIENCE => {
                    return Err(LogError::Held(self.path.clone()));
                }
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing the file, at the latest when the process ends, gives the lock back in any case.
        let _ = self.0.unlock();
    }
}
