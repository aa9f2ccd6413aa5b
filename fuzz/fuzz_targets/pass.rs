//! Whatever a client shows as its bearer, it is taken apart as a pass or it is none; the signature stands over all that
//! comes before it.
#![no_main]

use kt_domain::keys::UnverifiedPass;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bearer: &[u8]| {
    let Some(pass) = UnverifiedPass::parse(bearer) else { return };
    assert!(bearer.starts_with(pass.signed) && bearer[pass.signed.len()] == b'.');
    assert_eq!(pass.signed.iter().filter(|byte| **byte == b'.').count(), 1);
    if let Some(claims) = pass.claims() {
        assert_eq!(serde_json::from_value(serde_json::json!(claims)).ok(), Some(claims), "it says one thing");
    }
});
