//! What whoever has stolen the database can read.

use std::path::Path;

use kt_store::sqlite_path;
use sqlx::{Connection, PgConnection};

use super::TestApi;

impl TestApi {
    /// All that the database holds: the bytes of SQLite's files, the rows of PostgreSQL's tables.
    pub(crate) async fn copy_of_database(&self) -> Vec<u8> {
        let copy = match sqlite_path(&self.database.url) {
            Some(file) => files_beside(&file),
            None => all_rows(&self.database.url).await,
        };
        let is_copy = copy.windows(18).any(|found| found == b"owner@acme.example");
        assert!(is_copy, "the control: it is the database");
        copy
    }
}

/// A database and what SQLite keeps beside it.
fn files_beside(file: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(file.parent().unwrap()).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.is_file()).flat_map(|file| std::fs::read(file).unwrap()).collect()
}

async fn all_rows(url: &str) -> Vec<u8> {
    const TABLES: &str =
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
    let mut connection = PgConnection::connect(url).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut connection).await.unwrap();
    assert!(tables.len() > 20, "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        let select = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
        let found: Vec<String> = sqlx::query_scalar(select).fetch_all(&mut connection).await.unwrap();
        rows.extend(found.join("\n").into_bytes());
    }
    connection.close().await.unwrap();
    rows
}
