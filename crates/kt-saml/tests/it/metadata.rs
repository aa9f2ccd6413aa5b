//! What identity providers publish, and what this service does.

use jiff::Timestamp;
use kt_saml::{Certificate, CertificateError, IdentityProvider, MetadataError, ServiceProvider};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use crate::provider::{ACME, STRANGER, edit, now, us};

/// What a provider publishes, with as much around it as they put there.
fn metadata() -> String {
    let key = |usage: &str, certificate: &Certificate| {
        format!(
            "<md:KeyDescriptor{usage}><ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:X509Data><ds:X509Certificate>\n  {}\n\
             </ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>",
            certificate.to_base64()
        )
    };
    format!(
        "<?xml version=\"1.0\"?>\n<!-- made by a provider -->\n<md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" \
         entityID=\"https://idp.example.com/metadata\" validUntil=\"2027-01-01T00:00:00Z\">\
         <md:IDPSSODescriptor WantAuthnRequestsSigned=\"true\" protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:1.1:protocol urn:oasis:names:tc:SAML:2.0:protocol\">\
         {}{}\
         <md:SingleLogoutService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" Location=\"https://idp.example.com/logout\"/>\
         <md:NameIDFormat>urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress</md:NameIDFormat>\
         <md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat>\
         <md:SingleSignOnService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\" Location=\"https://idp.example.com/post\"/>\
         <md:SingleSignOnService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" Location=\"https://idp.example.com/sso?tenant=1\"/>\
         </md:IDPSSODescriptor></md:EntityDescriptor>",
        key(" use=\"signing\"", &ACME.certificate),
        key(" use=\"encryption\"", &STRANGER.certificate),
    )
}

fn read(text: &str) -> Result<IdentityProvider, MetadataError> {
    IdentityProvider::from_metadata(text.as_bytes(), now())
}

#[test]
fn what_a_provider_publishes_is_read() {
    let provider = read(&metadata()).unwrap();
    assert_eq!(provider.entity_id, "https://idp.example.com/metadata");
    assert_eq!(provider.sso_url.as_str(), "https://idp.example.com/sso?tenant=1");
    assert_eq!(provider.logout_url.as_ref().unwrap().as_str(), "https://idp.example.com/logout");
    assert_eq!(
        provider.certificates,
        std::slice::from_ref(&ACME.certificate),
        "keys for encryption sign nothing"
    );
    assert!(provider.wants_signed_requests);
    assert_eq!(
        provider.name_id_format.as_deref(),
        Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")
    );
}

#[test]
fn a_key_without_a_use_is_for_signatures_too_and_no_key_is_an_error() {
    let both = read(&metadata().replace(" use=\"signing\"", "").replace(" use=\"encryption\"", "")).unwrap();
    assert_eq!(both.certificates, [ACME.certificate.clone(), STRANGER.certificate.clone()]);
    let none = metadata().replace(" use=\"signing\"", " use=\"encryption\"");
    assert_eq!(read(&none), Err(MetadataError::NoCertificate));
    assert_eq!(
        IdentityProvider::new("urn:x", "https://idp.example.com", None, Vec::new()),
        Err(MetadataError::NoCertificate)
    );
}

