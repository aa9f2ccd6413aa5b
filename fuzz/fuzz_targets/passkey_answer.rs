//! An answer of an authenticator, as strangers write it, in CBOR and in JSON: a passkey is made to the challenge that was
//! asked with and to no other, and of one that is known nothing is believed but what its key has signed.
#![no_main]

use std::sync::LazyLock;

use kt_control::fuzzing::passkeys::{challenge, made, made_by, shown, shown_by, signed};
use libfuzzer_sys::fuzz_target;

static CHALLENGE: LazyLock<String> = LazyLock::new(challenge);
static SIGNED: LazyLock<[Vec<u8>; 2]> = LazyLock::new(signed);

/// A part whose length stands before it in two bytes, and what is behind it.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

fn holds(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}

fn check(kind: u8, bytes: &[u8]) -> Option<()> {
    match kind % 4 {
        0 => {
            let (client_data, object) = part(bytes)?;
            assert!(!made(client_data, object) || holds(client_data, &CHALLENGE));
        }
        1 => {
            let (client_data, rest) = part(bytes)?;
            let (data, signature) = part(rest)?;
            assert!(!shown(client_data, data, signature) || (client_data == SIGNED[0] && data == SIGNED[1]));
        }
        // In JSON: read without harm, whatever comes of it.
        2 => _ = made_by(&serde_json::from_slice(bytes).ok()?),
        _ => _ = shown_by(&serde_json::from_slice(bytes).ok()?),
    }
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    check(*kind, rest);
});
