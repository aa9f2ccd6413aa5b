//! A Redis server of a test's own, which can fail, and a line to it that can.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

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

impl OwnRedis {
    /// What stands at a key.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let said = self.tell(&format!("GET {key}"));
        let mut lines = said.lines();
        lines.next().filter(|first| *first != "$-1").and_then(|_| lines.next()).map(str::to_owned)
    }

    /// It forgets everything, and goes on.
    pub(crate) fn forget(&self) {
        assert!(self.tell("FLUSHALL").starts_with("+OK"));
    }

    /// Nobody was heard of for an hour.
    pub(crate) fn let_an_hour_pass(&self) {
        let record = "keeptrusts:{gateway}:places";
        let said = self.tell(&format!("HINCRBY {record} heard -3600000000"));
        assert!(said.starts_with(':'), "{said}");
    }

    /// What it answers to a command.
    fn tell(&self, command: &str) -> String {
        let mut connection = TcpStream::connect(self.address()).expect("the server takes connections");
        write!(connection, "{command}\r\nQUIT\r\n").expect("it takes a command");
        let mut said = String::new();
        connection.read_to_string(&mut said).expect("it answers in text");
        said
    }

    fn address(&self) -> SocketAddr {
        let (_, address) = self.url.split_once("://").expect("the address has a scheme");
        address.parse().expect("the address is one")
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

/// A line to a server, on which words can be lost.
pub(crate) struct Line {
    pub(crate) url: String,
    state: Arc<State>,
}

/// What comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    Everything = 0,
    /// What the server is told, and nothing of what it says.
    Commands = 1,
    Nothing = 2,
}

struct State {
    through: AtomicU8,
    ends: Mutex<Vec<TcpStream>>,
}

impl Line {
    pub(crate) fn to(redis: &OwnRedis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("redis://{}", listener.local_addr().expect("a listener has an address"));
        let state = Arc::new(State { through: AtomicU8::new(0), ends: Mutex::default() });
        let (server, shared) = (redis.address(), Arc::clone(&state));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                for (from, to, last) in
                    [(&client, &server, Through::Commands), (&server, &client, Through::Everything)]
                {
                    let ends = [from, to].map(|end| end.try_clone().expect("a connection can be shared"));
                    let state = Arc::clone(&shared);
                    thread::spawn(move || state.pass(ends, last));
                }
                shared.ends.lock().unwrap_or_else(PoisonError::into_inner).extend([client, server]);
            }
        });
        Self { url, state }
    }

    /// From now on this comes through. Once everything does, it does over new connections.
    pub(crate) fn let_through(&self, through: Through) {
        self.state.through.store(through as u8, Ordering::SeqCst);
        if through == Through::Everything {
            let mut ends = self.state.ends.lock().unwrap_or_else(PoisonError::into_inner);
            for end in ends.drain(..) {
                // It may be closed already.
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }
}

impl State {
    /// Passes on what comes, as long as no more than `last` is lost.
    fn pass(&self, [mut from, mut to]: [TcpStream; 2], last: Through) {
        let mut piece = [0; 16 * 1024];
        while let Ok(length) = from.read(&mut piece)
            && length > 0
        {
            if self.through.load(Ordering::SeqCst) <= last as u8 && to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        // The other end hears of it, if it is there.
        let _ = to.shutdown(Shutdown::Both);
    }
}
