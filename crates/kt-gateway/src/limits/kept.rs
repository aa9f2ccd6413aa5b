//! What is spent of budgets, kept in a file beside the process, so that a restart gives nobody their budget back.
//!
//! It is written once a second while it changes, with what requests under way have claimed: a process that is killed
//! forgets a second of spending at most, and charges what it could not settle. Events are no substitute: a month of them
//! takes minutes to read, and an operator may have chosen not to keep those of requests that went well.
//!
//! While a process takes over from another, both spend and one of them writes: whoever holds the lock beside the file. The
//! other adds what was written meanwhile once it gets the lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Claim, Measure, Memory, Spending, Subject, Unit};

/// The file.
pub(crate) struct Kept {
    path: PathBuf,
    lock: File,
    state: Mutex<State>,
}

struct State {
    turn: Turn,
    /// What stood in it when this process looked last, or wrote it.
    known: Vec<Entry>,
}

/// What is spent of one period of a budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    budget: Arc<str>,
    subject: String,
    unit: Unit,
    until: i64,
    spent: i64,
}

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Another process, still.
    Others,
    /// This one.
    Own,
    /// This one no more.
    Over,
}

impl Kept {
    /// Opens the file at `path`, which need not be there, and puts into `memory` what is in it.
    pub(crate) fn open(path: PathBuf, memory: &Memory, now: i64) -> io::Result<Self> {
        let lock = File::options().create(true).append(true).mode(0o600).open(path.with_extension("lock"))?;
        let turn = if is_locked(&lock)? { Turn::Own } else { Turn::Others };
        let mut state = State { turn, known: Vec::new() };
        state.learn(&path, memory, now)?;
        Ok(Self { path, lock, state: Mutex::new(state) })
    }

    /// Writes what is spent at `now`, unless it stands there already. It is on disk afterwards. Nothing is written while
    /// another process still writes.
    pub(crate) fn write(&self, memory: &Memory, now: i64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.turn == Turn::Others && is_locked(&self.lock)? {
            state.learn(&self.path, memory, now)?;
            state.turn = Turn::Own;
        }
        if state.turn != Turn::Own {
            return Ok(());
        }
        let mut entries: Vec<Entry> = memory.spent(now).into_iter().map(Entry::from).collect();
        entries.sort();
        if state.known == entries {
            return Ok(());
        }
        replace(&self.path, &serde_json::to_vec(&entries)?)?;
        state.known = entries;
        Ok(())
    }

    /// Writes what is spent in the end, and leaves the file to whoever takes over.
    pub(crate) fn leave(&self, memory: &Memory, now: i64) -> io::Result<()> {
        self.write(memory, now)?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).turn = Turn::Over;
        self.lock.unlock()
    }
}

impl State {
    /// Adds to `memory` what others have spent since the file was looked at.
    fn learn(&mut self, path: &Path, memory: &Memory, now: i64) -> io::Result<()> {
        let entries = read(path)?;
        for entry in entries.iter().filter(|entry| entry.until > now) {
            let Some(claim) = entry.claim() else { continue };
            let before =
                self.known.iter().find(|known| known.is_of_same(entry)).map_or(0, |known| known.spent);
            memory.add(&claim, entry.spent - before, now);
        }
        self.known = entries;
        Ok(())
    }
}

