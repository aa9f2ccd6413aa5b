//! Whatever a provider answers with, its head is refused or taken; one that is taken is whole, and longer by one byte it
//! is no head.
#![no_main]

use kt_gateway::fuzzing::answer_head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((status, _, length)) = answer_head(bytes) else { return };
    assert!((100..1000).contains(&status));
    if matches!(status, 100..200 | 204 | 304) {
        assert_eq!(length, Some(0), "such an answer has no body");
    }
    assert_eq!(answer_head(&bytes[..bytes.len() - 1]), None);
    assert_eq!(answer_head(&[bytes, b"x"].concat()), None);
});
