//! A database of one's own for each test, on SQLite and on PostgreSQL.

use kt_domain::clock::ManualClock;
use kt_store::Store;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

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
}

impl TestDatabase {
    /// A database without any schema.
    pub(crate) async fn empty(kind: Kind) -> Self {
        let directory = TempDir::new().unwrap();
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}", directory.path().join("test.db").display()),
            Kind::Postgres => postgres_schema().await,
        };
        Self { url, _directory: directory }
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

/// A schema of its own on the server that `./test` starts: as good as a database, and quicker to make.
async fn postgres_schema() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests are told here where their server is")]
    let server = std::env::var("KEEPTRUSTS_TEST_POSTGRES").expect(
        "tests need a PostgreSQL server: ./test starts one; or run `e2e/postgres start DIR` and put the address that it \
         prints into KEEPTRUSTS_TEST_POSTGRES",
    );
    let schema = format!("test_{:016x}", kt_domain::random::Random::from_os().next_u64());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
    connection.close().await.unwrap();
    format!("{server}?options[search_path]={schema}")
}
