//! The ceremonies of WebAuthn level 3, in the JSON of `PublicKeyCredential.parseCreationOptionsFromJSON`,
//! `parseRequestOptionsFromJSON` and `toJSON()`.
//!
//! Signatures and counters are checked by webauthn-rs; what it leaves open or reads leniently is checked here. An attestation is
//! looked at by nobody.

use std::collections::BTreeMap;

use kt_domain::error::{Error, ErrorKind};
use kt_domain::public_url::PublicUrl;
use kt_store::users::User;
use serde::Deserialize;
use serde_cbor_2::Value as Cbor;
use serde_json::{Value, json};
use uuid::Uuid;
use webauthn_rs::prelude::{
    CredentialID, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};

use super::fault::{Fault, Refusal};

/// In bytes (WebAuthn level 3 section 7.1 step 25).
const LONGEST_CREDENTIAL_ID: usize = 1023;

/// Who passkeys of this deployment are for: the console's address.
pub(crate) struct RelyingParty {
    webauthn: Webauthn,
    id: String,
    origin: String,
}

/// A passkey that was just made.
pub(crate) struct Registered {
    pub(crate) passkey: Passkey,
    /// The number of the authenticator's model; zeros where it does not say.
    pub(crate) aaguid: Uuid,
}

/// An answer of an authenticator, read and not yet believed.
pub(crate) struct Assertion {
    response: PublicKeyCredential,
    /// Whose passkey it says it is.
    holder: Option<Uuid>,
}

impl RelyingParty {
    /// Refused where browsers would refuse: a passkey belongs to a name, never to an IP address (WebAuthn level 3 section
    /// 5.1.2 with the definition of a valid domain).
    pub(crate) fn new(console: &PublicUrl) -> Result<Self, Error> {
        let id = console.url().domain().ok_or_else(|| no_name(console))?.to_owned();
        let mut origin = console.url().clone();
        origin.set_path("");
        let built = WebauthnBuilder::new(&id, &origin).map(|builder| builder.rp_name("Keeptrusts"));
        let webauthn = built.and_then(WebauthnBuilder::build).map_err(Error::internal)?;
        Ok(Self { webauthn, id, origin: origin.origin().ascii_serialization() })
    }

    /// The name that passkeys belong to.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What a browser needs to make a passkey, and what is kept until it has. A passkey that its holder has already is
    /// excluded.
    pub(crate) fn begin_registration(
        &self,
        holder: &User,
        known: Vec<CredentialID>,
    ) -> Result<(Value, PasskeyRegistration), Error> {
        let handle = handle_of(holder)?;
        let begun =
            self.webauthn.start_passkey_registration(handle, &holder.email, &holder.name, Some(known));
        let (challenge, state) = begun.map_err(Error::internal)?;
        let mut options = serde_json::to_value(challenge.public_key).map_err(Error::internal)?;
        // Discoverable: whoever signs in with it types no address.
        options["authenticatorSelection"]["residentKey"] = json!("required");
        options["authenticatorSelection"]["requireResidentKey"] = json!(true);
        Ok((options, state))
    }

    /// The passkey that a browser has made. Who says that its authenticator is a good one is not asked, so that an attestation
    /// that comes all the same is put aside: one of no known maker refuses nobody a passkey.
    pub(crate) fn finish_registration(
        &self,
        state: &PasskeyRegistration,
        response: &Value,
    ) -> Result<Registered, Refusal> {
        self.check_client_data(response)?;
        let mut read = RegisterPublicKeyCredential::deserialize(response)
            .map_err(|why| Fault::Unreadable.because(why))?;
        let data = authenticator_data(&read.response.attestation_object);
        let data = data.ok_or_else(|| Fault::Unreadable.because("there is no data of an authenticator"))?;
        let aaguid = aaguid(&data).unwrap_or_default();
        read.response.attestation_object =
            without_attestation(data).map_err(|why| Fault::Unreadable.because(why))?;
        let passkey = self.webauthn.finish_passkey_registration(&read, state)?;
        if passkey.cred_id().len() > LONGEST_CREDENTIAL_ID {
            return Err(Fault::LongIdentifier.because("the credential id is too long"));
        }
        Ok(Registered { passkey, aaguid })
    }

    /// What a browser needs to show a passkey, and what is kept until it has. Without `allowed` it offers all that it has
    /// for this place, so that nothing is told about anybody.
    pub(crate) fn begin_assertion(
        &self,
        allowed: &[CredentialID],
    ) -> Result<(Value, DiscoverableAuthentication), Error> {
        let begun = self.webauthn.start_discoverable_authentication();
        let (challenge, state) = begun.map_err(Error::internal)?;
        let mut options = serde_json::to_value(challenge.public_key).map_err(Error::internal)?;
        let allowed = allowed.iter().map(|id| json!({ "type": "public-key", "id": base64url(id) }));
        options["allowCredentials"] = allowed.collect();
        Ok((options, state))
    }

