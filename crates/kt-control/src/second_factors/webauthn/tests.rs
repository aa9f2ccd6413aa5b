use super::specification::{VECTORS, encoded, make, party, show, somebody, vector};
use super::*;

#[test]
fn the_ceremonies_of_the_specification_are_believed_where_a_user_was_verified() {
    // Whether making it and showing it are believed. All of them would be if no user had to be verified.
    let table = [
        ("none-es256", [false, false]),
        ("packed-self-es256", [true, false]),
        ("none-es256-long-credential-id", [false, true]),
        ("packed-es256", [true, true]),
        ("packed-es384", [false, true]),
        ("apple-es256", [false, false]),
        ("fido-u2f-es256", [false, false]),
        // Their attestations name no maker of TPMs and no key that was made on an Android device. Nobody asked for one.
        ("tpm-es256", [true, true]),
        ("android-key-es256", [true, false]),
    ];
    for (name, strict) in table {
        let vector = vector(name);
        for (is_strict, [made, shown]) in [(true, strict), (false, [true, true])] {
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
fn the_credentials_of_the_specification_that_are_not_taken_are_refused() {
    let asked = party().begin_registration(&somebody(), Vec::new()).unwrap().0;
    let params = asked["pubKeyCredParams"].as_array().unwrap();
    let offered: Vec<_> = params.iter().map(|one| one["alg"].clone()).collect();
    assert_eq!(offered, [json!(-7), json!(-35), json!(-257)], "ES256, ES384, RS256");
    // No browser that heeds what is offered makes one of these: a passkey that could be added and never signs in would be worse
    // than none. webauthn-rs 0.6.2 is the reason for each, and verifiers of our own are not made (decision 0025).
    let table = [
        (
            "packed-es512",
            "not offered: the library reads such keys, and takes every signature of them for wrong",
        ),
        ("packed-eddsa", "not offered: the library verifies nothing with Ed25519"),
        ("packed-ed448", "not offered, and no library of ours knows the curve"),
        ("packed-rs256", "a modulus of 3482 bits: the library reads those of 2048 alone"),
    ];
    for (name, why) in table {
        let refused = make(&vector(name), false).err().unwrap_or_else(|| panic!("{name}: {why}"));
        assert_eq!(refused.fault, Fault::WrongKey, "{name}: {why}: {}", refused.why);
    }
}

#[test]
fn every_ceremony_of_the_specification_is_tried() {
    let tried = include_str!("tests.rs");
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(all.as_object().unwrap().len(), 15);
    for name in all.as_object().unwrap().keys() {
        assert!(tried.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn the_ceremonies_of_the_specification_in_a_frame_of_another_page_are_refused() {
    let passkey = make(&vector("packed-es256"), true).unwrap().passkey;
    for name in ["none-es256-crossOrigin", "none-es256-topOrigin"] {
        let vector = vector(name);
        assert_eq!(make(&vector, false).err().unwrap().fault, Fault::FramedPage, "{name}");
        assert_eq!(show(&vector, passkey.clone(), false).unwrap_err().fault, Fault::FramedPage, "{name}");
    }
}

#[test]
fn a_ceremony_of_the_specification_with_one_thing_changed_is_refused() {
    let good = vector("packed-es256");
    let passkey = make(&good, true).unwrap().passkey;
    let other = vector("packed-self-es256");
    for (place, fault) in [
        ("/shown/signature", Fault::WrongSignature),
        ("/shown/authenticatorData", Fault::UserNotVerified),
        ("/shown/clientDataJSON", Fault::WrongChallenge),
    ] {
        let mut changed = good.clone();
        *changed.pointer_mut(place).unwrap() = other.pointer(place).unwrap().clone();
        assert_eq!(show(&changed, passkey.clone(), false).unwrap_err().fault, fault, "{place}");
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
