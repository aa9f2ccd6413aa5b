use kt_domain::keys::UnverifiedPass;
use kt_domain::random::Random;
use serde_json::{Value, json};

use super::*;

const PRESENT: &str = "2026-03-15T14:22:31Z";

fn now() -> Timestamp {
    PRESENT.parse().unwrap()
}

/// A signer with one key, and the key's private part.
fn signer() -> (Signer, EncodingKey, String) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let key = EncodingKey::from_ed_der(pkcs8.as_ref());
    (Signer::with_key("https://api.example.com", &[7; 32]).unwrap(), key, x)
}

fn good_claims() -> Value {
    let mut random = Random::seeded(1);
    json!({
        "iss": "https://api.example.com", "aud": AUDIENCE, "sub": UserId::new(now(), &mut random),
        "org": OrganizationId::new(now(), &mut random), "role": "member", "sid": SessionId::new(now(), &mut random),
        "amr": ["pwd"], "auth_time": now().as_second(), "iat": now().as_second(), "nbf": now().as_second(),
        "exp": now().as_second() + 900,
    })
}

fn good_header() -> Header {
    Header { typ: Some(TYPE.into()), kid: Some("k1".into()), ..Header::new(Algorithm::EdDSA) }
}

#[test]
fn a_token_is_good_from_its_beginning_until_its_end() {
    let (signer, key, _) = signer();
    let token = jsonwebtoken::encode(&good_header(), &good_claims(), &key).unwrap();
    for (seconds, good) in [(-31, false), (-30, true), (0, true), (899, true), (900, false)] {
        let at = now() + jiff::SignedDuration::from_secs(seconds);
        assert_eq!(signer.verify(&token, at).is_some(), good, "{seconds} s");
    }
}

#[test]
fn claims_other_than_those_we_give_are_refused() {
    let (signer, key, _) = signer();
    let sign = |claims: &Value| jsonwebtoken::encode(&good_header(), claims, &key).unwrap();
    assert!(signer.verify(&sign(&good_claims()), now()).is_some(), "the control");
    let changes = [
        ("iss", json!("https://evil.example")),
        ("iss", Value::Null),
        ("aud", json!("another-api")),
        ("aud", Value::Null),
        ("sub", json!("usr_1")),
        ("exp", Value::Null),
        ("exp", json!("2026-03-15")),
        ("exp", json!(now().as_second() + 901)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(-1)),
        ("nbf", json!(now().as_second() + 31)),
        ("nbf", json!("0")),
        ("iat", Value::Null),
        ("sid", json!("")),
    ];
    for (claim, value) in changes {
        let mut claims = good_claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value.clone();
        }
        assert!(signer.verify(&sign(&claims), now()).is_none(), "{claim} {value}");
    }
}

#[test]
fn a_header_cannot_choose_the_key_or_the_algorithm() {
    let (signer, key, x) = signer();
    let claims = good_claims();
    let jwk = serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "x": x })).unwrap();
    let headers = [
        ("no kid", Header { kid: None, ..good_header() }),
        ("another kid", Header { kid: Some("k2".into()), ..good_header() }),
        ("another type", Header { typ: Some("JWT".into()), ..good_header() }),
        ("no type", Header { typ: None, ..good_header() }),
        ("a key of its own", Header { jwk: Some(jwk), ..good_header() }),
        ("what must be understood", Header { crit: Some(vec!["exp".into()]), ..good_header() }),
        ("an address of keys", Header { jku: Some("https://evil.example/keys".into()), ..good_header() }),
    ];
    for (case, header) in headers {
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        assert!(signer.verify(&token, now()).is_none(), "{case}");
    }
    // HS256 keyed with what is public: the classic confusion.
    let secret = EncodingKey::from_secret(x.as_bytes());
    let header = Header { alg: Algorithm::HS256, ..good_header() };
    let token = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    assert!(signer.verify(&token, now()).is_none(), "HS256");
}

#[test]
fn other_spellings_of_a_good_token_are_refused() {
    let (signer, key, _) = signer();
    let good = jsonwebtoken::encode(&good_header(), &good_claims(), &key).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#);
    let mut flipped = good.clone();
    flipped.pop();
    let spellings = [
        String::new(),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}="),
        format!("{good}."),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        flipped,
        "a".repeat(MAX_BYTES + 1),
    ];
    for token in spellings {
        assert!(signer.verify(&token, now()).is_none(), "{token}");
    }
    assert!(signer.verify(&good, now()).is_some(), "the control");
}

