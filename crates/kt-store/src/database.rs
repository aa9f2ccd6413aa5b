//! One store on one of two databases: SQLite in a file, or PostgreSQL. This is the one place that knows the difference.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kt_domain::error::{Error, ErrorKind};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr, RuntimeErr,
    SqlErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::{Mutex, MutexGuard};
use url::Url;
use url::form_urlencoded::byte_serialize;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address of the database cannot be used.
    #[error("`{0}` is no address of a database: write sqlite://FILE or postgres://USER@HOST/NAME")]
    Address(String),
    /// The connection to the database would cross a network without protection, or nothing says that it may.
    #[error(
        "nothing says how the connection to PostgreSQL at {host} is protected: add `?sslmode=verify-full&sslrootcert=FILE` \
         to the address, or `?sslmode=disable` where the network between is your own and trusted"
    )]
    Unprotected {
        /// Where the database is.
        host: String,
    },
    /// A newer version of Keeptrusts has written this database.
    #[error(
        "the database is at schema {found} and this version knows {known}: use the newer version of kt that made it"
    )]
    Newer {
        /// The version found.
        found: usize,
        /// The newest version known.
        known: usize,
    },
    /// A step of the schema is not the one that this version knows.
    #[error("step {version} ({name}) of the database's schema was not made by a release of Keeptrusts")]
    ForeignSchema {
        /// The step's number.
        version: i64,
        /// The step's name.
        name: &'static str,
    },
    /// Steps of the schema are missing, and this role may not make them.
    #[error(
        "the database lacks steps of the schema ({}), and its role may not change the schema: run `kt admin migrate` with the \
         role that owns it, then start again",
        .pending.join(", ")
    )]
    MayNotMigrate {
        /// The names of the steps.
        pending: Vec<&'static str>,
    },
    /// The file of the database is being replaced.
    #[error("{} is being replaced by `kt admin restore`: try again when that is done", .0.display())]
    BeingReplaced(PathBuf),
    /// There is such a thing already.
    #[error("there is such a thing already")]
    Exists,
    /// A text holds the character NUL.
    #[error("a text holds the character NUL")]
    Nul,
    /// A stored value cannot be read.
    #[error("the stored {what} cannot be read: {why}")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The database refused or cannot be reached.
    #[error("the database failed: {0}")]
    Database(DbErr),
}

impl StoreError {
    /// Whether PostgreSQL says that the role may not do this (`insufficient_privilege`).
    pub(crate) fn is_for_want_of_rights(&self) -> bool {
        let Self::Database(
            DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)),
        ) = self
        else {
            return false;
        };
        error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| code == "42501")
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::Exists,
            _ => Self::Database(error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(_) => Self::unavailable(error),
            StoreError::Nul => {
                let message = "The character NUL stands in no name and no text here. Leave it out.";
                Self::new(ErrorKind::Invalid, "validation_error", message)
            }
            _ => Self::internal(error),
        }
    }
}

/// How many readers a SQLite file serves at once, beside its one writer.
const SQLITE_CONNECTIONS: u32 = 8;

/// How many connections one process opens to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;

/// How long to wait for a connection, or for SQLite's write lock held by another process.
const PATIENCE: Duration = Duration::from_secs(10);

/// The database. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Store {
    connection: DatabaseConnection,
    /// SQLite has one writer at a time; in one process they queue here, fairly, instead of polling the file's lock.
    writer: Option<Mutex<()>>,
    /// Keeps the file of SQLite from being replaced meanwhile.
    _in_use: Option<File>,
}

