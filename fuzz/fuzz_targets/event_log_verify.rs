//! Whatever a file holds, verifying it ends with an answer; what verifies holds a signature, and none of the log that a
//! stranger could make up bears the one that was asked for.
#![no_main]

use std::io::Write;

use kt_domain::events::{PublicKey, Record, canonical};
use kt_store::event_log::{Expectations, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(once) = canonical(bytes) {
        assert_eq!(canonical(&once).expect("the canonical form is JSON"), once);
    }
    if let Some(written) = Record::from_written(bytes) {
        // What is read without parsing means the same when it is parsed.
        if let Ok(parsed) = Record::from_json(bytes) {
            assert_eq!((parsed.seq, parsed.hash, parsed.kind), (written.seq, written.hash, written.kind));
        }
    }
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    let expectations = Expectations { public_key: Some(PublicKey([7; 32])), entries: Vec::new() };
    let found = verify(&[file.path().to_owned()], &expectations, &mut |_| {}).expect("a readable file");
    assert!(!found.valid, "nobody holds the key that was asked for");
    assert!(found.problem.is_some());
});
