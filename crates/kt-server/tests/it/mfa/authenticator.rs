//! An authenticator and its browser in software, written after WebAuthn level 3 alone. It can do wrong on purpose.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_cbor_2::Value as Cbor;
use serde_json::{Value, json};

/// Bits of the authenticator data (section 6.1).
pub(crate) const PRESENT: u8 = 1;
pub(crate) const VERIFIED: u8 = 4;
pub(crate) const BACKUP_ELIGIBLE: u8 = 8;
pub(crate) const BACKED_UP: u8 = 16;
const ATTESTED: u8 = 64;

/// One passkey. A copy of it is a clone in the sense of section 6.1.1.
#[derive(Clone)]
pub(crate) struct Authenticator {
    key: Vec<u8>,
    id: Vec<u8>,
    handle: Option<Value>,
    /// How often it was used.
    pub(crate) counter: u32,
    pub(crate) aaguid: [u8; 16],
    pub(crate) browser: Browser,
}

/// What is said about a ceremony: by the browser in the client data, by the authenticator in its own.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) origin: &'static str,
    pub(crate) rp_id: &'static str,
    pub(crate) flags: u8,
    /// In place of `webauthn.create` or `webauthn.get`.
    pub(crate) kind: Option<&'static str>,
    /// In place of the challenge that was asked.
    pub(crate) challenge: Option<&'static str>,
    /// More fields of the client data.
    pub(crate) more: Value,
    /// Whether the handle of the holder is left out.
    pub(crate) is_silent: bool,
    /// Whether the signature is changed.
    pub(crate) is_bogus: bool,
}

impl Default for Browser {
    fn default() -> Self {
        Self {
            origin: "http://localhost:3000",
            rp_id: "localhost",
            flags: PRESENT | VERIFIED,
            kind: None,
            challenge: None,
            more: json!({ "crossOrigin": false }),
            is_silent: false,
            is_bogus: false,
        }
    }
}

impl Authenticator {
    /// A new one, as 1Password has them.
    pub(crate) fn new() -> Self {
        let key =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let key = key.as_ref().to_vec();
        let id = digest(&SHA256, &key).as_ref().to_vec();
        let aaguid = u128::from_str_radix("bada5566a7aa401fbd9645619a55120d", 16).unwrap().to_be_bytes();
        Self { key, id, handle: None, counter: 0, aaguid, browser: Browser::default() }
    }

    /// A new one with this identifier.
    pub(crate) fn called(id: &[u8]) -> Self {
        Self { id: id.to_vec(), ..Self::new() }
    }

    /// The same, with a browser that does something else.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Browser)) -> Self {
        let mut other = self.clone();
        change(&mut other.browser);
        other
    }

    /// What it is called.
    pub(crate) fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.id)
    }

    /// `navigator.credentials.create(options)`, as `toJSON()` gives it.
    pub(crate) fn create(&mut self, options: &Value) -> Value {
        self.handle = Some(options["user"]["id"].clone());
        let client_data = self.client_data("webauthn.create", options);
        let mut data = self.data(self.browser.flags | ATTESTED);
        data.extend(self.aaguid);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend(&self.id);
        data.extend(serde_cbor_2::to_vec(&self.public_key()).unwrap());
        let object = BTreeMap::from([
            (Cbor::Text("fmt".into()), Cbor::Text("none".into())),
            (Cbor::Text("attStmt".into()), Cbor::Map(BTreeMap::new())),
            (Cbor::Text("authData".into()), Cbor::Bytes(data)),
        ]);
        let object = serde_cbor_2::to_vec(&Cbor::Map(object)).unwrap();
        json!({
            "id": self.id(),
            "rawId": self.id(),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": { "credProps": { "rk": true } },
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "attestationObject": URL_SAFE_NO_PAD.encode(object),
                "transports": ["internal"],
            },
        })
    }

    /// `navigator.credentials.get(options)`, as `toJSON()` gives it.
    pub(crate) fn get(&mut self, options: &Value) -> Value {
        self.counter += 1;
        let client_data = self.client_data("webauthn.get", options);
        let data = self.data(self.browser.flags);
        let signed = [data.as_slice(), digest(&SHA256, client_data.as_bytes()).as_ref()].concat();
        let mut signature = self.pair().sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec();
        if self.browser.is_bogus {
            *signature.last_mut().unwrap() ^= 1;
        }
        let handle = self.handle.clone().filter(|_| !self.browser.is_silent);
        json!({
            "id": self.id(),
            "rawId": self.id(),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "authenticatorData": URL_SAFE_NO_PAD.encode(data),
                "signature": URL_SAFE_NO_PAD.encode(signature),
                "userHandle": handle,
            },
        })
    }

    fn client_data(&self, kind: &str, options: &Value) -> String {
        let browser = &self.browser;
        let challenge = browser.challenge.map_or_else(|| options["challenge"].clone(), Value::from);
        let mut data = json!({
            "type": browser.kind.unwrap_or(kind), "challenge": challenge, "origin": browser.origin
        });
        for (name, value) in browser.more.as_object().unwrap() {
            data[name] = value.clone();
        }
        data.to_string()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, self.browser.rp_id.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// As COSE has it (RFC 9053 section 7.1.1): an elliptic curve key for ES256 on P-256.
    fn public_key(&self) -> Cbor {
        let pair = self.pair();
        let point = pair.public_key().as_ref();
        Cbor::Map(BTreeMap::from([
            (Cbor::Integer(1), Cbor::Integer(2)),
            (Cbor::Integer(3), Cbor::Integer(-7)),
            (Cbor::Integer(-1), Cbor::Integer(1)),
            (Cbor::Integer(-2), Cbor::Bytes(point[1..33].to_vec())),
            (Cbor::Integer(-3), Cbor::Bytes(point[33..].to_vec())),
        ]))
    }

    fn pair(&self) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.key).unwrap()
    }
}