    /// Reads an answer, to find out whose passkey it is.
    pub(crate) fn read_assertion(&self, response: &Value) -> Result<Assertion, Refusal> {
        self.check_client_data(response)?;
        let response = PublicKeyCredential::deserialize(response);
        let response = response.map_err(|why| Fault::Unreadable.because(why))?;
        let holder = response.get_user_unique_id().map(Uuid::from_slice).transpose();
        let holder = holder.map_err(|why| Fault::Unreadable.because(why))?;
        Ok(Assertion { response, holder })
    }

    /// Believes an answer that was given with this passkey to what `state` asked; the passkey as it is from now on.
    pub(crate) fn finish_assertion(
        &self,
        state: DiscoverableAuthentication,
        assertion: &Assertion,
        mut passkey: Passkey,
    ) -> Result<Passkey, Refusal> {
        let used =
            self.webauthn.finish_discoverable_authentication_v2(&assertion.response, state, &passkey)?;
        let updated = passkey.update_credential(&used);
        updated.ok_or_else(|| Fault::UnknownPasskey.because("the answer of another passkey"))?;
        Ok(passkey)
    }

    /// The page that asked is this very one, and stood alone in its window (WebAuthn level 3 section 7.1 steps 9 to 11,
    /// section 7.2 steps 12 to 14). webauthn-rs compares origins as URLs, which forgives spellings, and reads `crossOrigin`
    /// at registration only.
    fn check_client_data(&self, response: &Value) -> Result<(), Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ClientData {
            origin: String,
            #[serde(default)]
            cross_origin: bool,
            top_origin: Option<Value>,
        }
        let text = response.pointer("/response/clientDataJSON").and_then(Value::as_str).unwrap_or_default();
        let bytes = from_base64url(text);
        let bytes = bytes.ok_or_else(|| Fault::Unreadable.because("the client data is not base64url"))?;
        // UTF-8 decode, which drops a byte order mark.
        let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let data: ClientData = serde_json::from_slice(json).map_err(|why| Fault::Unreadable.because(why))?;
        if data.origin != self.origin {
            let why = format!("a page of {} asked, which is not {}", data.origin, self.origin);
            return Err(Fault::WrongOrigin.because(why));
        }
        if data.cross_origin || data.top_origin.is_some() {
            return Err(Fault::FramedPage.because("the page was framed by another"));
        }
        Ok(())
    }
}

impl Assertion {
    /// The identifier of the passkey that it was given with.
    pub(crate) fn credential_id(&self) -> String {
        base64url(self.response.get_credential_id())
    }

    /// Whether the authenticator says whose it is.
    pub(crate) fn names_holder(&self) -> bool {
        self.holder.is_some()
    }

    /// Whether the authenticator says that its passkey is this person's. `None` where it does not say whose it is.
    pub(crate) fn is_of(&self, holder: &User) -> Result<Option<bool>, Error> {
        let handle = handle_of(holder)?;
        Ok(self.holder.map(|said| said == handle))
    }
}

/// How authenticators know a person: by a number that says nothing about them.
pub(crate) fn handle_of(user: &User) -> Result<Uuid, Error> {
    let digits = user.id.as_str().trim_start_matches("usr_");
    Uuid::try_parse(digits).map_err(Error::internal)
}

/// Bytes as WebAuthn writes them in JSON.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes that such a text stands for.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// What the authenticator itself says, in the object that the browser has made of it.
fn authenticator_data(attestation_object: &[u8]) -> Option<Vec<u8>> {
    let Cbor::Map(mut object) = serde_cbor_2::from_slice(attestation_object).ok()? else { return None };
    match object.remove(&Cbor::Text("authData".to_owned()))? {
        Cbor::Bytes(data) => Some(data),
        _ => None,
    }
}

/// An object with this data and the attestation `none` (WebAuthn level 3 section 8.7), as browsers make it when they heed what
/// is asked for.
fn without_attestation(data: Vec<u8>) -> Result<Vec<u8>, serde_cbor_2::Error> {
    let object = [
        ("fmt", Cbor::Text("none".to_owned())),
        ("attStmt", Cbor::Map(BTreeMap::new())),
        ("authData", Cbor::Bytes(data)),
    ];
    let object = object.map(|(name, value)| (Cbor::Text(name.to_owned()), value));
    serde_cbor_2::to_vec(&Cbor::Map(object.into()))
}

/// The number of the model: 16 bytes behind 37 of the authenticator data (WebAuthn level 3 section 6.5.1).
fn aaguid(authenticator_data: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(authenticator_data.get(37..53)?).ok()
}

fn no_name(console: &PublicUrl) -> Error {
    let message = format!(
        "console.public_url: passkeys belong to a name, and {} is an address. Give the console a name, such as \
         https://keeptrusts.example.org; on this machine alone use http://localhost with its port.",
        console.host()
    );
    Error::new(ErrorKind::Invalid, "validation_error", message).with_param("console.public_url")
}

#[cfg(test)]
mod specification;
#[cfg(test)]
mod tests;
