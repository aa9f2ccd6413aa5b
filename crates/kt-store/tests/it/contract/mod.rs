//! What the control plane relies on, on both databases.

mod audit;
mod configurations;
mod events;
mod keys;
mod mail_queue;
mod migrating;
mod once;
mod people;
mod sso;
mod usage;
mod workspaces;

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::clock::Clock;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::random::Random;
use kt_store::organizations::Organization;
use kt_store::users::User;
use kt_store::{Store, organizations, users};

use crate::databases::clock;

fn now() -> Timestamp {
    clock().now()
}

fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}

async fn organization(store: &Store, identifier: &str) -> OrganizationId {
    let id = OrganizationId::new(now(), &mut Random::from_os());
    let organization = Organization {
        id: id.clone(),
        identifier: identifier.into(),
        name: "Example".into(),
        created_at: now(),
    };
    let tx = store.begin_write().await.unwrap();
    organizations::insert(&tx, &organization).await.unwrap();
    tx.commit().await.unwrap();
    id
}

fn somebody(email: &str) -> User {
    User {
        id: UserId::new(now(), &mut Random::from_os()),
        email: email.into(),
        email_folded: email.to_lowercase(),
        email_verified_at: None,
        name: "Somebody".into(),
        password: None,
        epoch: 1,
        created_at: now(),
    }
}

async fn user(store: &Store, email: &str) -> User {
    let user = somebody(email);
    let tx = store.begin_write().await.unwrap();
    users::insert(&tx, &user).await.unwrap();
    tx.commit().await.unwrap();
    user
}

/// A test of what must hold on both databases.
macro_rules! on_both {
    ($($name:ident($store:ident) $body:block)+) => {$(
        async fn $name($store: kt_store::Store) $body

        mod $name {
            use crate::databases::{Kind, TestDatabase};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let (_database, store) = TestDatabase::migrated(Kind::Sqlite).await;
                super::$name(store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let (_database, store) = TestDatabase::migrated(Kind::Postgres).await;
                super::$name(store).await;
            }
        }
    )+};
}
pub(crate) use on_both;
