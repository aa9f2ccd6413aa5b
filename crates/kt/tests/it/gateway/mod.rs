//! `kt gateway run` as a process: how it starts, reloads, ends, is replaced and killed.

mod connected;
mod disk_full;
mod following;
mod http;
mod kill;
mod process;
mod refused_key;
mod signals;
mod start;
mod take_over;
mod upstream_tls;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kt_store::event_log::{self, Expectations, Verification};

use http::Http;

/// How long anything may take that is not a matter of time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything is answered by the gateway itself.
const ECHO: &str = "
pack: {name: test, version: 1.0.0}
providers: {targets: [{id: echo, provider: echo}]}
policies: {chain: [audit-logger]}
";

/// Waits until `condition` gives something; panics with `what` when it does not in time.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: waited for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Proves the log in a gateway's data directory.
fn verified(data_dir: &Path) -> Verification {
    let found = event_log::verify(&[data_dir.join("events")], &Expectations::default(), &mut |_| {}).unwrap();
    assert!(found.valid, "{:?}", found.problem);
    found
}

/// The identifiers of the requests that the log knows.
fn recorded_requests(data_dir: &Path) -> HashSet<String> {
    let entries = std::fs::read_dir(data_dir.join("events")).unwrap().map(|entry| entry.unwrap().path());
    let segments = entries.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let mut found = HashSet::new();
    for segment in segments {
        let text = String::from_utf8_lossy(&std::fs::read(segment).unwrap()).into_owned();
        let ids = text.split("\"request_id\":\"").skip(1).filter_map(|rest| rest.split_once('"'));
        found.extend(ids.map(|(request_id, _)| request_id.to_owned()));
    }
    found
}

/// Sends requests one after the other, over connections that are kept as long as the gateway keeps them, until `done`
/// or a failure; gives the identifier of each answered request with the moment in which its answer was whole.
fn send_until(
    done: &AtomicBool,
    process_address: std::net::SocketAddr,
    answered: impl Fn(),
) -> (Vec<(String, Instant)>, std::io::Result<()>) {
    let mut completed = Vec::new();
    let mut send = || -> std::io::Result<()> {
        let mut connection = Http::connect(process_address)?;
        while !done.load(Ordering::Relaxed) {
            let answer = connection.chat()?;
            if answer.status != 200 {
                return Err(std::io::Error::other(format!("{answer:?}")));
            }
            completed.push((answer.request_id(), Instant::now()));
            answered();
            if answer.closes() {
                connection = Http::connect(process_address)?;
            }
        }
        Ok(())
    };
    let outcome = send();
    (completed, outcome)
}
