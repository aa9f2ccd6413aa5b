//! Databases that earlier versions have made are opened by this one, and nothing in them is lost.
//!
//! `tests/fixtures` keeps a database of each released schema twice, of SQLite as its file and of PostgreSQL as the statements
//! that make it, and never changes them. No schema is released yet: those there were made with the present schema, and
//! `KEEPTRUSTS_WRITE_FIXTURES=1` makes them anew whenever that changes. With a release their name loses `unreleased`, and
//! they stay.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kt_domain::actor::{Actor, Role};
use kt_domain::audit::{AuditAction, AuditRecord};
use kt_domain::clock::Clock;
use kt_domain::ctx::{Client, Ctx};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::random::Random;
use kt_domain::sign_in::MembershipState;
use kt_store::memberships::{self, Membership};
use kt_store::organizations::{self, Organization};
use kt_store::users::{self, Password, User};
use kt_store::{Store, StoreError, audit, sqlite_path};
use sqlx::{Connection, Executor, PgConnection};

use crate::databases::{Kind, TestDatabase, clock};

const UNRELEASED: &str = "0001-unreleased";

/// How the names end of what is kept of such databases.
fn ending(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => "db",
        Kind::Postgres => "sql",
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// What is kept of databases of this kind, the earliest schema first.
fn kept(kind: Kind) -> Vec<PathBuf> {
    let all = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let mut kept: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|end| end == ending(kind))).collect();
    kept.sort();
    kept
}

async fn a_database_of_every_schema_holds_what_was_put_in(kind: Kind) {
    #[expect(clippy::disallowed_methods, reason = "tests are told here what to write")]
    if std::env::var("KEEPTRUSTS_WRITE_FIXTURES").is_ok() {
        write(kind).await;
    }
    let files = kept(kind);
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let database = TestDatabase::empty(kind).await;
        fill(&database, kind, &file).await;
        let store = database.store().await;
        match store.migrate(&clock()).await {
            Err(StoreError::ForeignSchema { .. }) if name.starts_with(UNRELEASED) => panic!(
                "the schema has changed before its release: KEEPTRUSTS_WRITE_FIXTURES=1 cargo test -p kt-store upgrading"
            ),
            migrated => drop(migrated.unwrap_or_else(|error| panic!("{name}: {error}"))),
        }
        assert!(store.pending_migrations().await.unwrap().is_empty(), "{name}");
        holds_what_was_put_in(&store, &name).await;
    }
}

#[tokio::test]
async fn a_database_of_every_schema_is_opened_and_holds_what_was_put_in_on_sqlite() {
    a_database_of_every_schema_holds_what_was_put_in(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_database_of_every_schema_is_opened_and_holds_what_was_put_in_on_postgres() {
    a_database_of_every_schema_holds_what_was_put_in(Kind::Postgres).await;
}

/// Makes an empty database what was kept.
async fn fill(database: &TestDatabase, kind: Kind, file: &Path) {
    match kind {
        Kind::Sqlite => {
            fs::copy(file, sqlite_path(&database.url).unwrap()).unwrap();
        }
        Kind::Postgres => {
            let statements = fs::read_to_string(file).unwrap();
            let mut connection = PgConnection::connect(&database.url).await.unwrap();
            connection.execute(sqlx::AssertSqlSafe(statements)).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

async fn holds_what_was_put_in(store: &Store, name: &str) {
    let organization = organizations::by_identifier(store, "acme").await.unwrap().unwrap();
    let user = users::by_email(store, "owner@acme.example").await.unwrap().unwrap();
    assert_eq!((&*organization.name, &*user.name), ("Acme", "Olive Owner"), "{name}");
    assert_eq!(user.password.as_ref().unwrap().hash, "$argon2id$", "{name}");
    let membership = memberships::find(store, &organization.id, &user.id).await.unwrap().unwrap();
    assert_eq!((membership.role, membership.state), (Role::Owner, MembershipState::Active), "{name}");
    assert!(organizations::is_latched(store, "set_up").await.unwrap(), "{name}");
    assert_eq!(audit::newest(store).await.unwrap(), Some(clock().now()), "{name}");
}

/// Keeps a database of the present schema.
async fn write(kind: Kind) {
    let (database, store) = TestDatabase::migrated(kind).await;
    put_in(&store).await;
    let file = fixtures().join(UNRELEASED).with_extension(ending(kind));
    match kind {
        Kind::Sqlite => {
            // What was there may be absent.
            let _ = fs::remove_file(&file);
            store.back_up(&file).await.unwrap();
        }
        Kind::Postgres => fs::write(file, statements_of(&database)).unwrap(),
    }
}

/// The statements that make a database of PostgreSQL, in whichever schema they are carried out.
fn statements_of(database: &TestDatabase) -> String {
    const OF_THIS_SERVER: [&str; 5] = ["--", "\\", "SET ", "SELECT pg_catalog.set_config", "CREATE SCHEMA"];
    let (server, schema) = database.url.split_once("?options[search_path]=").unwrap();
    let mut command = Command::new("pg_dump");
    command.args(["--inserts", "--no-owner", "--no-privileges", "--schema", schema, "--dbname", server]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap().replace(&format!("{schema}."), "");
    let is_kept =
        |line: &&str| !line.is_empty() && !OF_THIS_SERVER.iter().any(|start| line.starts_with(start));
    text.lines().filter(is_kept).fold(String::new(), |text, line| text + line + "\n")
}

async fn put_in(store: &Store) {
    let now = clock().now();
    let mut random = Random::seeded(1);
    let organization = Organization {
        id: OrganizationId::new(now, &mut random),
        identifier: "acme".into(),
        name: "Acme".into(),
        created_at: now,
    };
    let password =
        Password { hash: "$argon2id$".into(), set_at: now, temporary_until: None, breaks_policy: false };
    let user = User {
        id: UserId::new(now, &mut random),
        email: "owner@acme.example".into(),
        email_folded: "owner@acme.example".into(),
        email_verified_at: Some(now),
        name: "Olive Owner".into(),
        password: Some(password),
        epoch: 1,
        created_at: now,
    };
    let membership = Membership {
        organization: organization.id.clone(),
        user: user.id.clone(),
        role: Role::Owner,
        state: MembershipState::Active,
        mfa_asked_since: None,
        created_at: now,
        last_sign_in_at: None,
    };
    let ctx =
        Ctx { actor: Actor::System("fixture"), client: Client::default(), request_id: "fixture".into(), now };
    let record =
        AuditRecord::new(&ctx, &mut random, AuditAction::OrganizationCreated, organization.id.as_str());
    let tx = store.begin_write().await.unwrap();
    organizations::insert(&tx, &organization).await.unwrap();
    users::insert(&tx, &user).await.unwrap();
    memberships::insert(&tx, &membership).await.unwrap();
    organizations::close_latch(&tx, "set_up", now).await.unwrap();
    audit::append(&tx, Some(&organization.id), &record).await.unwrap();
    tx.commit().await.unwrap();
}
