//! Copies of a SQLite database, and putting them back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use kt_domain::clock::Clock;
use kt_store::{BackupError, Store, limits, organizations, restore};

use crate::databases::{Kind, TestDatabase, clock};

fn now() -> Timestamp {
    clock().now()
}

async fn write(store: &Store, latch: &str) {
    let tx = store.begin_write().await.unwrap();
    organizations::close_latch(&tx, latch, now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn has(url: &str, latch: &str) -> bool {
    let store = Store::open(url).await.unwrap();
    let found = organizations::is_latched(&store, latch).await.unwrap();
    store.close().await.unwrap();
    found
}

/// A place for copies.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy.db");
    (directory, copy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_taken_while_others_write_and_holds_what_was_there() {
    let (database, store) = TestDatabase::migrated(Kind::Sqlite).await;
    write(&store, "before").await;
    let (_directory, copy) = place();
    let writer = Arc::new(database.store().await);
    let ended = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let ended = Arc::clone(&ended);
        async move {
            let mut written = 0;
            while !ended.load(Ordering::Relaxed) {
                let tx = writer.begin_write().await.unwrap();
                limits::count(&tx, &format!("key/{written}"), std::time::Duration::from_mins(1), now())
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
                written += 1;
            }
            written
        }
    });
    store.back_up(&copy).await.unwrap();
    ended.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!kt_store::growing(&copy).exists());
    assert!(has(&format!("sqlite://{}", copy.display()), "before").await);
    assert!(matches!(store.back_up(&copy).await, Err(BackupError::Occupied(_))), "no copy is overwritten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_put_back_when_nobody_uses_the_database_and_only_over_none_unless_told() {
    let (database, store) = TestDatabase::migrated(Kind::Sqlite).await;
    let (_directory, copy) = place();
    write(&store, "before").await;
    store.back_up(&copy).await.unwrap();
    write(&store, "after").await;
    let used = restore(&copy, &database.url, true).await;
    assert!(matches!(used, Err(BackupError::InUse(_))), "{used:?}");
    store.close().await.unwrap();

    assert!(matches!(restore(&copy, &database.url, false).await, Err(BackupError::Occupied(_))));
    assert!(has(&database.url, "after").await, "nothing was changed so far");
    let replaced = restore(&copy, &database.url, true).await.unwrap().unwrap();
    assert!(has(&database.url, "before").await);
    assert!(!has(&database.url, "after").await);
    assert!(has(&format!("sqlite://{}", replaced.display()), "after").await, "the one before is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_whole_copy_is_refused_and_changes_nothing() {
    let (database, store) = TestDatabase::migrated(Kind::Sqlite).await;
    let (_directory, copy) = place();
    write(&store, "before").await;
    store.back_up(&copy).await.unwrap();
    store.close().await.unwrap();
    let whole = std::fs::read(&copy).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0x5a);
    let half = &whole[..whole.len() / 2];
    for (what, bytes) in [("damaged", &damaged[..]), ("half", half), ("text", b"no database"), ("empty", b"")]
    {
        let file = copy.with_extension(what);
        std::fs::write(&file, bytes).unwrap();
        let refused = restore(&file, &database.url, true).await;
        assert!(matches!(refused, Err(BackupError::NotWhole { .. })), "{what}: {refused:?}");
        assert!(has(&database.url, "before").await, "{what}");
    }
    assert!(matches!(
        restore(Path::new("nothing"), &database.url, true).await,
        Err(BackupError::File { .. })
    ));
    restore(&copy, &database.url, true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_left_to_its_own_tools() {
    let (database, store) = TestDatabase::migrated(Kind::Postgres).await;
    let (_directory, copy) = place();
    assert!(matches!(store.back_up(&copy).await, Err(BackupError::Postgres)));
    assert!(matches!(restore(&copy, &database.url, true).await, Err(BackupError::Postgres)));
    assert!(store.pending_migrations().await.unwrap().is_empty());
    let database = TestDatabase::empty(Kind::Postgres).await;
    let empty = database.store().await;
    assert_eq!(empty.pending_migrations().await.unwrap().first(), Some(&"control_plane"));
}