/// A token whose header and claims are these texts, signed with the good key.
fn signed(header: &str, claims: &str) -> String {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes()));
    format!("{text}.{signature}")
}

const HEADER: &str = r#"{"typ":"at+jwt","alg":"EdDSA","kid":"k1"}"#;

#[test]
fn no_bit_of_a_good_token_can_be_changed() {
    let (signer, _, _) = signer();
    let good = signed(HEADER, &good_claims().to_string());
    assert!(signer.verify(&good, now()).is_some(), "the control");
    for at in 0..good.len() {
        for bit in 0..7 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(signer.verify(&changed, now()).is_none(), "bit {bit} of byte {at}: {changed}");
        }
    }
}

#[test]
fn a_token_without_a_signature_is_none_whatever_its_algorithm_is_called() {
    let (signer, _, _) = signer();
    let claims = good_claims().to_string();
    let names = ["none", "None", "NONE", "nOnE", "", "HS256", "ES256", "RS256", "EdDSA"];
    for name in names {
        let header = HEADER.replace("EdDSA", name);
        let token = signed(&header, &claims);
        let (text, _) = token.rsplit_once('.').unwrap();
        // The last: r and s of an ECDSA signature that are both 0 (CVE-2022-21449).
        for signature in ["", "AA", &URL_SAFE_NO_PAD.encode([0; 64])] {
            let token = format!("{text}.{signature}");
            assert!(signer.verify(&token, now()).is_none(), "{name}: {token}");
        }
        assert_eq!(signer.verify(&token, now()).is_some(), name == "EdDSA", "{name}");
    }
}

#[test]
fn a_token_is_written_in_one_way() {
    let (signer, _, _) = signer();
    let claims = good_claims().to_string();
    let good = signed(HEADER, &claims);
    let [protected, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let flattened = json!({ "protected": protected, "payload": payload, "signature": signature });
    let general =
        json!({ "payload": payload, "signatures": [{ "protected": protected, "signature": signature }] });
    let twice = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
    let others = [
        ("the JSON form with one signature", flattened.to_string()),
        ("the general JSON form", general.to_string()),
        ("with a header's member twice", signed(&twice(HEADER, r#""alg":"none""#), &claims)),
        ("with a key's name twice", signed(&twice(HEADER, r#""kid":"k0""#), &claims)),
        ("with a claim twice", signed(HEADER, &twice(&claims, r#""sub":"usr_1""#))),
        ("with its end twice", signed(HEADER, &twice(&claims, r#""exp":99999999999"#))),
        ("compressed", signed(&twice(HEADER, r#""zip":"DEF""#), &claims)),
        ("with what must be understood", signed(&twice(HEADER, r#""crit":["exp"]"#), &claims)),
        ("with standard base64", format!("{protected}.{payload}.{}", signature.replace(['-', '_'], "+"))),
        ("with line ends", format!("{protected}.\n{payload}.{signature}")),
        ("in five parts", format!("{good}.{payload}.{signature}")),
    ];
    for (what, token) in others {
        assert!(signer.verify(&token, now()).is_none(), "{what}: {token}");
    }
    assert!(signer.verify(&good, now()).is_some(), "the control");
}

#[test]
fn a_pass_has_the_one_form_that_gateways_read_and_is_no_access_token() {
    let (signer, key, _) = signer();
    let mut random = Random::seeded(1);
    let (user, organization) = (UserId::new(now(), &mut random), OrganizationId::new(now(), &mut random));
    let claims = PassClaims::new(signer.issuer(), &user, (&organization, Role::Member), None, now());
    let pass = signer.sign_pass(&claims, now()).unwrap();
    let read = UnverifiedPass::parse(pass.as_bytes()).unwrap();
    assert_eq!((read.kid.as_str(), read.claims()), ("k1", Some(claims)));
    assert_eq!(signer.verify(&pass, now()), None);
    let access = jsonwebtoken::encode(&good_header(), &good_claims(), &key).unwrap();
    assert!(signer.verify(&access, now()).is_some());
    assert!(UnverifiedPass::parse(access.as_bytes()).is_none());
}
