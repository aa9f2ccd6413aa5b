//! How much mail one address and one network may cause, and how long its delivery is tried.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::lockout::{Count, network_of};

/// The time over which mail is counted.
pub const WINDOW: Duration = Duration::from_hours(1);

/// Mail of one purpose that strangers can cause, to one address within the window (OWASP ASVS 5.0, 2.4.1; Forgot Password Cheat Sheet).
const ON_REQUEST: u32 = 3;

/// Any other kind of mail to one address within the window: a fault of ours must not flood a mailbox.
const NOTICES: u32 = 20;

/// Mail that one network may ask for within the window, over all addresses.
const PER_NETWORK: u32 = 20;

/// The first wait after a failure; each further one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// With the waits above, a little more than a day: most messages hold links that are over by then.
const MOST_ATTEMPTS: u32 = 30;

/// What a message that no stranger has asked for counts for; the address is given in its folded form.
#[must_use]
pub fn notice(kind: &str, folded: &str) -> Count {
    Count { key: format!("mail/{kind}/{folded}"), limit: NOTICES }
}

/// What mail that strangers can ask for counts for, by what it is to lead to: whoever asks for one kind in the name of another
/// must not keep them from another kind, least of all from a forgotten password.
#[must_use]
pub fn on_request(purpose: &str, folded: &str) -> Count {
    Count { key: format!("mail/on_request/{purpose}/{folded}"), limit: ON_REQUEST }
}

/// What a request for mail counts for. A loopback address stands for whatever is behind a proxy on this machine: counting
/// it would let one stranger use up the mail of all.
#[must_use]
pub fn per_source(ip: IpAddr) -> Option<Count> {
    let ip = ip.to_canonical();
    (!ip.is_loopback()).then(|| Count { key: format!("mail/source/{}", network_of(ip)), limit: PER_NETWORK })
}

/// When a message that has failed for now is tried again; `None` when it is given up. `attempts` counts those made.
#[must_use]
pub fn next_attempt(attempts: u32, now: Timestamp) -> Option<Timestamp> {
    let doublings = attempts.saturating_sub(1).min(16);
    let wait = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    (attempts < MOST_ATTEMPTS).then(|| now + wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_end_after_a_day() {
        let now = Timestamp::UNIX_EPOCH;
        let minutes = |attempts| next_attempt(attempts, now).map(|next| next.as_second() / 60);
        let table = [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (29, 60)];
        for (attempts, expected) in table {
            assert_eq!(minutes(attempts), Some(expected), "after {attempts}");
        }
        assert_eq!(minutes(30), None);
        let total: i64 = (1..30).filter_map(minutes).sum();
        assert!((24 * 60..25 * 60).contains(&total), "{total} minutes");
    }

    #[test]
    fn each_kind_is_counted_by_itself_and_what_strangers_cause_apart() {
        let counts = ["reset_password", "verify_address"]
            .map(|kind| [on_request(kind, "a@b.example"), notice(kind, "a@b.example")]);
        let keys: std::collections::HashSet<_> = counts.iter().flatten().map(|count| &count.key).collect();
        assert_eq!(keys.len(), 4);
        assert!(on_request("x", "a@b.example").limit < notice("x", "a@b.example").limit);
    }

    #[test]
    fn a_network_is_counted_whole_and_this_machine_is_not() {
        let key = |ip: &str| per_source(ip.parse().unwrap()).map(|count| count.key);
        assert_eq!(key("203.0.113.9"), key("203.0.113.200"));
        assert_ne!(key("203.0.113.9"), key("203.0.114.9"));
        for ip in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(key(ip), None, "{ip}");
        }
    }
}
