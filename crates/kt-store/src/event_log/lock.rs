//! One process at a time appends to a log: during a hand-over of the listening socket there are two.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{AtPath, LogError};

/// How long other processes may keep the log; each keeps it for one flush, or a few when they are slow.
const PATIENCE: Duration = Duration::from_secs(2);

/// The right to append, shared by all processes that have the log open. A process that wants it first takes the turn, and gives
/// that back once it has the right. So its holder can see that another process waits, and cannot get it again before that one.
pub(super) struct Lock {
    right: LockFile,
    turn: LockFile,
}

struct LockFile {
    file: Arc<File>,
    path: PathBuf,
}

/// Holds a lock until it is dropped.
pub(super) struct Held(Arc<File>);

impl Lock {
    pub(super) fn open(directory: &Path) -> Result<Self, LogError> {
        Ok(Self { right: LockFile::open(directory, "lock")?, turn: LockFile::open(directory, "turn")? })
    }

    /// Waits for the right to append.
    pub(super) fn hold(&self) -> Result<Held, LogError> {
        let end = Instant::now() + PATIENCE;
        let _turn = self.turn.hold_until(end)?;
        self.right.hold_until(end)
    }

    /// Whether another process waits for the right, which this one holds.
    pub(super) fn is_awaited(&self) -> bool {
        self.turn.try_hold().is_none()
    }
}

impl LockFile {
    fn open(directory: &Path, name: &str) -> Result<Self, LogError> {
        let path = directory.join(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path).at(&path)?;
        Ok(Self { file: Arc::new(file), path })
    }

    fn try_hold(&self) -> Option<Held> {
        self.file.try_lock().is_ok().then(|| Held(Arc::clone(&self.file)))
    }

    /// Waits for the lock, until `end` at the latest.
    fn hold_until(&self, end: Instant) -> Result<Held, LogError> {
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(Held(Arc::clone(&self.file))),
                Err(TryLockError::Error(source)) => return Err(source).at(&self.path),
                Err(TryLockError::WouldBlock) if Instant::now() > end => {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_waiting_process_is_seen_and_comes_before_the_last_holder() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [0, 1].map(|_| Lock::open(directory.path()).unwrap());
        let held = one.hold().unwrap();
        assert!(!one.is_awaited());
        let (order, came) = mpsc::channel();
        thread::scope(|scope| {
            let waits = order.clone();
            scope.spawn(move || {
                let held = other.hold().unwrap();
                waits.send("other").unwrap();
                drop(held);
            });
            let begun = Instant::now();
            while !one.is_awaited() {
                assert!(begun.elapsed() < PATIENCE, "nobody is seen");
                thread::yield_now();
            }
            drop(held);
            let held = one.hold().unwrap();
            order.send("one").unwrap();
            assert!(!one.is_awaited());
            drop(held);
        });
        assert_eq!([came.recv().unwrap(), came.recv().unwrap()], ["other", "one"]);
    }
}
