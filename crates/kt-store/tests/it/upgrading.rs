//! Databases that earlier versions have made are opened by this one, and nothing in them is lost.
//!
//! `tests/fixtures` keeps a SQLite database of each released schema, and never changes it. No schema is released yet: the
//! one there was made with the present schema, and `KEEPTRUSTS_WRITE_FIXTURES=1` makes it anew whenever that changes. With
//! a release its name loses `unreleased`, and it stays.

use std::path::{Path, PathBuf};

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
use kt_store::{Store, StoreError, audit};

use crate::databases::{Kind, TestDatabase, clock};

const UNRELEASED: &str = "0001-unreleased.db";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

#[tokio::test]
async fn a_database_of_every_schema_is_opened_and_holds_what_was_put_in() {
    #[expect(clippy::disallowed_methods, reason = "tests are told here what to write")]
    if std::env::var("KEEPTRUSTS_WRITE_FIXTURES").is_ok() {
        write(&fixtures().join(UNRELEASED)).await;
    }
    let mut files: Vec<_> =
        std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let place = tempfile::tempdir().unwrap();
        let copy = place.path().join("copy.db");
        std::fs::copy(&file, &copy).unwrap();
        let store = Store::open(&format!("sqlite://{}", copy.display())).await.unwrap();
        match store.migrate(&clock()).await {
            Err(StoreError::ForeignSchema { .. }) if name == UNRELEASED => panic!(
                "the schema has changed before its release: KEEPTRUSTS_WRITE_FIXTURES=1 cargo test -p kt-store upgrading"
            ),
            migrated => drop(migrated.unwrap_or_else(|error| panic!("{name}: {error}"))),
        }
        assert!(store.pending_migrations().await.unwrap().is_empty(), "{name}");
        holds_what_was_put_in(&store, &name).await;
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

async fn write(file: &Path) {
    let (_database, store) = TestDatabase::migrated(Kind::Sqlite).await;
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
    // What was there may be absent.
    let _ = std::fs::remove_file(file);
    store.back_up(file).await.unwrap();
}