#[test]
fn a_key_that_cannot_be_used_is_passed_over_where_another_is_left() {
    let weak: String = RSA_1024.lines().filter(|line| !line.starts_with('-')).collect();
    let listed = |certificates: &[&str]| {
        let keys = certificates.iter().map(|text| {
            format!(
                "<md:KeyDescriptor use=\"signing\"><ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:X509Data><ds:X509Certificate>{text}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            )
        });
        let whole = metadata();
        let (before, rest) = whole.split_once("<md:KeyDescriptor").unwrap();
        let behind = rest.rsplit_once("</md:KeyDescriptor>").unwrap().1;
        read(&format!("{before}{}{behind}", keys.collect::<String>()))
    };
    let good = ACME.certificate.to_base64();
    for certificates in [[weak.as_str(), good.as_str()], [good.as_str(), weak.as_str()]] {
        assert_eq!(listed(&certificates).unwrap().certificates, std::slice::from_ref(&ACME.certificate));
    }
    assert_eq!(listed(&[&weak]), Err(MetadataError::Certificate(CertificateError::Key)));
    let broken = Err(MetadataError::Certificate(CertificateError::NotACertificate));
    assert_eq!(listed(&[&good, "AAAA"]), broken, "what is no certificate is a mistake");
}

#[test]
fn a_document_that_describes_no_usable_provider_is_refused_with_the_reason() {
    let whole = metadata();
    let entity = whole.split_once("<!-- made by a provider -->\n").unwrap().1;
    let several = |count: usize| {
        format!(
            "<md:EntitiesDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\">{}</md:EntitiesDescriptor>",
            entity.repeat(count)
        )
    };
    assert!(read(&several(1)).is_ok());
    assert_eq!(read(&several(2)), Err(MetadataError::Several(2)));
    assert_eq!(read(&several(0)), Err(MetadataError::NoIdentityProvider));
    assert_eq!(
        read(&us().metadata(&[], false)),
        Err(MetadataError::NoIdentityProvider),
        "a service is no provider"
    );
    assert_eq!(read("<a/>"), Err(MetadataError::NoIdentityProvider));
    let ended: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(read(&edit(&whole, "2027-01-01", "2026-01-01")), Err(MetadataError::Expired(ended)));
    assert_eq!(
        read(&edit(&whole, "bindings:HTTP-Redirect", "bindings:SOAP")),
        Err(MetadataError::NoRedirect)
    );
    assert_eq!(
        read(&edit(&whole, "entityID=\"https://idp.example.com/metadata\"", "")),
        Err(MetadataError::EntityId)
    );
    for address in [
        "http://idp.example.com/sso",
        "javascript:alert(1)",
        "https://a:b@idp.example.com/",
        "/sso",
        "https://idp.example.com/#a",
    ] {
        let refused = read(&edit(&whole, "https://idp.example.com/sso?tenant=1", address));
        assert!(matches!(refused, Err(MetadataError::Address(_))), "{address}: {refused:?}");
    }
    assert!(read(&edit(&whole, "https://idp.example.com/sso?tenant=1", "http://127.0.0.1:8080/sso")).is_ok());
    for refused in
        ["<!DOCTYPE x><a/>", "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><a>&a;</a>", "<a", ""]
    {
        assert!(matches!(read(refused), Err(MetadataError::Xml(_))), "{refused}");
    }
    let large = format!("{whole}<!--{}-->", "a".repeat(600 * 1024));
    assert!(matches!(read(&large), Err(MetadataError::Xml(_))));
}

#[test]
fn a_certificate_must_have_a_key_that_can_sign_what_is_accepted() {
    let pem = &ACME.certificate_pem;
    assert_eq!(Certificate::from_text(pem), Ok(ACME.certificate.clone()));
    assert_eq!(Certificate::from_text(&ACME.certificate.to_base64()), Ok(ACME.certificate.clone()));
    let both = format!("{pem}\n{}", STRANGER.certificate_pem);
    assert_eq!(Certificate::all_in(&both), Ok(vec![ACME.certificate.clone(), STRANGER.certificate.clone()]));
    assert_eq!(Certificate::all_in(&ACME.certificate.to_base64()), Ok(vec![ACME.certificate.clone()]));
    assert_eq!(
        Certificate::all_in(&format!("{pem}-----BEGIN CERTIFICATE-----")),
        Err(CertificateError::NotACertificate)
    );
    assert_eq!(ACME.certificate.fingerprint().split(':').count(), 32);
    for broken in [
        "",
        "AAAA",
        "-----BEGIN CERTIFICATE-----",
        &pem.replace("MII", "MIJ"),
        &format!("{}AAAA", ACME.certificate.to_base64()),
    ] {
        assert_eq!(Certificate::from_text(broken), Err(CertificateError::NotACertificate), "{broken}");
    }
    let made = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Certificate::from_text(&CertificateParams::default().self_signed(&key).unwrap().pem())
    };
    assert!(made(&PKCS_ECDSA_P256_SHA256).is_ok());
    assert_eq!(made(&PKCS_ED25519), Err(CertificateError::Key));
    assert_eq!(Certificate::from_text(RSA_1024), Err(CertificateError::Key));
}

/// A self-signed certificate of an RSA key of 1024 bits.
const RSA_1024: &str = include_str!("rsa-1024.pem");

#[test]
fn what_this_service_publishes_names_its_addresses_and_asks_for_signatures() {
    let text = us().metadata(std::slice::from_ref(&ACME.certificate), true);
    for part in [
        "entityID=\"https://console.example.com/sso/saml/acme/metadata\"",
        "WantAssertionsSigned=\"true\"",
        "AuthnRequestsSigned=\"true\"",
        "Location=\"https://console.example.com/sso/saml/acme/acs\"",
        "Location=\"https://console.example.com/sso/saml/acme/logout\"",
        &ACME.certificate.to_base64(),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let odd = ServiceProvider { entity_id: "\"><x a=\"&".to_owned(), ..us() };
    assert!(odd.metadata(&[], false).contains("entityID=\"&quot;&gt;&lt;x a=&quot;&amp;\""));
}
