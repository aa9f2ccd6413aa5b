//! A gateway in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::http::{Answer, Http};
use super::wait_for;

/// A `kt` that serves; killed when it is dropped. When a test fails, it shows what the process said.
pub(super) struct Process {
    child: Child,
    /// The first line that it printed.
    ready: String,
    errors: Arc<Mutex<String>>,
}

/// Where a gateway's configuration and data are.
pub(super) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(super) fn with(yaml: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        place.write_config(yaml);
        place
    }

    /// Changes the configuration as careful editors do: another file takes the old one's place.
    pub(super) fn write_config(&self, yaml: &str) {
        let new = self.path("new.yaml");
        fs::write(&new, yaml).unwrap();
        fs::rename(new, self.path("policy-config.yaml")).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The command that runs a gateway here, on free ports.
    pub(super) fn command(&self, more: &[&str]) -> Command {
        self.command_on("127.0.0.1:0", "127.0.0.1:0", more)
    }

    /// The command that runs a gateway here, on these addresses.
    pub(super) fn command_on(&self, listen: &str, admin_listen: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kt"));
        command
            .current_dir(self.directory.path())
            .env_remove("KEEPTRUSTS_ADMIN_TOKEN")
            .args(["gateway", "run", "--policy-config", "policy-config.yaml", "--data-dir", "data"])
            .args(["--listen", listen, "--admin-listen", admin_listen])
            .args(more);
        command
    }

    pub(super) fn start(&self, more: &[&str]) -> Process {
        Process::spawn(&mut self.command(more))
    }
}

impl Process {
    /// Starts `command` and waits until it is ready.
    pub(super) fn spawn(command: &mut Command) -> Self {
        Self::spawn_complaining_to(Stdio::piped(), command)
    }

    /// The same, its standard error being `errors`; they are known to the test only where that is a pipe of its own.
    pub(super) fn spawn_complaining_to(errors: Stdio, command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let errors = child.stderr.take().map(collect).unwrap_or_default();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        output.read_line(&mut ready).unwrap();
        let process = Self { child, ready, errors };
        assert!(process.ready.starts_with("ready "), "{}{}", process.ready, process.errors());
        process
    }

    /// Where clients connect.
    pub(super) fn gateway(&self) -> SocketAddr {
        self.address("gateway")
    }

    /// Where the operator connects.
    pub(super) fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    /// Where the control plane's API is.
    pub(super) fn api(&self) -> SocketAddr {
        self.address("api")
    }

    /// The address that it announced under this name.
    fn address(&self, name: &str) -> SocketAddr {
        let mut words = self.ready.split_whitespace();
        let word = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let (_, address) = word.unwrap_or_default().split_once("://").unwrap_or_default();
        let address = address.replace("0.0.0.0", "127.0.0.1");
        address.parse().unwrap_or_else(|_| panic!("no {name}: {}{}", self.ready, self.errors()))
    }

    /// Asks the operator's listener.
    pub(super) fn ask_admin(&self, path: &str) -> Answer {
        Http::connect(self.admin()).unwrap().get(path).unwrap()
    }

    /// Everything on standard error so far.
    pub(super) fn errors(&self) -> String {
        text_of(&self.errors)
    }

    /// Waits until `words` stand on standard error.
    pub(super) fn complains_of(&self, words: &str) {
        wait_for(words, || self.errors().contains(words).then_some(()));
    }

    pub(super) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(super) fn ended(&mut self) -> ExitStatus {
        wait_for("the process to end", || self.child.try_wait().unwrap())
    }

    /// Asks it to end and waits until it has.
    pub(super) fn terminate(mut self) {
        self.signal(Signal::TERM);
        assert!(self.ended().success(), "{}", self.errors());
    }

    /// Ends it at once, as the machine's loss of power would.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    #[expect(clippy::print_stdout, reason = "it is shown with the failure alone")]
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("standard error of {}:\n{}", self.child.id(), self.errors());
        }
    }
}

fn text_of(errors: &Mutex<String>) -> String {
    errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Reads on, so that the process is never held up by a full pipe.
fn collect(mut stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&text);
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            let piece = String::from_utf8_lossy(&piece[..length]).into_owned();
            collected.lock().unwrap_or_else(PoisonError::into_inner).push_str(&piece);
        }
    });
    text
}
