//! Whatever an authenticator answers is read or refused; the passkey that is believed is the one that stands in the answer.
#![no_main]

use kt_control::fuzzing::{attestation, passkey_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    if let Ok(answer) = serde_json::from_slice(answer) {
        let _ = passkey_answer(&answer);
    }
    let Some(id) = attestation(answer) else { return };
    assert!((1..=1023).contains(&id.len()));
    assert!(answer.windows(id.len()).any(|part| part == id));
});
