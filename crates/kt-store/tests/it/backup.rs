//! Copies of a SQLite database, and putting them back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use kt_domain::clock::Clock;
use kt_store::{BackupError, Store, limits, organizations, sqlite_path, sqlite_url};

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

/// Puts back a copy of whatever database.
async fn restore(from: &Path, url: &str, replace: bool) -> Result<Option<PathBuf>, BackupError> {
    kt_store::restore(from, url, replace, async |_| Ok(())).await
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
    assert!(has(&sqlite_url(&copy), "before").await);
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
    assert!(has(&sqlite_url(&replaced), "after").await, "the one before is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_database_that_is_replaced_is_kept_and_takes_no_log_for_its_own_but_its_own() {
    let (database, store) = TestDatabase::migrated(Kind::Sqlite).await;
    let (_directory, copy) = place();
    store.back_up(&copy).await.unwrap();
    write(&store, "first").await;
    store.close().await.unwrap();
    let file = sqlite_path(&database.url).unwrap();
    // As after a server that was killed.
    let log_of = |database: &Path| PathBuf::from(format!("{}-wal", database.display()));
    std::fs::write(log_of(&file), "the first one's").unwrap();
    let first = restore(&copy, &database.url, true).await.unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(log_of(&first)).unwrap(), "the first one's");
    std::fs::remove_file(&first).unwrap();

    let again = database.store().await;
    write(&again, "second").await;
    again.close().await.unwrap();
    let second = restore(&copy, &database.url, true).await.unwrap().unwrap();
    let third = restore(&copy, &database.url, true).await.unwrap().unwrap();
    assert!(first != second && second != third, "{first:?} {second:?} {third:?}");
    assert!(!log_of(&second).exists());
    assert!(has(&sqlite_url(&second), "second").await, "nothing has overwritten it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_of_another_database_is_refused_and_changes_nothing() {
    let (database, store) = TestDatabase::migrated(Kind::Sqlite).await;
    let (_directory, copy) = place();
    store.back_up(&copy).await.unwrap();
    write(&store, "after").await;
    store.close().await.unwrap();
    let is_latched = async |store: &Store| {
        let after = organizations::is_latched(store, "after").await.map_err(|error| error.to_string())?;
        if after { Ok(()) } else { Err("it is another's".to_owned()) }
    };
    let refused = kt_store::restore(&copy, &database.url, true, is_latched).await.unwrap_err();
    assert!(matches!(&refused, BackupError::Foreign { path, .. } if *path == copy), "{refused:?}");
    assert!(refused.to_string().contains("it is another's"), "{refused}");
    let beside = std::fs::read_dir(sqlite_path(&database.url).unwrap().parent().unwrap()).unwrap();
    let mut names: Vec<_> = beside.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["test.db", "test.db.lock"]);
    assert!(has(&database.url, "after").await);
    restore(&copy, &database.url, true).await.unwrap().expect("the control");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_used_copied_and_put_back_under_its_own_name_whatever_that_is() {
    for name in ["my db", "a%20b", "c?d", "e#f", "50%"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name).join("test.db");
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        let (url, copy) = (sqlite_url(&file), directory.path().join(name).join("copy.db"));
        let store = Store::open(&url).await.unwrap();
        store.migrate(&clock()).await.unwrap();
        write(&store, "before").await;
        store.back_up(&copy).await.unwrap();
        assert!(matches!(restore(&copy, &url, true).await, Err(BackupError::InUse(_))), "{name}");
        store.close().await.unwrap();
        assert!(matches!(restore(&copy, &url, false).await, Err(BackupError::Occupied(_))), "{name}");
        assert!(restore(&copy, &url, true).await.unwrap().is_some(), "{name}");
        assert!(has(&url, "before").await, "{name}");
        for made in [&file, &copy] {
            assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}: {made:?}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "{name}: nothing lies elsewhere");
    }
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