impl Store {
    /// Connects. The file of a SQLite database is made, readable by its owner alone, when there is none.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let mut options = ConnectOptions::new(url);
        options.sqlx_logging(false).acquire_timeout(PATIENCE).connect_timeout(PATIENCE);
        let is_sqlite = url.starts_with("sqlite:");
        let mut in_use = None;
        if is_sqlite {
            in_use = Some(hold(url)?);
            // A file does not hang up, and a question costs as much as a query.
            options.test_before_acquire(false);
            options.max_connections(SQLITE_CONNECTIONS).map_sqlx_sqlite_opts(|options| {
                options
                    .create_if_missing(true)
                    .foreign_keys(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // What is committed survives the loss of power, not only of the process.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(PATIENCE)
            });
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            require_protection(url)?;
            options.max_connections(POSTGRES_CONNECTIONS);
        } else {
            return Err(StoreError::Address(url.to_owned()));
        }
        let connection = Database::connect(options).await.map_err(StoreError::Database)?;
        Ok(Self { connection, writer: is_sqlite.then(Mutex::default), _in_use: in_use })
    }

    /// A store on a SQLite database that nobody else uses.
    pub(crate) fn of(connection: DatabaseConnection) -> Self {
        Self { connection, writer: Some(Mutex::default()), _in_use: None }
    }

    /// Opens a transaction that will write. What is read in it cannot be changed by others before it commits: SQLite
    /// takes the write lock at once; on PostgreSQL rows are compared and set, or locked by the statement that reads them.
    pub async fn begin_write(&self) -> Result<Tx<'_>, StoreError> {
        let turn = match &self.writer {
            Some(writer) => Some(writer.lock().await),
            None => None,
        };
        let options = TransactionOptions {
            sqlite_transaction_mode: self.writer.is_some().then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.connection.begin_with_options(options).await?;
        Ok(Tx { transaction, postgres: self.is_postgres(), _turn: turn })
    }

    /// Whether it is PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        self.writer.is_none()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.connection.ping().await?)
    }

    /// Closes all connections.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

/// The file of a SQLite database, as the driver reads its address; `None` for what is no SQLite database in a file.
#[must_use]
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let (database, _) = url.split_once('?').unwrap_or((url, ""));
    if !url.starts_with("sqlite:") || ["sqlite::memory:", "sqlite://:memory:"].contains(&database) {
        return None;
    }
    let options: SqliteConnectOptions = url.parse().ok()?;
    let path = options.get_filename();
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

/// The address of the SQLite database in this file: what [`sqlite_path`] reads.
#[must_use]
pub fn sqlite_url(file: &Path) -> String {
    let names = file.as_os_str().as_encoded_bytes().split(|byte| *byte == b'/');
    // In a form, a blank is a plus sign, and a plus sign is encoded.
    let encoded = names.map(|name| byte_serialize(name).collect::<String>().replace('+', "%20"));
    format!("sqlite://{}", encoded.collect::<Vec<_>>().join("/"))
}

/// Refuses an address in a network that does not say `sslmode`: the driver would take plain text when it is offered
/// nothing better (libpq's `prefer`), and whoever stands between could offer just that.
fn require_protection(url: &str) -> Result<(), StoreError> {
    let parsed = Url::parse(url).map_err(|_| StoreError::Address("postgres:…".to_owned()))?;
    let named =
        |name: &str| parsed.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let is_said = ["sslmode", "ssl-mode"].into_iter().any(|name| named(name).is_some());
    let host = named("host").or_else(|| parsed.host_str().map(str::to_owned)).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_near = bare.is_empty()
        || bare.starts_with('/')
        || bare.starts_with("%2F")
        || bare == "localhost"
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_said || is_near { Ok(()) } else { Err(StoreError::Unprotected { host }) }
}

/// Makes the file of a SQLite database with mode 0600 before the driver makes it with another, and holds it in use until
/// what is returned is dropped.
fn hold(url: &str) -> Result<File, StoreError> {
    let path = sqlite_path(url).ok_or_else(|| StoreError::Address(url.to_owned()))?;
    let opened = private_file(&path).and_then(|_| open_lock(&path));
    let lock = opened.map_err(|error| StoreError::Address(format!("{url} ({error})")))?;
    lock.try_lock_shared().map_err(|_| StoreError::BeingReplaced(path))?;
    Ok(lock)
}

