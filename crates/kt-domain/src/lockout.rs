//! How many wrong passwords an account takes before it stops listening, and to whom.
//!
//! A stranger's tries must not shut out the holder: tries are counted per account *and* network, a device that has
//! signed in before keeps a count of its own, and a slower count spans the whole account (STANDARDS: OWASP ASVS 5.0,
//! 6.1.1 and 6.3.1; NIST SP 800-63B-4 section 3.2.2).

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::secret::SecretDigest;
use crate::sign_in::Factor;
use crate::span::Span;

/// The section `lockout` of an organization's security settings (SPEC section 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LockoutSettings {
    /// How many failures within `window` lock: 3 to 100.
    pub max_failures: u32,
    /// The time over which failures are counted.
    pub window: Span,
    /// How long the lock holds.
    pub duration: Span,
}

/// The shortest that failures are counted, and that a lock holds.
const SHORTEST: Span = Span(Duration::from_mins(1));

impl Default for LockoutSettings {
    fn default() -> Self {
        let quarter = Span(Duration::from_mins(15));
        Self { max_failures: 10, window: quarter, duration: quarter }
    }
}

impl LockoutSettings {
    /// The loosest that is allowed.
    pub const LOOSEST: Self = Self { max_failures: 100, window: SHORTEST, duration: SHORTEST };

    /// Refuses values out of bounds, naming the field. NIST SP 800-63B-4 section 3.2.2 allows at most 100.
    pub fn validate(&self) -> Result<(), Error> {
        if !(3..=100).contains(&self.max_failures) {
            return Err(Error::invalid("lockout.max_failures", "Allow 3 to 100 failures."));
        }
        let day = Span(Duration::from_hours(24));
        for (param, span) in [("lockout.window", self.window), ("lockout.duration", self.duration)] {
            if span > day || span < SHORTEST {
                return Err(Error::invalid(param, "Choose a time between 1m and 24h."));
            }
        }
        Ok(())
    }

    /// The fields in which these let somebody guess more than `floor` does.
    #[must_use]
    pub fn looser_than(&self, floor: &Self) -> Vec<&'static str> {
        let is_looser = [
            ("max_failures", self.max_failures > floor.max_failures),
            ("window", self.window < floor.window),
            ("duration", self.duration < floor.duration),
        ];
        is_looser.into_iter().filter(|(_, is_looser)| *is_looser).map(|(field, _)| field).collect()
    }

    /// The stricter of the two in every field.
    #[must_use]
    pub fn tightened_to(&self, floor: &Self) -> Self {
        Self {
            max_failures: self.max_failures.min(floor.max_failures),
            window: self.window.max(floor.window),
            duration: self.duration.max(floor.duration),
        }
    }
}

/// A count of failures: what it is counted by, and how many it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// What it is counted by; unique over all counts.
    pub key: String,
    /// At this many failures it locks.
    pub limit: u32,
}

impl Count {
    /// Whether it counts what is tried at one account, and not all that comes from a network.
    #[must_use]
    pub fn is_of_account(&self) -> bool {
        !self.is_of_network() && self.key != DEPLOYMENT
    }

    /// Whether it counts all that comes from a network, whoever's account it is about.
    #[must_use]
    pub fn is_of_network(&self) -> bool {
        self.key.starts_with(NETWORK)
    }
}

/// How the keys of networks' counts begin.
const NETWORK: &str = "network/";

/// How much wider the account's own count is than that of one network: a stranger with many networks needs as many
/// tries, and the holder behind a known device is not touched by it.
const ACCOUNT_FACTOR: u32 = 10;

/// Failures that one network may cause within the window, over all accounts (a /24 or /64).
const NETWORK_LIMIT: u32 = 100;

/// Failures that all networks of one site may cause within the window: whoever has an IPv6 line has hundreds of networks of
/// 64 bits, and a site 65,536 of them (RFC 6177 section 2).
const SITE_LIMIT: u32 = 500;

/// What all failures of strangers are counted by, over all accounts and networks.
pub const DEPLOYMENT: &str = "everywhere";

