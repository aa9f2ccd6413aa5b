//! Whatever a client sends, its head is refused or taken; one that is taken ends in its empty line and needs no more bytes.
#![no_main]

use kt_gateway::fuzzing::request_head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(length) = request_head(bytes) {
        assert!(bytes[..length].ends_with(b"\r\n\r\n"));
        assert_eq!(request_head(&bytes[..length]), Some(length));
        assert_eq!(request_head(&bytes[..length - 1]), None);
    }
});
