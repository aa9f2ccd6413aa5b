//! A gateway with everything around it that a test looks at.

mod answer;
mod client;
mod events;
mod gateway;
pub(crate) mod http2;
mod memory;
mod redis;
mod request;
mod upstream;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use answer::{Answer, Outcome};
pub(crate) use client::Client;
pub(crate) use events::State;
pub(crate) use gateway::{PROVIDER_KEY, TestGateway};
pub(crate) use memory::Memory;
pub(crate) use redis::{Line, OwnRedis, Through};
pub(crate) use request::{CHAT, Request};
pub(crate) use upstream::{Received, Then, Upstream};

/// How long anything may take before it is taken for one that never comes, however busy the machine is. No test asks for less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` gives something; panics with `what` when it does not within [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, condition).unwrap_or_else(|| panic!("in vain: waited for {what}"))
}

/// Waits at most `limit` until `condition` gives something.
pub(crate) fn within<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
