//! Whatever a body is said to be packed in, what comes out of it is held to the limit to the byte; one that is not packed
//! stays as it is.
#![no_main]

use kt_gateway::fuzzing::decoded_body;
use libfuzzer_sys::fuzz_target;

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];
const LIMIT: u64 = 64 * 1024;

fuzz_target!(|input: (u8, &[u8])| {
    let (coding, body) = input;
    assert_eq!(decoded_body("identity", body, LIMIT).as_deref(), Some(body));
    let coding = CODINGS[usize::from(coding) % CODINGS.len()];
    let Some(content) = decoded_body(coding, body, LIMIT) else { return };
    let length = content.len() as u64;
    assert!(length <= LIMIT);
    assert_eq!(decoded_body(coding, body, length).as_ref(), Some(&content));
    if length > 0 {
        assert_eq!(decoded_body(coding, body, length - 1), None);
    }
});
