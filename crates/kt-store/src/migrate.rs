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
    /// Fails, and changes nothing, when the database was made by a newer version, a step in it is not the one this version
    /// knows, or steps are missing and whoever asks may not change the schema. Where none is missing nothing is asked for
    /// but to read: a server needs no right to change the schema that somebody else has made.
    pub async fn migrate(&self, clock: &dyn Clock) -> Result<Migrated, StoreError> {
        let pending = self.pending_migrations().await?;
        if pending.is_empty() {
            return Ok(Migrated { version: newest(), applied: pending });
        }
        match self.apply_missing(clock).await {
            Err(error) if error.is_for_want_of_rights() => Err(StoreError::MayNotMigrate { pending }),
            outcome => outcome,
        }
    }

    async fn apply_missing(&self, clock: &dyn Clock) -> Result<Migrated, StoreError> {
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
        Ok(Migrated { version: newest(), applied: names })
    }
}

impl Store {
    /// The names of the steps that [`Store::migrate`] would apply. Nothing is changed. Fails where that would.
    pub async fn pending_migrations(&self) -> Result<Vec<&'static str>, StoreError> {
        let applied = if self.has_schema().await? { applied(self).await? } else { Vec::new() };
        check(&applied)?;
        Ok(MIGRATIONS[applied.len()..].iter().map(|migration| migration.name).collect())
    }
}

impl Store {
    /// Whether any step was ever applied to it.
    pub async fn has_schema(&self) -> Result<bool, StoreError> {
        const ON_POSTGRES: &str = "SELECT 1 AS found WHERE to_regclass('schema_migrations') IS NOT NULL";
        const ON_SQLITE: &str = "SELECT 1 AS found FROM sqlite_schema WHERE name = 'schema_migrations'";
        let find = if self.is_postgres() { ON_POSTGRES } else { ON_SQLITE };
        Ok(sql::row(self, find, values![]).await?.is_some())
    }
}

/// The version of the schema that has all steps.
fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |last| last.version)
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
