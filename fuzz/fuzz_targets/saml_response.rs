//! A message of an identity provider, and what it publishes, as strangers write them: whatever a response says, it names
//! Alice, whom the seeds name, or nobody; nobody can make a request to log out.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kt_saml::{
    Certificate, Expected, IdentityProvider, LogoutExpected, RedirectedMessage, ServiceProvider, verify_posted_logout,
    verify_redirected_logout, verify_response,
};
use libfuzzer_sys::fuzz_target;

static PROVIDER: LazyLock<IdentityProvider> = LazyLock::new(|| {
    let certificate = Certificate::from_text(include_str!("../saml-certificate.pem")).unwrap();
    IdentityProvider::new("https://idp.example.com/metadata", "https://idp.example.com/sso", None, vec![certificate])
        .unwrap()
});

static US: LazyLock<ServiceProvider> = LazyLock::new(|| ServiceProvider {
    entity_id: "https://console.example.com/sso/saml/acme/metadata".to_owned(),
    acs_url: "https://console.example.com/sso/saml/acme/acs".to_owned(),
    logout_url: "https://console.example.com/sso/saml/acme/logout".to_owned(),
});

fuzz_target!(|text: &[u8]| {
    // The moment of the seeds: 2026-03-15T14:22:31Z.
    let now = Timestamp::from_second(1_773_584_551).unwrap();
    let expected = Expected {
        identity_provider: &PROVIDER,
        service_provider: &US,
        request: "_request1",
        authenticated_since: None,
        now,
    };
    let field = STANDARD.encode(text);
    if let Ok(found) = verify_response(&field, &expected) {
        assert_eq!(found.subject.value, "alice@acme.example");
    }
    let expected = LogoutExpected { identity_provider: &PROVIDER, service_provider: &US, now };
    assert!(verify_posted_logout(&field, &expected).is_err());
    if let Ok(query) = std::str::from_utf8(text)
        && let Ok(message) = RedirectedMessage::read(query, "SAMLRequest")
    {
        assert!(verify_redirected_logout(&message, &expected).is_err());
    }
    if let Ok(provider) = IdentityProvider::from_metadata(text, now) {
        assert!(!provider.certificates.is_empty());
    }
});
