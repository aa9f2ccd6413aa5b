//! How many connections are held, and by whom.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kt_domain::lockout::network_of;
use kt_domain::network::cidr::CidrSet;
use tokio::time::Instant;

/// How often it is told that connections are turned away.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// The places for connections. Whoever finds none is turned away at once, so that no one of many holds up the next.
pub(super) struct Places {
    most: usize,
    share: usize,
    proxies: CidrSet,
    taken: Mutex<Taken>,
}

/// Who holds them.
#[derive(Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
    /// When it was told last that somebody was turned away.
    told_at: Option<Instant>,
}

impl Places {
    pub(super) fn new(most: usize, share: usize, proxies: CidrSet) -> Arc<Self> {
        Arc::new(Self { most, share, proxies, taken: Mutex::default() })
    }

    /// A place for a connection of this address. This machine's own have no share: a proxy on it may stand for many.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let stands_for_many = peer.to_canonical().is_loopback() || self.proxies.contains(peer);
        let network = (!stands_for_many).then(|| network_of(peer).network());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let held = network.and_then(|network| taken.of.get(&network).copied()).unwrap_or_default();
        if taken.all >= self.most || held >= self.share {
            taken.tell(peer);
            return None;
        }
        taken.all += 1;
        if let Some(network) = network {
            *taken.of.entry(network).or_default() += 1;
        }
        Some(Place { places: Arc::clone(self), network })
    }
}

impl Taken {
    fn tell(&mut self, peer: IpAddr) {
        if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            self.told_at = Some(Instant::now());
            let of_network = self.of.get(&network_of(peer).network()).copied().unwrap_or_default();
            tracing::warn!(%peer, connections = self.all, of_network, "connections are turned away");
        }
    }
}

/// A place that a connection holds.
pub(super) struct Place {
    places: Arc<Places>,
    network: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(network) = self.network else { return };
        if let Some(held) = taken.of.get_mut(&network) {
            *held -= 1;
            if *held == 0 {
                taken.of.remove(&network);
            }
        }
    }
}
