//! `kill -9` while requests are served: what was answered more than 100 ms earlier is in the log, which stays whole.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::process::Place;
use super::{ECHO, recorded_requests, send_until, verified, wait_for};

const CLIENTS: usize = 4;
/// By when an answered request is on disk.
const DURABLE_WITHIN: Duration = Duration::from_millis(100);
/// How long each process is let to serve at the least.
const SERVED_FOR: Duration = Duration::from_millis(200);
/// How often the machine is looked at before a process is killed, and how late a look may be. A machine that stands still or
/// does other work takes from the time that the process has: it is killed only after all looks of that time were timely.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const TIMELY: Duration = Duration::from_millis(15);

fn rounds() -> usize {
    #[expect(clippy::disallowed_methods, reason = "a test's length is chosen from outside")]
    let chosen = std::env::var("KEEPTRUSTS_KILL_ROUNDS");
    chosen.map_or(10, |rounds| rounds.parse().unwrap())
}

/// Waits until `end`, and on until the machine has let this thread look at it in time for [`DURABLE_WITHIN`]. Gives the moment.
fn timely_moment_after(end: Instant) -> Instant {
    let mut last = Instant::now();
    let (mut timely_since, deadline) = (last, end + 100 * DURABLE_WITHIN);
    while last < end || last - timely_since <= DURABLE_WITHIN {
        assert!(last < deadline, "this machine is held up all the time");
        thread::sleep(LOOK_EVERY);
        let now = Instant::now();
        if now - last > TIMELY {
            timely_since = now;
        }
        last = now;
    }
    last
}

#[test]
fn nothing_that_was_answered_a_moment_ago_is_lost() {
    let place = Place::with(ECHO);
    let mut requests = HashSet::new();
    for round in 0..rounds() {
        let process = place.start(&[]);
        let address = process.gateway();
        let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        let completed = thread::scope(|scope| {
            let send = || {
                send_until(&done, address, || {
                    answered.fetch_add(1, Ordering::Relaxed);
                })
            };
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(send)).collect();
            // Each round ends at another moment of the writer's rhythm, and every fifth one outlasts a turn.
            let served_for = if round % 5 == 4 { 4 * SERVED_FOR } else { SERVED_FOR };
            let until = Instant::now() + served_for + Duration::from_millis(round as u64 * 7 % 40);
            wait_for("some answers", || (answered.load(Ordering::Relaxed) > 20).then_some(()));
            let killed = timely_moment_after(until);
            process.kill();
            let finished = clients.into_iter().flat_map(|client| client.join().unwrap().0);
            finished
                .map(|(request_id, completed)| (request_id, killed.saturating_duration_since(completed)))
                .collect::<Vec<_>>()
        });
        let recorded = recorded_requests(&place.data_dir());
        let lost = completed.iter().filter(|(request_id, _)| !recorded.contains(request_id));
        let oldest_lost = lost.map(|(_, age)| *age).max().unwrap_or_default();
        assert!(oldest_lost <= DURABLE_WITHIN, "round {round}: lost {oldest_lost:?} after its answer");
        let durable = completed.into_iter().filter(|(_, age)| *age > DURABLE_WITHIN);
        requests.extend(durable.map(|(request_id, _)| request_id));
        assert!(requests.is_subset(&recorded), "round {round}: what an earlier round found is still there");
        verified(&place.data_dir());
    }
    place.start(&[]).terminate();
    assert!(verified(&place.data_dir()).events >= requests.len() as u64);
}
