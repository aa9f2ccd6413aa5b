//! Whatever a proxy sends ahead, it is refused, or names a client that stands in it.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use kt_gateway::fuzzing::proxied_client;
use libfuzzer_sys::fuzz_target;

const TEXT: &[u8] = b"PROXY ";

fuzz_target!(|bytes: &[u8]| {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    for header in [bytes.to_vec(), [TEXT, bytes].concat()] {
        let Some(client) = proxied_client(&header, peer) else { continue };
        if header.starts_with(TEXT) {
            let line = String::from_utf8_lossy(&header);
            let is_named = line.split([' ', '\r']).any(|word| word.parse() == Ok(client.ip()));
            assert!(is_named || client == peer, "{client} in {line}");
        }
    }
});
