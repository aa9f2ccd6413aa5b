//! Whatever head comes over HTTP/2, it is refused or taken; one that is taken is taken over HTTP/1 as well, so that neither
//! protocol is a way around a rule of the other, and what a provider is sent of it is HTTP.
#![no_main]

use kt_gateway::fuzzing::{http2_head, request_head};
use libfuzzer_sys::fuzz_target;

/// Both hold first lines to their limits, and the rest of the line is not the same.
const MAX_BYTES: usize = 8 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n').map(|part| &part[..part.len().min(MAX_BYTES)]);
    let mut next = || parts.next().unwrap_or_default();
    if let Some(written) = http2_head(next(), next(), next()) {
        assert_eq!(request_head(&written), Some(written.len()), "{}", String::from_utf8_lossy(&written));
    }
});
