//! A Redis server of a test's own, which can fail.

use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A server, killed when this is dropped.
pub(crate) struct OwnRedis {
    directory: TempDir,
    pub(crate) url: String,
}

impl OwnRedis {
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().expect("a folder can be made");
        let url = script(&directory, "start", &[]);
        Self { directory, url }
    }

    /// It is gone, as by a failing machine.
    pub(crate) fn kill(&self) {
        script(&self.directory, "stop", &[]);
    }

    /// It is there again, at the same address, and empty.
    pub(crate) fn come_back(&self) {
        let (_, port) = self.url.rsplit_once(':').expect("the address has a port");
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
    let output = command.output().expect("the script can be run");
    assert!(output.status.success(), "e2e/redis {verb}");
    String::from_utf8(output.stdout).expect("an address is text").trim().to_owned()
}
