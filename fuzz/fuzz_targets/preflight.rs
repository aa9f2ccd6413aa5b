//! Whatever header names a preflight asks for, it is answered with names that it has asked for, each of them a token, or with
//! none.
#![no_main]

use kt_gateway::fuzzing::preflight;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|asked: &[u8]| {
    let Some(answered) = preflight(asked) else { return };
    let answered = String::from_utf8(answered).expect("tokens are text");
    for name in answered.split(", ") {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?}");
        assert!(asked.split(|byte| *byte == b',').any(|own| own.trim_ascii() == name.as_bytes()), "{name:?}");
    }
});
