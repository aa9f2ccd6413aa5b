//! A control plane in a process of its own, and `kt` run beside it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::gateway::wait_for;

/// Its first owner.
pub(crate) const EMAIL: &str = "owner@acme.example";
pub(crate) const PASSWORD: &str = "seven-Bright-kettles-4";

/// A place for a control plane, and for what people who use it keep.
pub(crate) struct Home(tempfile::TempDir);

/// A control plane that runs; killed when it is dropped.
pub(crate) struct Plane {
    pub(crate) home: Home,
    child: Child,
    /// Its address, as `127.0.0.1:PORT`.
    pub(crate) api: String,
    /// What it says after that.
    said: BufReader<ChildStdout>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `kt` here, with nothing of the environment of whoever runs the test.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kt"));
        for name in [
            "KEEPTRUSTS_API_TOKEN",
            "KEEPTRUSTS_API_URL",
            "KEEPTRUSTS_ALLOW_PLAIN_HTTP",
            "KEEPTRUSTS_DATA_DIR",
            "KEEPTRUSTS_CONFIG",
        ] {
            command.env_remove(name);
        }
        command.current_dir(self.0.path()).env("XDG_CONFIG_HOME", self.path("config")).args(arguments);
        command
    }

    /// Runs `kt` here to its end.
    pub(crate) fn kt(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// The command that runs a control plane here.
    pub(crate) fn server(&self, more: &[&str]) -> Command {
        let mut command = self.command(&[
            "server",
            "run",
            "--data-dir",
            "data",
            "--api-listen",
            "127.0.0.1:0",
            "--console-listen",
            "127.0.0.1:0",
        ]);
        command.args(more);
        command
    }

    /// Starts a control plane on this database, whose first owner is made from the environment.
    pub(crate) fn start_on(self, database: &str) -> Plane {
        self.start_in(&[
            ("KEEPTRUSTS_DATABASE__URL", database),
            ("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL),
            ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD),
        ])
    }

    /// Starts a control plane whose first owner is made from the environment.
    pub(crate) fn start(self) -> Plane {
        self.start_with_owner(EMAIL, PASSWORD)
    }

    /// The same with another owner.
    pub(crate) fn start_with_owner(self, email: &str, password: &str) -> Plane {
        self.start_in(&[("KEEPTRUSTS_BOOTSTRAP_EMAIL", email), ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", password)])
    }

    /// Starts a control plane with these variables; what it complains about goes into the file `complaints`.
    pub(crate) fn start_in(self, environment: &[(&str, &str)]) -> Plane {
        let command = self.server(&[]);
        self.start_by(command, environment)
    }

    /// Starts a control plane by this command.
    pub(crate) fn start_by(self, mut command: Command, environment: &[(&str, &str)]) -> Plane {
        let complaints = File::create(self.path("complaints")).unwrap();
        command.envs(environment.iter().copied());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaints).spawn().unwrap();
        let (mut ready, mut said) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        said.read_line(&mut ready).unwrap();
        let told = ready.strip_prefix("ready api=http://").unwrap_or_else(|| panic!("{ready}"));
        let api = told.split(' ').next().unwrap().to_owned();
        Plane { home: self, child, api, said }
    }
}

impl Plane {
    pub(crate) fn start() -> Self {
        Home::new().start()
    }

    /// The identifier of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its address, as it is typed.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The token of the link by which the first owner is made, once it is printed.
    pub(crate) fn set_up_token(&mut self) -> String {
        let mut lines = self.said.by_ref().lines().map(Result::unwrap);
        lines.find_map(|line| Some(line.split_once("/setup?token=")?.1.trim().to_owned())).unwrap()
    }

    /// Runs `kt` to its end, in the name of this token or of whoever is signed in.
    pub(crate) fn kt(&self, token: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = self.home.command(arguments);
        command.env("KEEPTRUSTS_API_URL", self.url()).stdin(Stdio::null());
        if let Some(token) = token {
            command.env("KEEPTRUSTS_API_TOKEN", token);
        }
        command.output().unwrap()
    }

    /// The access token of somebody who signs in as the owner.
    pub(crate) fn sign_in(&self, password: &str) -> Option<String> {
        let body = json!({ "email": EMAIL, "password": password }).to_string();
        let answer = self.ask("POST /v1/auth/login", "", &body);
        answer["access_token"].as_str().map(str::to_owned)
    }

    /// What it answers.
    pub(crate) fn ask(&self, what: &str, credentials: &str, body: &str) -> Value {
        self.try_ask(what, credentials, body).unwrap().1
    }

    /// The status of its answer, and its body if that is an error.
    pub(crate) fn refusal(&self, what: &str, credentials: &str, body: &str) -> (u16, Value) {
        let (status, answer) = self.try_ask(what, credentials, body).unwrap();
        (status, answer["error"].clone())
    }

    /// The status and body of what it answers; `None` when it dies meanwhile. HTTP/1.0: the answer ends with the
    /// connection.
    pub(crate) fn try_ask(&self, what: &str, credentials: &str, body: &str) -> Option<(u16, Value)> {
        self.try_ask_by(&self.api, what, credentials, body)
    }

    /// The same, by this name.
    pub(crate) fn try_ask_by(
        &self,
        host: &str,
        what: &str,
        credentials: &str,
        body: &str,
    ) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(&self.api).ok()?;
        stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
        let length = body.len();
        write!(
            stream,
            "{what} HTTP/1.0\r\nHost: {host}\r\n{credentials}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
             {body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).ok()? };
        Some((status, body))
    }

    /// Asks it to end, and waits until it has; its place stays.
    pub(crate) fn terminate(self) -> (Home, ExitStatus) {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Ends it at once, whatever it is doing.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Waits until it has ended; its place stays.
    pub(crate) fn ended(mut self) -> (Home, ExitStatus) {
        let status = wait_for("the control plane to end", || self.child.try_wait().unwrap());
        (std::mem::replace(&mut self.home, Home::new()), status)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