/// The file by which those who use a SQLite database know of each other. Whoever uses it shares the lock on this one;
/// whoever replaces it holds the lock alone. The system lets go of it when a process ends, however it does.
pub(crate) fn open_lock(database: &Path) -> io::Result<File> {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    private_file(Path::new(&name))
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// An open transaction. Dropped without [`Tx::commit`], it changes nothing.
#[derive(Debug)]
pub struct Tx<'a> {
    transaction: DatabaseTransaction,
    postgres: bool,
    _turn: Option<MutexGuard<'a, ()>>,
}

impl Tx<'_> {
    /// Makes all changes of the transaction durable, or none.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.transaction.commit().await?)
    }

    /// Whether rows that are read in order to be changed must be locked by the statement that reads them.
    pub(crate) fn locks_rows(&self) -> bool {
        self.postgres
    }

    /// Keeps other writers of this table waiting until the transaction ends. SQLite has done so from its beginning.
    pub(crate) async fn lock_table(&self, table: &'static str) -> Result<(), StoreError> {
        if self.postgres {
            self.execute_batch(&format!("LOCK TABLE {table} IN EXCLUSIVE MODE")).await?;
        }
        Ok(())
    }

    pub(crate) async fn execute_batch(&self, sql: &str) -> Result<(), StoreError> {
        self.transaction.execute_unprepared(sql).await?;
        Ok(())
    }
}

/// Anything that can be asked: the store itself, or an open transaction, which sees its own changes.
pub trait Source: Sync {
    /// The connection to ask on.
    type Connection: ConnectionTrait + Sync;

    /// The connection to ask on. Queries stay in this crate.
    fn connection(&self) -> &Self::Connection;
}

impl Source for Store {
    type Connection = DatabaseConnection;

    fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }
}

impl Source for Tx<'_> {
    type Connection = DatabaseTransaction;

    fn connection(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_file_leads_to_that_file_whatever_its_name() {
        for name in [
            "/var/lib/kt/keeptrusts.db",
            "data/keeptrusts.db",
            "//twice/over.db",
            "a b/my%20db.sqlite",
            "c?d/e#f",
            "50% off",
            "a+b&c=d",
            "gr\u{fc}n.db",
            "sqlite:",
            ":memory:",
        ] {
            assert_eq!(sqlite_path(&sqlite_url(Path::new(name))), Some(PathBuf::from(name)), "{name}");
        }
        for (url, file) in [
            ("sqlite:///a/my%20db.sqlite", "/a/my db.sqlite"),
            ("sqlite:///a/my db.sqlite?mode=rwc", "/a/my db.sqlite"),
            ("sqlite:a%3Fb", "a?b"),
            ("sqlite:////a", "//a"),
        ] {
            assert_eq!(sqlite_path(url), Some(PathBuf::from(file)), "{url}");
        }
        for none in [
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite://:memory:?cache=shared",
            "postgres://kt@localhost/kt",
            "data/keeptrusts.db",
        ] {
            assert_eq!(sqlite_path(none), None, "{none}");
        }
    }

    #[test]
    fn a_database_across_a_network_says_how_it_is_reached() {
        for near in [
            "postgres://kt@localhost/kt",
            "postgres://kt@127.0.0.1:5432/kt",
            "postgres://kt@[::1]/kt",
            "postgres:///kt?host=/run/postgresql",
            "postgres://kt@%2Frun%2Fpostgresql/kt",
        ] {
            assert!(require_protection(near).is_ok(), "{near}");
        }
        for far in [
            "postgres://kt:secret@db.example.com/kt",
            "postgresql://kt@10.0.0.5/kt",
            "postgres://kt@[fd00::5]/kt",
        ] {
            let refused = require_protection(far).unwrap_err().to_string();
            assert!(refused.contains("sslmode=verify-full") && !refused.contains("secret"), "{refused}");
            for said in ["verify-full", "require", "disable"] {
                assert!(require_protection(&format!("{far}?sslmode={said}")).is_ok(), "{far} with {said}");
            }
        }
    }
}
