//! Whatever a client names as its trace, it is passed on in the one form that there is, or not at all.
#![no_main]

use kt_gateway::fuzzing::joined_trace;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|sent: &[u8]| {
    let Some(passed) = joined_trace(sent) else { return };
    let parts: Vec<&str> = passed.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    assert_eq!((parts[0], &lengths[..]), ("00", &[2, 32, 16, 2][..]), "{passed}");
    assert!(sent.split(|byte| *byte == b'-').nth(1) == Some(parts[1].as_bytes()), "{passed}");
    assert!(joined_trace(passed.as_bytes()).is_some(), "{passed}");
});
