//! Whatever comes as a chunked body, it is the same body however it is cut on its way.
#![no_main]

use kt_gateway::fuzzing::chunked_body;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let at_once = chunked_body(bytes, bytes.len());
    assert_eq!(chunked_body(bytes, usize::from(size)), at_once);
    assert!(at_once.0.len() <= bytes.len());
});
