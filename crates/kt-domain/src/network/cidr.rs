//! Ranges of addresses in CIDR notation (RFC 4632, RFC 4291 section 2.3): read strictly, shown in one form.
//!
//! Readers of addresses have disagreed about octets with leading zeros (CVE-2021-29922) and about IPv4 addresses in
//! IPv6 dress (CVE-2024-24790), and rules were passed by. So one spelling is accepted for each range, a single
//! address's prefix may be left out, and an IPv4-mapped address is an IPv4 address everywhere.

mod set;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use set::{CidrMap, CidrSet};

/// A range of IPv4 or IPv6 addresses, none of them IPv4-mapped; no bit is set beyond the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

impl Cidr {
    /// Whether the range holds `address`, which is taken as [`canonical`] makes it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&canonical(address))
    }

    /// Whether the range holds all of `other`.
    #[must_use]
    pub fn encloses(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    /// The lowest address of the range.
    pub(crate) fn start(self) -> IpAddr {
        self.0.addr()
    }

    /// Gives a range of IPv4-mapped addresses as the IPv4 range it stands for.
    ///
    /// CIDR ranges nest or are disjoint, so one with a prefix of 96 or more lies wholly inside `::ffff:0:0/96` or
    /// wholly outside. A shorter prefix, as in `::/0`, is a range of IPv6 addresses and holds no IPv4 address.
    fn folded(range: IpNet) -> Self {
        let as_v4 = match range {
            IpNet::V6(v6) => v6
                .addr()
                .to_ipv4_mapped()
                .zip(v6.prefix_len().checked_sub(MAPPED_BITS))
                .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()),
            IpNet::V4(_) => None,
        };
        Self(as_v4.map_or(range, IpNet::V4))
    }
}

/// `address`, with an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2) as the IPv4 address that
/// it is.
///
/// NAT64, 6to4, Teredo and `::a.b.c.d` stay IPv6: hosts behind a translator are not the IPv4 host they speak of.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Who an address is counted as: whoever has an IPv6 address usually has a whole network of 64 bits (RFC 6177 section 2), so
/// each of its addresses is the same one's.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// How many bits of an IPv4-mapped address come before the IPv4 address.
const MAPPED_BITS: u8 = 96;

/// An address by itself is the range that holds it alone.
impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address_text, prefix_text) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address_text.parse().map_err(|_| not_an_address(text, address_text))?;
        let Some(prefix_text) = prefix_text else {
            return Ok(single(address));
        };
        let range = prefix_number(prefix_text)
            .and_then(|prefix| IpNet::new(address, prefix).ok())
            .ok_or_else(|| bad_prefix(text, address))?;
        if range.trunc() == range { Ok(Self::folded(range)) } else { Err(host_bits(text, range)) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a text is no [`Cidr`], and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// What stands before the `/` is no address.
    #[error(
        "`{text}` is no range of IP addresses: write a whole address, `/` and a prefix length, such as `10.0.0.0/8` or `2001:db8::/32`"
    )]
    NotAnAddress {
        /// What was written.
        text: String,
    },
    /// An octet begins with 0.
    #[error(
        "`{text}` has an octet that begins with 0, which some programs read as octal: write its decimal number without the 0"
    )]
    LeadingZero {
        /// What was written.
        text: String,
    },
    /// The address names an interface.
    #[error(
        "`{text}` names an interface after `%`, which means nothing in a range: leave out `%` and what follows it up to `/`"
    )]
    ZoneId {
        /// What was written.
        text: String,
    },
    /// What follows the `/` is no prefix length of this address family.
    #[error(
        "`{text}` has no valid prefix length: write a whole number from 0 to {max} after `/`, digits only"
    )]
    BadPrefix {
        /// What was written.
        text: String,
        /// The longest prefix of the address family.
        max: u8,
    },
    /// Bits are set beyond the prefix.
    #[error(
        "`{text}` has bits set beyond its prefix: write `{masked}` for the whole range or `{address}` for the one address"
    )]
    HostBits {
        /// What was written.
        text: String,
        /// The range with those bits cleared.
        masked: Cidr,
        /// The range of that one address.
        address: Cidr,
    },
    /// An IPv4-mapped address has a prefix that ends before its IPv4 part.
    #[error(
        "`{text}` is an IPv4-mapped address with a prefix length below 96: write the range as IPv4, such as `{address}` for the one address"
    )]
    MappedPrefix {
        /// What was written.
        text: String,
        /// The range of that one address.
        address: Cidr,
    },
}

/// The range that holds `address` alone.
fn single(address: IpAddr) -> Cidr {
    Cidr(IpNet::from(canonical(address)))
}

/// Reads a prefix length: decimal digits without sign or leading zero.
fn prefix_number(text: &str) -> Option<u8> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok()).flatten()
}

/// Finds what keeps `address` from being an address.
fn not_an_address(text: &str, address: &str) -> CidrError {
    let text = text.to_owned();
    let begins_with_zero = |octet: &str| {
        octet.len() > 1 && octet.starts_with('0') && octet.bytes().all(|byte| byte.is_ascii_digit())
    };
    let dotted = address.rsplit(':').next().filter(|last| last.contains('.'));
    if address.contains('%') {
        CidrError::ZoneId { text }
    } else if dotted.is_some_and(|octets| octets.split('.').any(begins_with_zero)) {
        CidrError::LeadingZero { text }
    } else {
        CidrError::NotAnAddress { text }
    }
}

fn bad_prefix(text: &str, address: IpAddr) -> CidrError {
    CidrError::BadPrefix { text: text.to_owned(), max: IpNet::from(address).max_prefix_len() }
}

/// Names the ranges that may have been meant. The bits that are set beyond a mapped address's short prefix are the
/// mark of the mapping itself; the masked form, `::/8` and the like, was certainly not meant.
fn host_bits(text: &str, range: IpNet) -> CidrError {
    let text = text.to_owned();
    let address = single(range.addr());
    let mapped = canonical(range.addr()) != range.addr();
    if mapped && range.prefix_len() < MAPPED_BITS {
        CidrError::MappedPrefix { text, address }
    } else {
        CidrError::HostBits { text, masked: Cidr::folded(range.trunc()), address }
    }
}