/// So many failures within the window, wherever they come from, are an attack by many machines: until it is over,
/// passwords are listened to only from devices that have signed in before (OWASP ASVS 5.0, 6.3.1; API security 2).
pub const DEPLOYMENT_LIMIT: u32 = 5000;

/// So many accounts that one network fails at within the window are worth a record: whoever has a list of stolen passwords
/// tries each account once or twice.
pub const SPREAD: i64 = 20;

/// What the accounts are counted by that one network has failed at.
#[must_use]
pub fn spread_key(network: IpNet) -> String {
    format!("spread/{network}")
}

/// What the failures of one account from one network are counted by.
#[must_use]
pub fn account_at_network_key(account: &str, network: IpNet) -> String {
    format!("{}/{network}", account_key(account))
}

/// Who tries a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane<'a> {
    /// Anybody.
    Stranger,
    /// A device that has signed in to this very account before, by the digest of its secret.
    Device(&'a SecretDigest),
    /// Somebody who is signed in to this very account. All its sessions are one lane: whoever has found an open one guesses no
    /// faster for opening more.
    SignedIn,
}

/// What a try counts for, before any password is looked at, in the order in which it is counted. Behind a count that is over
/// its limit none is raised: a network that is no longer listened to uses up nothing that it shares with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The password is listened to while these are below their limits.
    pub deciding: Vec<Count>,
    /// These count the try too: whoever has found an open session gets no more guesses at the door for it.
    pub others: Vec<Count>,
}

/// What a try counts for. `account` is the account's id, or the folded address where there is none, or the digest of what is no
/// address.
#[must_use]
pub fn counts(settings: &LockoutSettings, account: &str, lane: Lane<'_>, ip: Option<IpAddr>) -> Counts {
    let own = |key| vec![Count { key, limit: settings.max_failures }];
    let at_the_door = || counts_of_strangers(settings, account, ip);
    match lane {
        Lane::Stranger => Counts { deciding: at_the_door(), others: Vec::new() },
        Lane::Device(device) => {
            let key = format!("{}/device/{device}", account_key(account));
            Counts { deciding: own(key), others: Vec::new() }
        }
        Lane::SignedIn => {
            Counts { deciding: own(format!("{}/signed_in", account_key(account))), others: at_the_door() }
        }
    }
}

fn counts_of_strangers(settings: &LockoutSettings, account: &str, ip: Option<IpAddr>) -> Vec<Count> {
    let mut counts = ip.map(counts_of_networks).unwrap_or_default();
    if let Some(network) = ip.map(network_of) {
        let key = account_at_network_key(account, network);
        counts.push(Count { key, limit: settings.max_failures });
    }
    let limit = settings.max_failures.saturating_mul(ACCOUNT_FACTOR);
    counts.push(Count { key: account_key(account), limit });
    counts.push(Count { key: DEPLOYMENT.to_owned(), limit: DEPLOYMENT_LIMIT });
    counts
}

/// What all tries from an address count for, whoever's account they are at: those of its network and, of IPv6, those of the
/// whole site, a /48.
#[must_use]
pub fn counts_of_networks(ip: IpAddr) -> Vec<Count> {
    let count = |network: IpNet, limit| Count { key: format!("{NETWORK}{network}"), limit };
    let network = network_of(ip);
    let site = match network {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some(IpNet::V6(Ipv6Net::new_assert(net.addr(), 48).trunc())),
    };
    let of_site = site.map(|site| count(site, SITE_LIMIT));
    std::iter::once(count(network, NETWORK_LIMIT)).chain(of_site).collect()
}

/// What the failures of one account are counted by, over all networks; the counts of its networks, of its devices and of its
/// sessions stand below it, so that what lifts a lock lifts it everywhere.
#[must_use]
pub fn account_key(account: &str) -> String {
    format!("account/{account}")
}

/// How many wrong codes of one kind an account takes within [`CODE_WINDOW`]: one count for all doors and networks, since
/// whoever types them has proven the password (RFC 4226 section 7.3; NIST SP 800-63B-4 section 3.2.2).
pub const CODES: u32 = 10;

/// The time over which wrong codes are counted, and for which the tenth one locks.
pub const CODE_WINDOW: Duration = Duration::from_mins(15);

