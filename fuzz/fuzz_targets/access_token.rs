//! Nothing that a stranger makes up is an access token, and what our own key signs is one only for its time.
#![no_main]

use kt_control::fuzzing::{HEADER, ISSUER, NOW, access_token, signed_access_token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (made_up, header, claims) = input;
    assert_eq!(access_token(made_up), None, "nobody has signed it");
    let header = if header.is_empty() { HEADER } else { header };
    let Some(claims) = signed_access_token(header, claims) else { return };
    assert_eq!(claims["iss"], ISSUER);
    let at = |claim: &str| claims[claim].as_i64().expect("a time");
    assert!(NOW < at("exp") && at("exp") - at("iat") <= 900, "{claims}");
});
