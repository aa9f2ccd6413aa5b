//! Answers of authenticators as strangers write them, to the ceremonies that asked for the passkey `packed-es256` of the
//! specification.

use std::sync::LazyLock;

use super::specification::{asked_to_make, asked_to_show, bytes, credential, make, party, vector};
use super::*;

struct World {
    vector: Value,
    party: RelyingParty,
    made: PasskeyRegistration,
    shown: DiscoverableAuthentication,
    passkey: Passkey,
}

#[expect(clippy::unwrap_used, reason = "a vector of the specification is a good passkey")]
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let vector = vector("packed-es256");
    World {
        party: party(),
        made: asked_to_make(&vector, true),
        shown: asked_to_show(&vector, true),
        passkey: make(&vector, true).unwrap().passkey,
        vector,
    }
});

/// Whether a passkey is taken that was made so.
#[must_use]
pub fn made(client_data: &[u8], attestation_object: &[u8]) -> bool {
    let mut credential = credential(&WORLD.vector, "made");
    credential["response"]["clientDataJSON"] = base64url(client_data).into();
    credential["response"]["attestationObject"] = base64url(attestation_object).into();
    made_by(&credential)
}

/// The same for the JSON that a page sends.
#[must_use]
pub fn made_by(credential: &Value) -> bool {
    WORLD.party.finish_registration(&WORLD.made, credential).is_ok()
}

/// Whether the passkey is believed that was shown so.
#[must_use]
pub fn shown(client_data: &[u8], authenticator_data: &[u8], signature: &[u8]) -> bool {
    let mut credential = credential(&WORLD.vector, "shown");
    let parts = [
        ("clientDataJSON", client_data),
        ("authenticatorData", authenticator_data),
        ("signature", signature),
    ];
    for (name, part) in parts {
        credential["response"][name] = base64url(part).into();
    }
    shown_by(&credential)
}

/// The same for the JSON that a page sends.
#[must_use]
pub fn shown_by(credential: &Value) -> bool {
    let Ok(assertion) = WORLD.party.read_assertion(credential) else { return false };
    WORLD.party.finish_assertion(WORLD.shown.clone(), &assertion, WORLD.passkey.clone()).is_ok()
}

/// What its key has signed: the client data and the authenticator data, and nothing else.
#[must_use]
pub fn signed() -> [Vec<u8>; 2] {
    ["/shown/clientDataJSON", "/shown/authenticatorData"].map(|place| bytes(&WORLD.vector, place))
}

/// The challenge that a passkey is made to.
#[must_use]
pub fn challenge() -> String {
    base64url(&bytes(&WORLD.vector, "/made/challenge"))
}
