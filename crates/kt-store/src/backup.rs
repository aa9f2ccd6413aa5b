//! Copies of a SQLite database: taken while it is used, proven to be whole, and put back when nobody uses it.
//!
//! PostgreSQL has its own tools for that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sea_orm::{ConnectOptions, Database};

use crate::database::{Store, StoreError, open_lock, sqlite_path};
use crate::migrate::STEPS;
use crate::sql::{self, values};

/// Why there is no copy, or none was put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// PostgreSQL is copied by its own tools.
    #[error("this database is PostgreSQL: copy it with pg_dump and put it back with pg_restore")]
    Postgres,
    /// There is something at that place.
    #[error("{} exists already", .0.display())]
    Occupied(PathBuf),
    /// The file is no whole database of Keeptrusts.
    #[error("{} is no whole copy of a database: {why}", path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file is the copy of another database than the one it is to replace.
    #[error("{} cannot be put back, and nothing was changed: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How that shows.
        why: String,
    },
    /// A server or a command uses the database.
    #[error("{} is in use: stop the server first", .0.display())]
    InUse(PathBuf),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What SQLite keeps beside a database in use: what was written last, and an index of that.
const LOGS: [&str; 2] = ["-wal", "-shm"];

/// Where a copy to `to` grows until it is whole.
#[must_use]
pub fn growing(to: &Path) -> PathBuf {
    beside(to, ".part")
}

impl Store {
    /// Copies the database as it is at this moment to the new file `to`, readable by its owner alone. Others go on
    /// reading and writing meanwhile. The copy is there whole or not at all.
    pub async fn back_up(&self, to: &Path) -> Result<(), BackupError> {
        if self.is_postgres() {
            return Err(BackupError::Postgres);
        }
        if to.exists() {
            return Err(BackupError::Occupied(to.to_owned()));
        }
        let part = growing(to);
        let copied = self.copy_to(&part).await;
        let placed = match copied {
            Ok(()) => std::fs::rename(&part, to).and_then(|()| sync_directory_of(to)).map_err(at(to)),
            Err(error) => Err(error),
        };
        if placed.is_err() {
            // What failed may have left nothing to remove.
            let _ = std::fs::remove_file(&part);
        }
        placed
    }

    async fn copy_to(&self, part: &Path) -> Result<(), BackupError> {
        // SQLite fills an empty file, and leaves its mode as it is.
        private().create(true).truncate(true).open(part).map_err(at(part))?;
        sql::execute_outside(self, "VACUUM INTO $1", values![part.to_string_lossy().into_owned()]).await?;
        File::open(part).and_then(|file| file.sync_all()).map_err(at(part))?;
        check(part, part, async |_| Ok(())).await
    }
}

/// Puts the copy `from` in the place of the SQLite database at `url`. Refused while anything uses that, when `belongs` says
/// why the copy does not belong here, and, unless `replace` is set, when there is a database; one that is replaced is kept
/// beside it and its place is returned. Whatever is refused has changed nothing.
pub async fn restore(
    from: &Path,
    url: &str,
    replace: bool,
    belongs: impl AsyncFnOnce(&Store) -> Result<(), String>,
) -> Result<Option<PathBuf>, BackupError> {
    let target = sqlite_path(url).ok_or(BackupError::Postgres)?;
    let lock = open_lock(&target).map_err(at(&target))?;
    lock.try_lock().map_err(|_| BackupError::InUse(target.clone()))?;
    let is_occupied = target.metadata().is_ok_and(|there| there.len() > 0);
    if is_occupied && !replace {
        return Err(BackupError::Occupied(target));
    }
    let part = growing(&target);
    let (whole, copied) = (from.to_owned(), part.clone());
    let copying = tokio::task::spawn_blocking(move || copy(&whole, &copied)).await;
    copying.map_err(io::Error::other).flatten().map_err(at(from))?;
    if let Err(error) = check(&part, from, belongs).await {
        // The complaint matters more than what is left.
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    let replaced = is_occupied.then(|| free_place_beside(&target));
    if let Some(aside) = &replaced {
        std::fs::rename(&target, aside).map_err(at(aside))?;
    }
    // What is in the log belongs to the database that was moved aside, and to no other.
    for suffix in LOGS {
        let log = beside(&target, suffix);
        let moved = match &replaced {
            Some(aside) => std::fs::rename(&log, beside(aside, suffix)),
            None => std::fs::remove_file(&log),
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&log)(error)),
            _ => {}
        }
    }
    std::fs::rename(&part, &target).and_then(|()| sync_directory_of(&target)).map_err(at(&target))?;
    Ok(replaced)
}

/// Where a database that is replaced is kept: where there is neither another one nor a log that SQLite would take for its.
fn free_place_beside(target: &Path) -> PathBuf {
    let mut number = 1_u64;
    loop {
        let place = beside(target, &format!(".replaced-{number}"));
        let is_free = |suffix: &&str| beside(&place, suffix).symlink_metadata().is_err();
        if is_free(&"") && LOGS.iter().all(is_free) {
            return place;
        }
        number += 1;
    }
}

/// Proves that a file is a whole database, of a schema that this version can bring to the present, and belongs where it is
/// to be. What is wrong is said of the file `named`.
async fn check(
    path: &Path,
    named: &Path,
    belongs: impl AsyncFnOnce(&Store) -> Result<(), String>,
) -> Result<(), BackupError> {
    let not_whole = |why: String| BackupError::NotWhole { path: named.to_owned(), why };
    let file = path.to_owned();
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.sqlx_logging(false).max_connections(1).map_sqlx_sqlite_opts(move |options| {
        // Nothing may be written beside it, and nobody else has it open.
        options.filename(&file).in_memory(false).read_only(true).immutable(true)
    });
    let connection = Database::connect(options).await.map_err(|error| not_whole(error.to_string()))?;
    let store = Store::of(connection);
    let checked = match store.check_whole().await {
        Ok(None) => {
            let foreign = |why| BackupError::Foreign { path: named.to_owned(), why };
            belongs(&store).await.map_err(foreign)
        }
        Ok(Some(why)) => Err(not_whole(why)),
        Err(error) => Err(not_whole(error.to_string())),
    };
    store.close().await?;
    checked
}

impl Store {
    /// What is wrong with the database, if anything is.
    async fn check_whole(&self) -> Result<Option<String>, StoreError> {
        let found = sql::row(self, "PRAGMA integrity_check(1)", values![]).await?;
        let found: String = found.map_or(Ok(String::new()), |row| row.get("integrity_check"))?;
        if found != "ok" {
            return Ok(Some(found));
        }
        let is_ours = self.pending_migrations().await?.len() < STEPS;
        Ok((!is_ours).then(|| "Keeptrusts has not made it".to_owned()))
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = private().create(true).truncate(true).open(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.sync_all()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// A renamed file stays renamed after a loss of power once its directory is on disk.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    |error| BackupError::File { path, error }
}
