//! Which addresses may be connected to because a setting says so.
//!
//! Whoever may name an address must not thereby speak to what trusts this machine: its own services, its network, the
//! cloud's metadata (OWASP: server-side request forgery). A name is judged by every address that it resolves to, and the
//! connection goes to the address that was judged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::cidr::canonical;

/// How far connections may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// To addresses of the internet.
    #[default]
    Public,
    /// Also to this machine and its networks; never to a cloud's metadata service.
    Private,
}

impl Reach {
    /// Whether a connection may go to `address`.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        let address = canonical(address);
        let is_host = !(address.is_unspecified() || address.is_multicast() || is_broadcast(address));
        match self {
            Self::Public => is_host && is_public(address) && !is_metadata_address(address),
            Self::Private => is_host && !is_metadata_address(address),
        }
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Addresses outside the link-local ranges at which clouds serve them: Alibaba, Azure, Oracle, AWS over IPv6.
const METADATA_ADDRESSES: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether nothing may be forwarded to `address`, since it is link-local or a cloud's metadata service: what a machine
/// of the cloud may do would be open to every caller. A name must be checked again for each address it resolves to.
pub(crate) fn is_metadata_address(address: IpAddr) -> bool {
    let address = canonical(address);
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_link_local || METADATA_ADDRESSES.contains(&address)
}

/// Where global unicast addresses of IPv6 are given from (RFC 4291, IANA); nothing outside is of the internet.
const GLOBAL_UNICAST: (IpAddr, u8) = v6(0x2000, 0, 3);

/// What is not reachable globally by the registries of special addresses of IANA; and the IPv6 ranges that carry an IPv4
/// address inside, which a translator on the way would connect to.
const SPECIAL: [(IpAddr, u8); 19] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    // Teredo and the other assignments to protocols.
    v6(0x2001, 0, 23),
    v6(0x2001, 0xdb8, 32),
    // 6to4.
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix)
}

const fn v6(a: u16, b: u16, prefix: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), prefix)
}

fn is_public(address: IpAddr) -> bool {
    let is_in = |(start, prefix)| range(start, prefix).is_some_and(|range| range.contains(&address));
    (address.is_ipv4() || is_in(GLOBAL_UNICAST)) && !SPECIAL.into_iter().any(is_in)
}

fn range(start: IpAddr, prefix: u8) -> Option<IpNet> {
    match start {
        IpAddr::V4(start) => Ipv4Net::new(start, prefix).ok().map(IpNet::V4),
        IpAddr::V6(start) => Ipv6Net::new(start, prefix).ok().map(IpNet::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_reached_is_told_for_each_address() {
        // Address, whether `public` reaches it, whether `private` does.
        for (address, public, private) in [
            ("93.184.216.34", true, true),
            ("2606:4700::1111", true, true),
            ("::ffff:93.184.216.34", true, true),
            ("127.0.0.1", false, true),
            ("127.255.255.254", false, true),
            ("::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("10.0.0.1", false, true),
            ("172.31.255.255", false, true),
            ("172.32.0.0", true, true),
            ("192.168.1.1", false, true),
            ("100.64.0.1", false, true),
            ("198.19.255.255", false, true),
            ("fd00::1", false, true),
            ("fec0::1", false, true),
            ("64:ff9b::7f00:1", false, true),
            ("2002:7f00:1::", false, true),
            ("2001::1", false, true),
            ("2001:200::1", true, true),
            ("4000::1", false, true),
            ("::127.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fd00:ec2::254", false, false),
            ("100.100.100.200", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("ff02::1", false, false),
        ] {
            let at: IpAddr = address.parse().unwrap();
            assert_eq!(Reach::Public.allows(at), public, "{address} by the internet alone");
            assert_eq!(Reach::Private.allows(at), private, "{address} with private ranges");
        }
    }

    #[test]
    fn every_special_range_is_well_formed() {
        for (start, prefix) in SPECIAL {
            let range = range(start, prefix).unwrap();
            assert_eq!(range.network(), start, "{start}/{prefix} has bits beyond its prefix");
        }
    }
}
