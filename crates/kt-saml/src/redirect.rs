//! Messages in the address of a redirect (SAML bindings, section 3.4): deflated, and signed over the query.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use url::Url;
use url::form_urlencoded::{byte_serialize, parse};

use crate::certificate::{Certificate, SignatureAlgorithm};
use crate::refusal::Refusal;
use crate::signing_key::SigningKey;
use crate::xml::MESSAGE_LIMIT;

/// A message that came in a query.
#[derive(Clone, Debug)]
pub struct RedirectedMessage {
    /// The text of the message.
    pub(crate) text: Vec<u8>,
    /// What came with it, to be given back.
    pub relay_state: Option<String>,
    /// What is signed, as it came: nobody writes percent signs in the same way.
    signed: String,
    algorithm: String,
    signature: String,
}

impl RedirectedMessage {
    /// Reads the query of a request; the message is called `field` in it.
    pub fn read(query: &str, field: &str) -> Result<Self, Refusal> {
        let message = Parameter::find(query, field)?
            .ok_or(Refusal::Unreadable("there is no message in the address"))?;
        let relay_state = Parameter::find(query, "RelayState")?;
        let algorithm = Parameter::find(query, "SigAlg")?.ok_or(Refusal::Unsigned)?;
        let signature = Parameter::find(query, "Signature")?.ok_or(Refusal::Unsigned)?;
        let in_order = [Some(&message), relay_state.as_ref(), Some(&algorithm)];
        let signed: Vec<&str> = in_order.into_iter().flatten().map(|parameter| parameter.raw).collect();
        Ok(Self {
            text: inflated(&message.value)?,
            relay_state: relay_state.as_ref().map(|it| it.value.clone()),
            signed: signed.join("&"),
            algorithm: algorithm.value,
            signature: signature.value,
        })
    }

    /// Refuses it unless one of these keys made its signature.
    pub(crate) fn check_signature(&self, trusted: &[Certificate]) -> Result<(), Refusal> {
        let algorithm = SignatureAlgorithm::named(&self.algorithm)
            .ok_or_else(|| Refusal::Algorithm(self.algorithm.clone()))?;
        let signature =
            STANDARD.decode(&self.signature).map_err(|_| Refusal::SignatureForm("it is no Base64"))?;
        if trusted.iter().any(|it| it.verifies(algorithm, self.signed.as_bytes(), &signature)) {
            Ok(())
        } else {
            Err(Refusal::UnknownKey)
        }
    }
}

/// A parameter of a query, as it stands there and as it reads.
struct Parameter<'a> {
    raw: &'a str,
    value: String,
}

impl<'a> Parameter<'a> {
    /// The one of this name. There must not be another: who reads the first and who reads the last would differ.
    fn find(query: &'a str, name: &str) -> Result<Option<Self>, Refusal> {
        let read = |raw: &'a str| {
            let (key, value) = parse(raw.as_bytes()).next()?;
            (key == name).then(|| Self { raw, value: value.into_owned() })
        };
        let mut found = query.split('&').filter_map(read);
        match (found.next(), found.next()) {
            (parameter, None) => Ok(parameter),
            _ => Err(Refusal::Unreadable("a parameter is there twice")),
        }
    }
}

/// The text of a deflated message; never more than a message may have.
fn inflated(value: &str) -> Result<Vec<u8>, Refusal> {
    let deflated = STANDARD.decode(value).map_err(|_| Refusal::Unreadable("it is no Base64"))?;
    let mut text = Vec::new();
    let limit = u64::try_from(MESSAGE_LIMIT).unwrap_or(u64::MAX);
    let mut bounded = DeflateDecoder::new(&*deflated).take(limit + 1);
    bounded.read_to_end(&mut text).map_err(|_| Refusal::Unreadable("it is not deflated"))?;
    if text.len() > MESSAGE_LIMIT { Err(Refusal::Unreadable("it is too large")) } else { Ok(text) }
}

/// The address that brings `message` to `to`, signed where there is a key.
pub(crate) fn address(
    to: &Url,
    field: &str,
    message: &str,
    relay_state: Option<&str>,
    key: Option<&SigningKey>,
) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let mut query = format!("{field}={}", encoded(&STANDARD.encode(deflated(message))));
    if let Some(state) = relay_state {
        query = format!("{query}&RelayState={}", encoded(state));
    }
    if let Some(key) = key {
        query = format!("{query}&SigAlg={}", encoded(SigningKey::ALGORITHM));
        let signature = encoded(&STANDARD.encode(key.sign(query.as_bytes())));
        query = format!("{query}&Signature={signature}");
    }
    let separator = if to.query().is_some() { '&' } else { '?' };
    format!("{to}{separator}{query}")
}

fn deflated(message: &str) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(message.as_bytes());
    encoder.finish().unwrap_or_default()
}
