//! Whatever a forwarding header holds, it is resolved or refused, and what a stranger puts to the left of what a proxy
//! appends changes nothing.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use kt_domain::network::cidr::CidrSet;
use kt_domain::network::client_addr::{ClientAddress, UnresolvedSource};
use libfuzzer_sys::fuzz_target;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fuzz_target!(|lines: Vec<&[u8]>| {
    for (header, appended) in
        [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1"), ("X-Real-IP", "")]
    {
        for (proxies, hops) in [(None, 1), (None, 3), (Some("10.0.0.0/8"), 1)] {
            let proxies: CidrSet = proxies.iter().map(|text| text.parse().expect("a range")).collect();
            let hops = NonZeroU32::new(hops).expect("at least one hop");
            let rule = ClientAddress::new(Some(header.parse().expect("a header name")), proxies, hops);
            if let Ok(source) = rule.resolve(PEER, lines.iter().copied()) {
                assert_eq!(source, source.to_canonical());
            }
            if hops.get() == 1 && !appended.is_empty() {
                let lines = lines.iter().copied().chain([appended.as_bytes()]);
                let resolved = rule.resolve(PEER, lines);
                assert!(matches!(resolved, Ok(CLIENT) | Err(UnresolvedSource::TooLong)), "{resolved:?}");
            }
        }
    }
});
