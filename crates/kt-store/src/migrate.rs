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
            return Ok(Migrated { version: newest(MIGRATIONS), applied: pending });
        }
        match self.apply_missing(MIGRATIONS, clock).await {
            Err(error) if error.is_for_want_of_rights() => Err(StoreError::MayNotMigrate { pending }),
            outcome => outcome,
        }
    }

    async fn apply_missing(&self, steps: &[Migration], clock: &dyn Clock) -> Result<Migrated, StoreError> {
        let tx = self.begin_write().await?;
        if self.is_postgres() {
            tx.execute_batch(&format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
        }
        tx.execute_batch(LEDGER).await?;
        let applied_before = applied(&tx).await?;
        check(&applied_before, steps)?;
        let mut names = Vec::new();
        for migration in &steps[applied_before.len()..] {
            tx.execute_batch(migration.sql).await?;
            record(&tx, migration, clock.now_micros()).await?;
            names.push(migration.name);
        }
        tx.commit().await?;
        Ok(Migrated { version: newest(steps), applied: names })
    }
}

impl Store {
    /// The names of the steps that [`Store::migrate`] would apply. Nothing is changed. Fails where that would.
    pub async fn pending_migrations(&self) -> Result<Vec<&'static str>, StoreError> {
        let applied = if self.has_schema().await? { applied(self).await? } else { Vec::new() };
        check(&applied, MIGRATIONS)?;
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

/// The version of the schema that has all these steps.
fn newest(steps: &[Migration]) -> i64 {
    steps.last().map_or(0, |last| last.version)
}

/// The digests of the steps that were applied, in order.
async fn applied(source: &impl Source) -> Result<Vec<String>, StoreError> {
    let rows = sql::rows(source, "SELECT digest FROM schema_migrations ORDER BY version", values![]).await?;
    rows.iter().map(|row| row.get("digest")).collect()
}

fn check(applied: &[String], steps: &[Migration]) -> Result<(), StoreError> {
    if applied.len() > steps.len() {
        return Err(StoreError::Newer { found: applied.len(), known: steps.len() });
    }
    match applied.iter().zip(steps).find(|(digest, known)| **digest != digest_of(known)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::{Kind, TestDatabase, clock};

    const FIRST: Migration = Migration { version: 1, name: "first", sql: "CREATE TABLE one (id BIGINT)" };
    const SECOND: Migration = Migration {
        version: 2,
        name: "second",
        sql: "INSERT INTO one (id) VALUES (7); CREATE TABLE two (id BIGINT)",
    };
    const BROKEN: Migration = Migration { version: 3, name: "broken", sql: "CREATE TABLE two (id BIGINT)" };

    async fn missing_steps_are_applied_all_or_none(kind: Kind) {
        let database = TestDatabase::empty(kind).await;
        let (store, clock) = (database.store().await, clock());
        let migrated = store.apply_missing(&[FIRST], &clock).await.unwrap();
        assert_eq!(migrated, Migrated { version: 1, applied: vec!["first"] });

        store.apply_missing(&[FIRST, SECOND, BROKEN], &clock).await.unwrap_err();
        assert_eq!(applied(&store).await.unwrap(), [digest_of(&FIRST)], "nor the one before it");
        let migrated = store.apply_missing(&[FIRST, SECOND], &clock).await.unwrap();
        assert_eq!(migrated, Migrated { version: 2, applied: vec!["second"] });
        assert!(sql::row(&store, "SELECT id FROM one WHERE id = 7", values![]).await.unwrap().is_some());

        let older = store.apply_missing(&[FIRST], &clock).await.unwrap_err();
        assert!(matches!(older, StoreError::Newer { found: 2, known: 1 }), "{older}");
        let other = store.apply_missing(&[FIRST, BROKEN], &clock).await.unwrap_err();
        assert!(matches!(other, StoreError::ForeignSchema { version: 3, .. }), "{other}");
    }

    #[tokio::test]
    async fn the_steps_that_are_missing_are_applied_all_or_none_on_sqlite() {
        missing_steps_are_applied_all_or_none(Kind::Sqlite).await;
    }

    #[tokio::test]
    async fn the_steps_that_are_missing_are_applied_all_or_none_on_postgres() {
        missing_steps_are_applied_all_or_none(Kind::Postgres).await;
    }
}
