use jiff::Timestamp;
use kt_domain::id::UserId;
use kt_domain::random::Random;
use serde_json::Map;

use super::*;

/// Ceremonies of WebAuthn level 3 section 16, in hexadecimal as they stand there.
const VECTORS: &str = include_str!("vectors.json");

fn vector(name: &str) -> Value {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all.get(name).cloned().unwrap_or_else(|| panic!("{name}"))
}

/// The hexadecimal text at this place, as base64url.
fn encoded(vector: &Value, place: &str) -> String {
    let text = vector.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("{place}"));
    let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap());
    base64url(&bytes.collect::<Vec<u8>>())
}

/// What `toJSON()` of the credential would give.
fn credential(vector: &Value, ceremony: &str) -> Value {
    let fields = vector[ceremony].as_object().unwrap().keys().filter(|name| *name != "challenge");
    let response: Map<String, Value> =
        fields.map(|name| (name.clone(), encoded(vector, &format!("/{ceremony}/{name}")).into())).collect();
    let id = encoded(vector, "/credential_id");
    json!({ "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {}, "response": response })
}

fn party() -> RelyingParty {
    RelyingParty::new(&PublicUrl::parse("https://example.org").unwrap()).unwrap()
}

fn somebody() -> User {
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
fn state<S: serde::Serialize + serde::de::DeserializeOwned>(
    begun: &S,
    vector: &Value,
    ceremony: &str,
    is_strict: bool,
) -> S {
    let mut state = serde_json::to_value(begun).unwrap();
    let inner = state.as_object_mut().unwrap().values_mut().next().unwrap();
    inner["challenge"] = encoded(vector, &format!("/{ceremony}/challenge")).into();
    if !is_strict {
        inner["policy"] = "discouraged".into();
    }
    serde_json::from_value(state).unwrap()
}

fn make(vector: &Value, is_strict: bool) -> Result<Registered, Error> {
    let (_, begun) = party().begin_registration(&somebody(), Vec::new()).unwrap();
    party().finish_registration(&state(&begun, vector, "made", is_strict), &credential(vector, "made"))
}

fn show(vector: &Value, passkey: Passkey, is_strict: bool) -> Result<Passkey, String> {
    let why = |refusal| match refusal {
        Refusal::Cloned => "cloned".to_owned(),
        Refusal::Refused(why) => why,
    };
    let (_, begun) = party().begin_assertion(&[]).unwrap();
    let assertion = party().read_assertion(&credential(vector, "shown")).map_err(why)?;
    party().finish_assertion(state(&begun, vector, "shown", is_strict), &assertion, passkey).map_err(why)
}

#[test]
fn the_ceremonies_of_the_specification_are_believed_where_a_user_was_verified() {
    // Whether making and showing it are believed, and whether they would be if no user had to be verified.
    let table = [
        ("none-es256", [false, false], [true, true]),
        ("packed-self-es256", [true, false], [true, true]),
        ("packed-es256", [true, true], [true, true]),
    ];
    for (name, strict, lax) in table {
        let vector = vector(name);
        for (is_strict, [made, shown]) in [(true, strict), (false, lax)] {
            let registered = make(&vector, is_strict);
            assert_eq!(registered.is_ok(), made, "{name}, strict: {is_strict}: {:?}", registered.err());
            let passkey = make(&vector, false).unwrap();
            assert_eq!(base64url(passkey.passkey.cred_id()), encoded(&vector, "/credential_id"));
            let used = show(&vector, passkey.passkey, is_strict);
            assert_eq!(used.is_ok(), shown, "{name}, strict: {is_strict}: {:?}", used.err());
        }
    }
    let model = make(&vector("packed-es256"), true).unwrap().aaguid;
    assert_eq!(model.to_string(), "876ca4f5-2071-c3e9-b255-09ef2cdf7ed6");
}

#[test]
fn the_ceremonies_of_the_specification_in_a_frame_of_another_page_are_refused() {
    let passkey = make(&vector("packed-es256"), true).unwrap().passkey;
    for name in ["none-es256-crossOrigin", "none-es256-topOrigin"] {
        let vector = vector(name);
        let refused = make(&vector, false).err().unwrap();
        assert_eq!(refused.private.as_deref(), Some("the page was framed by another"), "{name}");
        let refused = show(&vector, passkey.clone(), false).unwrap_err();
        assert_eq!(refused, "the page was framed by another", "{name}");
    }
}

#[test]
fn a_ceremony_of_the_specification_with_one_thing_changed_is_refused() {
    let good = vector("packed-es256");
    let passkey = make(&good, true).unwrap().passkey;
    let other = vector("packed-self-es256");
    for (place, why) in [
        ("/shown/signature", "another signature"),
        ("/shown/authenticatorData", "what was not signed"),
        ("/shown/clientDataJSON", "the challenge of another"),
    ] {
        let mut changed = good.clone();
        *changed.pointer_mut(place).unwrap() = other.pointer(place).unwrap().clone();
        assert!(show(&changed, passkey.clone(), false).is_err(), "{why}");
    }
    assert!(show(&good, passkey, true).is_ok(), "the control");
}

#[test]
fn passkeys_belong_to_a_name_and_never_to_an_address() {
    let party = |url: &str| RelyingParty::new(&PublicUrl::parse(url).unwrap());
    let table = [
        ("http://localhost:3000", "localhost", "http://localhost:3000"),
        ("https://kt.example.org/trusts", "kt.example.org", "https://kt.example.org"),
        ("https://KT.example.org:8443", "kt.example.org", "https://kt.example.org:8443"),
    ];
    for (url, id, origin) in table {
        let party = party(url).unwrap();
        assert_eq!((party.id(), party.origin.as_str()), (id, origin));
    }
    for url in ["http://127.0.0.1:3000", "http://[::1]:3000", "https://192.0.2.7"] {
        let refused = party(url).err().unwrap();
        assert_eq!(refused.param.as_deref(), Some("console.public_url"));
        assert!(refused.message.contains("Give the console a name"), "{}", refused.message);
    }
}