/// How many wrong codes one sign-in takes before it has to begin again.
pub const CODES_OF_A_STEP: u32 = 5;

/// What the wrong codes of one kind are counted by. Not below [`account_key`]: a password that was reset must not give
/// anybody more guesses.
#[must_use]
pub fn code_key(account: &str, factor: Factor) -> String {
    format!("{}/{factor}", codes_key(account))
}

/// What the wrong codes of an account are counted below, of all kinds.
#[must_use]
pub fn codes_key(account: &str) -> String {
    format!("codes/{account}")
}

/// What the wrong codes at one step of a sign-in are counted by.
#[must_use]
pub fn step_key(step: &SecretDigest) -> String {
    format!("step/{step}")
}

/// The network that stands for an address: its /24, or its /64.
#[must_use]
pub fn network_of(ip: IpAddr) -> IpNet {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new_assert(v4, 24).trunc()),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, 64).trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_device_and_whoever_is_signed_in_keep_lanes_of_their_own() {
        let settings = LockoutSettings::default();
        let ip = Some("203.0.113.9".parse().unwrap());
        let stranger = counts(&settings, "usr_1", Lane::Stranger, ip).deciding;
        let device = counts(&settings, "usr_1", Lane::Device(&SecretDigest::of("device")), ip);
        let signed_in = counts(&settings, "usr_1", Lane::SignedIn, ip);
        assert_eq!((device.deciding.len(), signed_in.deciding.len()), (1, 1));
        assert_ne!(device.deciding, signed_in.deciding);
        let below = format!("{}/", account_key("usr_1"));
        for own in device.deciding.iter().chain(&signed_in.deciding) {
            assert!(own.key.starts_with(&below), "what lifts the account's lock lifts this one: {}", own.key);
        }
        assert!(
            stranger
                .iter()
                .all(|count| !device.deciding.contains(count) && !signed_in.deciding.contains(count))
        );
        assert_eq!(
            (device.others, &signed_in.others),
            (Vec::new(), &stranger),
            "guesses are guesses at the door too"
        );
        let of_account: Vec<_> = stranger.iter().filter(|count| count.is_of_account()).collect();
        assert_eq!(
            (stranger.len(), of_account.len()),
            (4, 2),
            "a network and the deployment lock nobody's account"
        );
    }

    #[test]
    fn what_one_network_does_is_counted_before_what_all_do() {
        let ip = Some("203.0.113.9".parse().unwrap());
        let counts = counts(&LockoutSettings::default(), "usr_1", Lane::Stranger, ip).deciding;
        let keys: Vec<_> = counts.iter().map(|count| count.key.as_str()).collect();
        let expected =
            ["network/203.0.113.0/24", "account/usr_1/203.0.113.0/24", "account/usr_1", "everywhere"];
        assert_eq!(keys, expected);
        let of_network: Vec<_> = counts.iter().map(Count::is_of_network).collect();
        assert_eq!(of_network, [true, false, false, false]);
    }

    #[test]
    fn a_site_of_many_networks_is_counted_as_a_whole() {
        let ip = Some("2001:db8:1:2:3:4:5:6".parse().unwrap());
        let counts = counts(&LockoutSettings::default(), "usr_1", Lane::Stranger, ip).deciding;
        let limits: Vec<_> = counts.iter().map(|count| (count.key.as_str(), count.limit)).collect();
        let expected = [
            ("network/2001:db8:1:2::/64", 100),
            ("network/2001:db8:1::/48", 500),
            ("account/usr_1/2001:db8:1:2::/64", 10),
            ("account/usr_1", 100),
            ("everywhere", 5000),
        ];
        assert_eq!(limits, expected);
        assert!(counts[..2].iter().all(Count::is_of_network), "neither locks anybody's account");
    }

    #[test]
    fn networks_are_counted_whole_and_mapped_addresses_as_what_they_are() {
        let table = [
            ("203.0.113.9", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ];
        for (ip, network) in table {
            assert_eq!(network_of(ip.parse().unwrap()).to_string(), network);
        }
    }
}
