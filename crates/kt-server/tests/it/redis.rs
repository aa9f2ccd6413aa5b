//! Redis servers for tests: the one that `./test` starts, and servers of one's own, which can fail.

use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A Redis server of one's own, that can fail and come back. It is killed when this is dropped.
pub(crate) struct OwnRedis {
    directory: TempDir,
    pub(crate) url: String,
}

impl OwnRedis {
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let url = script(&directory, "start", &[]);
        Self { directory, url }
    }

    /// It is gone, as by a failing machine.
    pub(crate) fn kill(&self) {
        script(&self.directory, "stop", &[]);
    }

    /// It is there again, at the same address, and empty.
    pub(crate) fn come_back(&self) {
        let (_, port) = self.url.rsplit_once(':').unwrap();
        assert_eq!(script(&self.directory, "start", &[port]), self.url);
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        if self.directory.path().join("server").exists() {
            self.kill();
        }
    }
}

/// What `e2e/redis` prints.
fn script(directory: &TempDir, verb: &str, more: &[&str]) -> String {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/redis"));
    command.arg(verb).arg(directory.path().join("server")).args(more).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "e2e/redis {verb}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The server that `./test` starts.
pub(crate) fn shared() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests are told here where their server is")]
    std::env::var("KEEPTRUSTS_TEST_REDIS").expect(
        "tests need a Redis server: ./test starts one; or run `e2e/redis start DIR` and put the address that it prints \
         into KEEPTRUSTS_TEST_REDIS",
    )
}