/// Whether this process has the lock from now on.
fn is_locked(lock: &File) -> io::Result<bool> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<Vec<Entry>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|why| io::Error::other(format!("{} cannot be read: {why}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Puts `text` in the place of what stands in the file: whole or not at all. Who spends how much is for the file's owner
/// alone to read.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

impl From<(Subject, Spending, i64)> for Entry {
    fn from((subject, Spending { budget, unit, until }, spent): (Subject, Spending, i64)) -> Self {
        Self { budget, subject: subject.to_string(), unit, until, spent }
    }
}

impl Entry {
    /// Whether both are of one period of one subject's budget.
    fn is_of_same(&self, other: &Self) -> bool {
        (self.until, self.unit, &self.budget, &self.subject)
            == (other.until, other.unit, &other.budget, &other.subject)
    }

    /// A claim on what it is of, for nothing.
    fn claim(&self) -> Option<Claim> {
        let named = |kind: &str| Some(self.subject.strip_prefix(kind)?.strip_prefix(':')?.into());
        let subject = match self.subject.as_str() {
            "total" => Subject::Everybody,
            _ => (named("key").map(Subject::Key))
                .or_else(|| named("user").map(Subject::User))
                .or_else(|| named("group").map(Subject::Group))
                .or_else(|| named("model").map(Subject::Model))?,
        };
        let spending = Spending { budget: Arc::clone(&self.budget), unit: self.unit, until: self.until };
        Some(Claim::new(subject, Measure::Spent(spending), u64::MAX, 0))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn spend(memory: &Memory, subject: &Subject, until: i64, amount: u64) {
        let spending = Spending { budget: "b: \"x\"".into(), unit: Unit::Cost, until };
        let claim = Claim::new(subject.clone(), Measure::Spent(spending), u64::MAX, amount);
        memory.take(&[claim], 0).unwrap();
    }

    fn sorted(memory: &Memory, now: i64) -> Vec<Entry> {
        let mut all: Vec<Entry> = memory.spent(now).into_iter().map(Entry::from).collect();
        all.sort();
        all
    }

    #[test]
    fn a_process_that_takes_over_adds_what_the_other_still_spends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("budgets.json");
        let spent = |memory: &Memory| sorted(memory, 0).iter().map(|entry| entry.spent).collect::<Vec<_>>();
        let (old, new) = (Memory::default(), Memory::default());
        let of_old = Kept::open(path.clone(), &old, 0).unwrap();
        spend(&old, &Subject::Everybody, DAY, 100);
        of_old.write(&old, 0).unwrap();
        let of_new = Kept::open(path.clone(), &new, 0).unwrap();
        assert_eq!(spent(&new), [100]);

        spend(&new, &Subject::Everybody, DAY, 7);
        of_new.write(&new, 0).unwrap();
        spend(&old, &Subject::Everybody, DAY, 30);
        of_old.write(&old, 0).unwrap();
        assert_eq!(read(&path).unwrap()[0].spent, 130, "one of them writes");
        drop(of_old);
        of_new.write(&new, 0).unwrap();
        assert_eq!((spent(&new), read(&path).unwrap()[0].spent), (vec![137], 137));
    }

    #[test]
    fn what_is_spent_is_there_again_until_its_period_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("budgets.json");
        let before = Memory::default();
        let kept = Kept::open(path.clone(), &before, 0).unwrap();
        let subjects = [
            Subject::Everybody,
            Subject::Key("user:a".into()),
            Subject::User("usr_1".into()),
            Subject::Group("ops".into()),
            Subject::Model("gpt-*".into()),
        ];
        for (amount, subject) in (5..).zip(&subjects) {
            spend(&before, subject, DAY, amount);
            spend(&before, subject, 2 * DAY, amount * 10);
        }
        kept.write(&before, 0).unwrap();

        let after = Memory::default();
        Kept::open(path.clone(), &after, 0).unwrap();
        assert_eq!((sorted(&after, 0).len(), sorted(&after, 0)), (10, sorted(&before, 0)));
        let next_day = Memory::default();
        Kept::open(path, &next_day, DAY).unwrap();
        assert_eq!(sorted(&next_day, 0), sorted(&before, DAY), "what is over is forgotten");
    }

    #[test]
    fn files_are_for_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("budgets.json");
        let memory = Memory::default();
        let kept = Kept::open(path.clone(), &memory, 0).unwrap();
        spend(&memory, &Subject::Key("user:a".into()), DAY, 5);
        kept.write(&memory, 0).unwrap();
        for file in [path.with_extension("lock"), path] {
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.display());
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("budgets.json");
        fs::write(&path, "[{").unwrap();
        assert!(Kept::open(path, &Memory::default(), 0).is_err());
    }
}
