//! The tokens that a state-changing request of the console carries in [`HEADER`] (R55–R66).
//!
//! A token is a nonce and its MAC under the browser's cookie, which no other site can read. It is bound to that cookie,
//! dies with it, and needs no place in the store (OWASP CSRF Prevention: signed double submit, bound to the session).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::random::Random;

/// The header that carries a token, there and back.
pub const HEADER: &str = "x-keeptrusts-csrf-token";

const NONCE_BYTES: usize = 16;

/// What tells tokens of one cookie apart: where each works once, this is what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// Its text in the store.
    #[must_use]
    pub fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// A new token for the holder of `cookie`: 64 characters of base64url.
#[must_use]
pub fn issue(cookie: &str, random: &mut Random) -> String {
    let nonce = random.bytes::<NONCE_BYTES>();
    let mut token = nonce.to_vec();
    token.extend_from_slice(&mac(cookie, &nonce).finalize().into_bytes());
    URL_SAFE_NO_PAD.encode(token)
}

/// The nonce of a token that was issued for `cookie`; `None` for any other text. Compared in constant time.
#[must_use]
pub fn check(cookie: &str, token: &str) -> Option<Nonce> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (nonce, tag) = bytes.split_first_chunk::<NONCE_BYTES>()?;
    mac(cookie, nonce).verify_slice(tag).ok()?;
    Some(Nonce(*nonce))
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104)")]
fn mac(cookie: &str, nonce: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(cookie.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(b"keeptrusts csrf\0");
    mac.update(nonce);
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_cookie_alone() {
        let mut random = Random::seeded(1);
        let token = issue("cookie", &mut random);
        assert!(check("cookie", &token).is_some());
        assert_eq!(check("another", &token), None);
        assert_ne!(issue("cookie", &mut random), token, "each page gets its own");
        for broken in ["", "a", &token[..63], &format!("{token}A"), &token.to_lowercase()] {
            assert_eq!(check("cookie", broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn no_changed_token_is_good(place in 0_usize..48, bit in 0_u8..8) {
            let token = issue("cookie", &mut Random::seeded(2));
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            bytes[place] ^= 1 << bit;
            prop_assert_eq!(check("cookie", &URL_SAFE_NO_PAD.encode(bytes)), None);
        }
    }
}
