use kt_store::{Store, StoreError};

use crate::databases::{Kind, TestDatabase, clock};

async fn many_processes_migrate_one_database(kind: Kind) {
    let database = TestDatabase::empty(kind).await;
    let mut processes = Vec::new();
    for _ in 0..8 {
        let store = database.store().await;
        processes.push(tokio::spawn(async move { store.migrate(&clock()).await.unwrap().applied.len() }));
    }
    let mut applied = Vec::new();
    for process in processes {
        applied.push(process.await.unwrap());
    }
    applied.sort_unstable();
    assert_eq!(applied[..7], [0; 7], "all but one found it done");
    assert!(applied[7] > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_applied_once_however_many_processes_start_at_once_on_sqlite() {
    many_processes_migrate_one_database(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_applied_once_however_many_processes_start_at_once_on_postgres() {
    many_processes_migrate_one_database(Kind::Postgres).await;
}

#[tokio::test]
async fn the_file_of_a_new_database_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let database = TestDatabase::empty(Kind::Sqlite).await;
    database.store().await;
    let path = database.url.trim_start_matches("sqlite://");
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_address_of_another_kind_is_refused() {
    for url in ["mysql://localhost/kt", "keeptrusts.db", "sqlite::memory:"] {
        assert!(matches!(Store::open(url).await, Err(StoreError::Address(_))), "{url}");
    }
}
