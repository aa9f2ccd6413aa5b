//! The ceremonies of WebAuthn level 3 section 16, for tests.

use jiff::Timestamp;
use kt_domain::id::UserId;
use kt_domain::random::Random;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Map;

use super::*;

/// In hexadecimal, as they stand there.
pub(super) const VECTORS: &str = include_str!("vectors.json");

pub(super) fn vector(name: &str) -> Value {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all.get(name).cloned().unwrap_or_else(|| panic!("{name}"))
}

/// The bytes at this place.
pub(super) fn bytes(vector: &Value, place: &str) -> Vec<u8> {
    let text = vector.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("{place}"));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The same as base64url.
pub(super) fn encoded(vector: &Value, place: &str) -> String {
    base64url(&bytes(vector, place))
}

/// What `toJSON()` of the credential would give.
pub(super) fn credential(vector: &Value, ceremony: &str) -> Value {
    let fields = vector[ceremony].as_object().unwrap().keys().filter(|name| *name != "challenge");
    let response: Map<String, Value> =
        fields.map(|name| (name.clone(), encoded(vector, &format!("/{ceremony}/{name}")).into())).collect();
    let id = encoded(vector, "/credential_id");
    json!({ "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {}, "response": response })
}

pub(super) fn party() -> RelyingParty {
    RelyingParty::new(&PublicUrl::parse("https://example.org").unwrap()).unwrap()
}

pub(super) fn somebody() -> User {
    let now = Timestamp::UNIX_EPOCH;
    User {
        id: UserId::new(now, &mut Random::seeded(1)),
        email: "ada@example.org".into(),
        email_folded: "ada@example.org".into(),
        email_verified_at: None,
        name: "Ada".into(),
        password: None,
        epoch: 1,
        created_at: now,
    }
}

/// The state that asked with the challenge of a vector; strict as ours is, or without asking for a verified user.
fn state<S: Serialize + DeserializeOwned>(begun: &S, vector: &Value, ceremony: &str, is_strict: bool) -> S {
    let mut state = serde_json::to_value(begun).unwrap();
    let inner = state.as_object_mut().unwrap().values_mut().next().unwrap();
    inner["challenge"] = encoded(vector, &format!("/{ceremony}/challenge")).into();
    if !is_strict {
        inner["policy"] = "discouraged".into();
    }
    serde_json::from_value(state).unwrap()
}

/// What asks for the passkey of a vector.
pub(super) fn asked_to_make(vector: &Value, is_strict: bool) -> PasskeyRegistration {
    let (_, begun) = party().begin_registration(&somebody(), Vec::new()).unwrap();
    state(&begun, vector, "made", is_strict)
}

/// What asks for it to be shown.
pub(super) fn asked_to_show(vector: &Value, is_strict: bool) -> DiscoverableAuthentication {
    let (_, begun) = party().begin_assertion(&[]).unwrap();
    state(&begun, vector, "shown", is_strict)
}

pub(super) fn make(vector: &Value, is_strict: bool) -> Result<Registered, Refusal> {
    party().finish_registration(&asked_to_make(vector, is_strict), &credential(vector, "made"))
}

pub(super) fn show(vector: &Value, passkey: Passkey, is_strict: bool) -> Result<Passkey, Refusal> {
    let assertion = party().read_assertion(&credential(vector, "shown"))?;
    party().finish_assertion(asked_to_show(vector, is_strict), &assertion, passkey)
}
