//! Brings a database to the present schema: forward only, each step once, one process at a time.

use kt_domain::clock::Clock;
use kt_domain::secret::SecretDigest;

use crate::database::{Source, Store, StoreError, Tx};
use crate::sql::{self, values};

/// A step, in the order of its number. A released step is never changed.
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "control_plane",
    sql: include_str!("../migrations/0001_control_plane.sql"),
}];

/// How many steps there are.
pub(crate) const STEPS: usize = MIGRATIONS.len();

const LEDGER: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    applied_at BIGINT NOT NULL
)";

/// Names the lock under which PostgreSQL's steps run; any number would do.
const ADVISORY_LOCK: i64 = 0x6b74_7374_6f72;

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version of the schema now.
    pub version: i64,
    /// The names of the steps that were applied.
    pub applied: Vec<&'static str>,
}

impl Store {
    /// Applies the steps that are missing, all or none. Other processes that try at the same time wait.
    ///
    /// Fails, and changes nothing, when the database was made by a newer version or a step in it is not the one
    /// this version knows.
    pub async fn migrate(&self, clock: &dyn Clock) -> Result<Migrated, StoreError> {
        let tx = self.begin_write().await?;
        if self.is_postgres() {
            tx.execute_batch(&format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
        }
        tx.execute_batch(LEDGER).await?;
        let applied_before = applied(&tx).await?;
        check(&applied_before)?;
        let mut names = Vec::new();
        for migration in &MIGRATIONS[applied_before.len()..] {
            tx.execute_batch(migration.sql).await?;
            record(&tx, migration, clock.now_micros()).await?;
            names.push(migration.name);
        }
        tx.commit().await?;
        Ok(Migrated { version: MIGRATIONS.last().map_or(0, |last| last.version), applied: names })
    }
}

impl Store {
    /// The names of the steps that [`Store::migrate`] would apply. Nothing is changed. Fails where that would.
    pub async fn pending_migrations(&self) -> Result<Vec<&'static str>, StoreError> {
        let is_empty = if self.is_postgres() {
            let found =
                sql::row(self, "SELECT to_regclass('schema_migrations') IS NULL AS absent", values![]);
            found.await?.map_or(Ok(true), |row| row.get("absent"))?
        } else {
            const FIND: &str = "SELECT name FROM sqlite_schema WHERE name = 'schema_migrations'";
            sql::row(self, FIND, values![]).await?.is_none()
        };
        let applied = if is_empty { Vec::new() } else { applied(self).await? };
        check(&applied)?;
        Ok(MIGRATIONS[applied.len()..].iter().map(|migration| migration.name).collect())
    }
}

/// The digests of the steps that were applied, in order.
async fn applied(source: &impl Source) -> Result<Vec<String>, StoreError> {
    let rows = sql::rows(source, "SELECT digest FROM schema_migrations ORDER BY version", values![]).await?;
    rows.iter().map(|row| row.get("digest")).collect()
}

fn check(applied: &[String]) -> Result<(), StoreError> {
    if applied.len() > MIGRATIONS.len() {
        return Err(StoreError::Newer { found: applied.len(), known: MIGRATIONS.len() });
    }
    match applied.iter().zip(MIGRATIONS).find(|(digest, known)| **digest != digest_of(known)) {
        Some((_, known)) => Err(StoreError::ForeignSchema { version: known.version, name: known.name }),
        None => Ok(()),
    }
}

async fn record(tx: &Tx<'_>, migration: &Migration, now: i64) -> Result<u64, StoreError> {
    const INSERT: &str =
        "INSERT INTO schema_migrations (version, name, digest, applied_at) VALUES ($1, $2, $3, $4)";
    sql::execute(tx, INSERT, values![migration.version, migration.name, digest_of(migration), now]).await
}

fn digest_of(migration: &Migration) -> String {
    SecretDigest::of(migration.sql).to_string()
}
