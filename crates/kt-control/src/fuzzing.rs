//! The doors through which fuzz targets reach this crate's parsers. No program has them.

#![expect(clippy::expect_used, reason = "what the doors are made of is fixed")]

use std::sync::LazyLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kt_domain::id::UserId;
use kt_domain::public_url::PublicUrl;
use kt_domain::random::Random;
use kt_store::users::User;
use serde_json::{Value, json};
use webauthn_rs::prelude::PasskeyRegistration;

use crate::jwt::Signer;
use crate::second_factors::webauthn::RelyingParty;

/// When access tokens are read, in seconds.
pub const NOW: i64 = 1_800_000_000;

/// Who signs them.
pub const ISSUER: &str = "https://keeptrusts.example.org";

/// The header of one of ours.
pub const HEADER: &[u8] = br#"{"typ":"at+jwt","alg":"EdDSA","kid":"k1"}"#;

const SEED: [u8; 32] = [7; 32];

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::with_key(ISSUER, &SEED).expect("a signer"));

/// What an access token says; `None` where it is refused.
#[must_use]
pub fn access_token(token: &str) -> Option<Value> {
    let now = Timestamp::from_second(NOW).expect("a moment");
    SIGNER.verify(token, now).map(|claims| json!(claims))
}

/// The same of a token with this header and these claims that our key has signed.
#[must_use]
pub fn signed_access_token(header: &[u8], claims: &[u8]) -> Option<Value> {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("a key");
    let signature = key.sign(text.as_bytes());
    access_token(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A passkey that somebody is making, and the client data of a browser on the right page.
struct Ceremony {
    party: RelyingParty,
    state: PasskeyRegistration,
    client_data: String,
}

static CEREMONY: LazyLock<Ceremony> = LazyLock::new(|| {
    let party = RelyingParty::new(&PublicUrl::parse(ISSUER).expect("an address")).expect("a name");
    let now = Timestamp::from_second(NOW).expect("a moment");
    let holder = User {
        id: UserId::new(now, &mut Random::seeded(1)),
        email: "jo@example.org".to_owned(),
        email_folded: "jo@example.org".to_owned(),
        email_verified_at: Some(now),
        name: "Jo".to_owned(),
        password: None,
        epoch: 1,
        created_at: now,
    };
    let (options, state) = party.begin_registration(&holder, Vec::new()).expect("a challenge");
    let data = json!({ "type": "webauthn.create", "challenge": options["challenge"], "origin": ISSUER });
    Ceremony { party, state, client_data: URL_SAFE_NO_PAD.encode(data.to_string()) }
});

/// Whether the answer of a browser that shows a passkey can be read.
#[must_use]
pub fn passkey_answer(answer: &Value) -> bool {
    CEREMONY.party.read_assertion(answer).is_ok()
}

/// Reads what an authenticator says of a passkey that it has made: the identifier of the passkey, where it is believed.
#[must_use]
pub fn attestation(object: &[u8]) -> Option<Vec<u8>> {
    let answer = json!({
        "id": "aWQ",
        "rawId": "aWQ",
        "type": "public-key",
        "response": { "attestationObject": URL_SAFE_NO_PAD.encode(object), "clientDataJSON": CEREMONY.client_data },
    });
    let made = CEREMONY.party.finish_registration(&CEREMONY.state, &answer).ok()?;
    Some(made.passkey.cred_id().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_passes_the_doors_and_its_neighbours_do_not() {
        let seed = include_bytes!("../../../fuzz/seeds/passkey_answer/none");
        assert_eq!(attestation(seed).as_deref(), Some(&b"an identifier 16"[..]));
        assert_eq!(attestation(&seed[1..]), None);

        let claims = |exp: i64| {
            let claims = json!({
                "iss": ISSUER, "aud": "keeptrusts-api", "sub": "usr_0190a1b2c3d47e5f8a9b0c1d2e3f4a5b",
                "org": "org_0190a1b2c3d47e5f8a9b0c1d2e3f4a5b", "sid": "ses_0190a1b2c3d47e5f8a9b0c1d2e3f4a5b",
                "role": "member", "amr": ["pwd"], "auth_time": NOW, "iat": NOW, "nbf": NOW, "exp": exp,
            });
            claims.to_string()
        };
        assert!(signed_access_token(HEADER, claims(NOW + 900).as_bytes()).is_some());
        assert_eq!(signed_access_token(HEADER, claims(NOW + 901).as_bytes()), None);
        assert_eq!(signed_access_token(HEADER, claims(i64::MAX).as_bytes()), None);
        assert_eq!(signed_access_token(b"{}", claims(NOW + 900).as_bytes()), None);
    }
}
