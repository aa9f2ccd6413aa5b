//! A database of one's own for each test, on SQLite and on PostgreSQL.

use std::thread;

use kt_domain::clock::ManualClock;
use kt_store::Store;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::runtime::Builder;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// An empty database, gone when this is.
pub(crate) struct TestDatabase {
    /// Where it is.
    pub(crate) url: String,
    /// Holds SQLite's file.
    _directory: TempDir,
    /// What it is on PostgreSQL.
    _schema: Option<Schema>,
}

impl TestDatabase {
    /// A database without any schema.
    pub(crate) async fn empty(kind: Kind) -> Self {
        let directory = directory();
        let (url, schema) = match kind {
            Kind::Sqlite => (format!("sqlite://{}", directory.path().join("test.db").display()), None),
            Kind::Postgres => {
                let schema = Schema::make().await;
                (schema.url(), Some(schema))
            }
        };
        Self { url, _directory: directory, _schema: schema }
    }

    /// Another connection to it, as another process has one.
    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }

    /// A store with the present schema.
    pub(crate) async fn migrated(kind: Kind) -> (Self, Store) {
        let database = Self::empty(kind).await;
        let store = database.store().await;
        store.migrate(&clock()).await.unwrap();
        (database, store)
    }
}

/// The moment at which tests begin.
pub(crate) fn clock() -> ManualClock {
    ManualClock::starting_at("2026-03-15T14:22:31Z".parse().unwrap())
}

/// For SQLite's file: in memory where `./test` has found room for that, since nothing in it is to outlive the test.
fn directory() -> TempDir {
    #[expect(clippy::disallowed_methods, reason = "tests are told here where there is room in memory")]
    let memory = std::env::var("KEEPTRUSTS_TEST_MEMORY");
    memory.map_or_else(|_| TempDir::new(), TempDir::new_in).unwrap()
}

/// A schema of its own on the server that `./test` starts: as good as a database, and quicker to make.
struct Schema {
    server: String,
    name: String,
}

impl Schema {
    async fn make() -> Self {
        #[expect(clippy::disallowed_methods, reason = "tests are told here where their server is")]
        let server = std::env::var("KEEPTRUSTS_TEST_POSTGRES").expect(
            "tests need a PostgreSQL server: ./test starts one; or run `e2e/postgres start DIR` and put the address that it \
             prints into KEEPTRUSTS_TEST_POSTGRES",
        );
        let name = format!("test_{:016x}", kt_domain::random::Random::from_os().next_u64());
        ask(&server, format!("CREATE SCHEMA {name}")).await.unwrap();
        Self { server, name }
    }

    fn url(&self) -> String {
        format!("{}?options[search_path]={}", self.server, self.name)
    }
}

impl Drop for Schema {
    /// However the test ends, hundreds of files go with it. Whoever still holds a lock there is sent away first. What cannot be
    /// removed goes with the server.
    fn drop(&mut self) {
        let Self { server, name } = self;
        let statements = format!(
            "SET client_min_messages = error;
             SET lock_timeout = '10s';
             SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
                 WHERE relnamespace = '{name}'::regnamespace;
             DROP SCHEMA {name} CASCADE"
        );
        // The runtime of the test does not wait for anything here.
        thread::scope(|scope| {
            scope.spawn(|| {
                Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map(|runtime| runtime.block_on(ask(server, statements)))
            });
        });
    }
}

async fn ask(server: &str, statements: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(server).await?;
    connection.execute(AssertSqlSafe(statements)).await?;
    connection.close().await
}
