//! Whatever a provider streams, it tells of the same tokens however it is cut on its way; an answer that is not a stream
//! is one line of it.
#![no_main]

use kt_gateway::fuzzing::{usage_of_answer, usage_of_stream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let at_once = usage_of_stream(bytes, bytes.len());
    assert_eq!(usage_of_stream(bytes, usize::from(size)), at_once);
    if !bytes.contains(&b'\n') {
        assert_eq!(usage_of_stream(&[bytes, b"\n"].concat(), bytes.len() + 1), usage_of_answer(bytes));
    }
});
