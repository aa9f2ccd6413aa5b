//! Whatever a client shows as its bearer, it is let in as an access token if it is, to the letter, the only one that was
//! ever signed.
#![no_main]

use std::sync::LazyLock;

use kt_control::fuzzing::{is_access_token, only_access_token};
use libfuzzer_sys::fuzz_target;

static TOKEN: LazyLock<String> = LazyLock::new(only_access_token);

fuzz_target!(|bearer: &[u8]| {
    let Ok(bearer) = std::str::from_utf8(bearer) else { return };
    assert_eq!(is_access_token(bearer), bearer == *TOKEN);
});
