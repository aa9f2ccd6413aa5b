//! What this service says.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::DeflateDecoder;
use kt_saml::{
    AuthnRequest, IdentityProvider, LogoutExpected, RedirectedMessage, Refusal, SigningKey,
    verify_redirected_logout,
};
use url::Url;

use crate::provider::{ENTITY, identity_provider, now, us};

fn request(provider: &IdentityProvider, force_authentication: bool, key: Option<&SigningKey>) -> Url {
    let us = us();
    let request = AuthnRequest {
        id: "_request1",
        identity_provider: provider,
        service_provider: &us,
        force_authentication,
        now: now(),
    };
    Url::parse(&request.address("state-1", key)).unwrap()
}

fn parameter(address: &Url, name: &str) -> Option<String> {
    address.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn document(address: &Url) -> String {
    let deflated = STANDARD.decode(parameter(address, "SAMLRequest").unwrap()).unwrap();
    let mut text = String::new();
    DeflateDecoder::new(&*deflated).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_request_says_who_asks_and_where_the_answer_goes() {
    let mut provider = identity_provider();
    let address = request(&provider, false, None);
    assert_eq!(&address[..url::Position::AfterPath], "https://idp.example.com/sso");
    assert_eq!(parameter(&address, "RelayState").as_deref(), Some("state-1"));
    assert_eq!(parameter(&address, "Signature"), None);
    let text = document(&address);
    for part in [
        "ID=\"_request1\"",
        "IssueInstant=\"2026-03-15T14:22:31Z\"",
        "Destination=\"https://idp.example.com/sso\"",
        "AssertionConsumerServiceURL=\"https://console.example.com/sso/saml/acme/acs\"",
        "<saml:Issuer>https://console.example.com/sso/saml/acme/metadata</saml:Issuer>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("ForceAuthn") && !text.contains(" Format="));
    provider.name_id_format = Some("urn:x".to_owned());
    let text = document(&request(&provider, true, None));
    assert!(text.contains("ForceAuthn=\"true\"") && text.contains(" Format=\"urn:x\""), "{text}");
}

#[test]
fn an_address_with_a_query_keeps_it() {
    let certificates = identity_provider().certificates;
    let provider =
        IdentityProvider::new(ENTITY, "https://idp.example.com/sso?tenant=1", None, certificates).unwrap();
    let address = request(&provider, false, None);
    assert_eq!(parameter(&address, "tenant").as_deref(), Some("1"));
    assert!(parameter(&address, "SAMLRequest").is_some());
}

/// A key that was made, kept and read again signs what its certificate is known for.
#[test]
fn a_signed_request_holds_for_the_certificate_that_is_published() {
    let made = SigningKey::generate("console.example.com", now()).unwrap();
    let certificate = STANDARD.decode(made.certificate().to_base64()).unwrap();
    let kept = SigningKey::from_parts(made.pkcs8().to_vec(), certificate).unwrap();
    assert!(kept.certificate().not_before <= now() && now() < kept.certificate().not_after);
    let address = request(&identity_provider(), false, Some(&kept));
    let provider =
        IdentityProvider::new(ENTITY, "https://idp.example.com/sso", None, vec![kept.certificate().clone()])
            .unwrap();
    let us = us();
    let expected = LogoutExpected { identity_provider: &provider, service_provider: &us, now: now() };
    let check =
        |query: &str| verify_redirected_logout(&RedirectedMessage::read(query, "SAMLRequest")?, &expected);
    let query = address.query().unwrap();
    // The signature holds; it is no request to log out, though.
    assert_eq!(check(query), Err(Refusal::Structure("it is no request to log out")));
    assert_eq!(check(&query.replace("state-1", "state-2")), Err(Refusal::UnknownKey));
}
