//! PostgreSQL for tests: schemas on the server that `./test` starts, and servers of one's own, which can fail.

use std::process::{Command, Output, Stdio};

use kt_domain::random::Random;
use tempfile::TempDir;

/// A schema of its own on the PostgreSQL server that `./test` starts.
pub(crate) struct Schema {
    server: String,
    pub(crate) name: String,
}

impl Schema {
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "tests are told here where their server is")]
        let server = std::env::var("KEEPTRUSTS_TEST_POSTGRES").expect(
            "tests need a PostgreSQL server: ./test starts one, and so does `e2e/postgres start DIR`",
        );
        let name = format!("test_{:016x}", Random::from_os().next_u64());
        let schema = Self { server, name };
        schema.ask(&format!("CREATE SCHEMA {}", schema.name));
        schema
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("{}?options[search_path]={}", self.server, self.name)
    }

    /// The same, as this role of the server comes to it.
    pub(crate) fn url_of(&self, role: &str) -> String {
        let (_, place) = self.server.split_once('@').unwrap();
        format!("postgres://{role}@{place}?options[search_path]={}", self.name)
    }

    /// What the server says to this role that it does not obey.
    pub(crate) fn refusal_to(&self, role: &str, statement: &str) -> String {
        let output =
            psql(&self.url_of(role).replace("options[search_path]=", "options=-csearch_path%3D"), statement);
        assert!(!output.status.success(), "{statement} was obeyed");
        String::from_utf8(output.stderr).unwrap()
    }

    /// What the server answers to a statement.
    pub(crate) fn ask(&self, statement: &str) -> String {
        ask(&self.server, statement)
    }
}

impl Drop for Schema {
    /// Whoever still holds a lock there is sent away first. What cannot be removed goes with the server.
    fn drop(&mut self) {
        let Self { server, name } = self;
        psql(
            server,
            &format!(
                "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
                     WHERE relnamespace = to_regnamespace('{name}');
                 DROP SCHEMA IF EXISTS {name} CASCADE"
            ),
        );
    }
}

/// A server of one's own, that can fail and come back. It is ended when this is dropped.
pub(crate) struct OwnPostgres {
    directory: TempDir,
    pub(crate) url: String,
}

impl OwnPostgres {
    /// One that keeps what it has confirmed when it fails.
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let url = script(&directory, "start");
        ask(&url, "ALTER ROLE kt SET synchronous_commit = on");
        Self { directory, url }
    }

    /// It is gone, as by a failing machine.
    pub(crate) fn fail(&self) {
        script(&self.directory, "break");
    }

    /// It is there again, at the same address, with what it had.
    pub(crate) fn come_back(&self) {
        script(&self.directory, "mend");
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        script(&self.directory, "stop");
    }
}

/// What `e2e/postgres` prints.
fn script(directory: &TempDir, verb: &str) -> String {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/postgres"));
    command.arg(verb).arg(directory.path().join("server")).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "e2e/postgres {verb}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a server answers to a statement.
fn ask(server: &str, statement: &str) -> String {
    let output = psql(server, statement);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn psql(server: &str, statement: &str) -> Output {
    let arguments = ["--no-psqlrc", "--tuples-only", "--no-align", "--command", statement];
    Command::new("psql").arg(server).args(arguments).env("LC_ALL", "C").output().unwrap()
}
