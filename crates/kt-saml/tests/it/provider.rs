//! An identity provider in a few lines. It writes its messages in canonical form right away, so that what it signs does not
//! come from the code that is tested.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kt_saml::{
    Certificate, Expected, IdentityProvider, LogoutExpected, Refusal, ServiceProvider, VerifiedAssertion,
    verify_response,
};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

pub(crate) const ENTITY: &str = "https://idp.example.com/metadata";
pub(crate) const REQUEST: &str = "_request1";
pub(crate) const US: &str = "https://console.example.com/sso/saml/acme/metadata";
pub(crate) const ACS: &str = "https://console.example.com/sso/saml/acme/acs";
pub(crate) const LOGOUT: &str = "https://console.example.com/sso/saml/acme/logout";
pub(crate) const ALICE: &str = "alice@acme.example";
pub(crate) const MALLORY: &str = "mallory@acme.example";

/// Where the signatures of a draft go.
pub(crate) const RESPONSE_SIGNATURE: &str = "{signature of the response}";
pub(crate) const ASSERTION_SIGNATURE: &str = "{signature of the assertion}";

/// An answer about Alice, in canonical form.
pub(crate) const DRAFT: &str = concat!(
    r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="https://console.example.com/sso/saml/acme/acs""#,
    r#" ID="_response1" InResponseTo="_request1" IssueInstant="2026-03-15T14:22:30Z" Version="2.0">"#,
    r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.example.com/metadata</saml:Issuer>"#,
    "{signature of the response}",
    r#"<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"></samlp:StatusCode></samlp:Status>"#,
    r#"<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_assertion1" IssueInstant="2026-03-15T14:22:30Z" Version="2.0">"#,
    "<saml:Issuer>https://idp.example.com/metadata</saml:Issuer>",
    "{signature of the assertion}",
    r#"<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice@acme.example</saml:NameID>"#,
    r#"<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData"#,
    r#" InResponseTo="_request1" NotOnOrAfter="2026-03-15T14:27:30Z" Recipient="https://console.example.com/sso/saml/acme/acs">"#,
    "</saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject>",
    r#"<saml:Conditions NotBefore="2026-03-15T14:22:00Z" NotOnOrAfter="2026-03-15T14:27:30Z"><saml:AudienceRestriction>"#,
    "<saml:Audience>https://console.example.com/sso/saml/acme/metadata</saml:Audience></saml:AudienceRestriction></saml:Conditions>",
    r#"<saml:AuthnStatement AuthnInstant="2026-03-15T14:22:20Z" SessionIndex="_session1" SessionNotOnOrAfter="2026-03-15T22:22:20Z">"#,
    "<saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
    "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>",
    r#"<saml:AttributeStatement><saml:Attribute FriendlyName="mail" Name="urn:oid:0.9.2342.19200300.100.1.3">"#,
    "<saml:AttributeValue>alice@acme.example</saml:AttributeValue></saml:Attribute>",
    r#"<saml:Attribute Name="groups"><saml:AttributeValue>admins</saml:AttributeValue><saml:AttributeValue>staff"#,
    "</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>"
);

/// What a provider signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signs {
    Assertion,
    Response,
    Both,
    Nothing,
}

/// A key, and the certificate it is known by.
pub(crate) struct Signer {
    pub(crate) pkcs8_pem: String,
    pub(crate) certificate_pem: String,
    pub(crate) certificate: Certificate,
    key: RsaKeyPair,
}

/// The one that is configured, and one that is not.
pub(crate) static ACME: LazyLock<Signer> = LazyLock::new(Signer::new);
pub(crate) static STRANGER: LazyLock<Signer> = LazyLock::new(Signer::new);

impl Signer {
    fn new() -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        Self {
            pkcs8_pem: key.serialize_pem(),
            certificate_pem: certificate.pem(),
            certificate: Certificate::from_text(&certificate.pem()).unwrap(),
            key: RsaKeyPair::from_pkcs8(key.serialized_der()).unwrap(),
        }
    }

    /// The signature over `text`, in Base64.
    pub(crate) fn sign(&self, text: &str) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        STANDARD.encode(signature)
    }

    /// Fills the places for signatures of a draft.
    pub(crate) fn answer(&self, draft: &str, signs: Signs) -> String {
        let mut text = draft.to_owned();
        if matches!(signs, Signs::Assertion | Signs::Both) {
            let assertion = assertion_of(&text).replace(ASSERTION_SIGNATURE, "");
            let id = between(&assertion, " ID=\"", "\"");
            text = text.replace(ASSERTION_SIGNATURE, &self.signature(id, &assertion));
        }
        text = text.replace(ASSERTION_SIGNATURE, "");
        if matches!(signs, Signs::Response | Signs::Both) {
            let response = text.replace(RESPONSE_SIGNATURE, "");
            let id = between(&response, " ID=\"", "\"");
            text = text.replace(RESPONSE_SIGNATURE, &self.signature(id, &response));
        }
        text.replace(RESPONSE_SIGNATURE, "")
    }

    /// The signature of an element in canonical form.
    pub(crate) fn signature(&self, id: &str, canonical: &str) -> String {
        let info = signed_info(id, &STANDARD.encode(digest(&SHA256, canonical.as_bytes())));
        let value = self.sign(&in_canonical_form(&info));
        let certificate = self.certificate.to_base64();
        format!(
            "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{info}<ds:SignatureValue>{value}</ds:SignatureValue>\
             <ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>"
        )
    }
}

pub(crate) fn signed_info(id: &str, digest: &str) -> String {
    format!(
        concat!(
            r#"<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:CanonicalizationMethod>"#,
            r#"<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></ds:SignatureMethod>"#,
            r##"<ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature">"##,
            r#"</ds:Transform><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform></ds:Transforms>"#,
            r#"<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod>"#,
            r#"<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"#
        ),
        id = id,
        digest = digest
    )
}

/// The canonical form of what stands in a `ds:Signature` that declares the prefix.
pub(crate) fn in_canonical_form(info: &str) -> String {
    info.replacen("<ds:SignedInfo>", "<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">", 1)
}

/// The assertion of a text, with its tags.
pub(crate) fn assertion_of(text: &str) -> String {
    let start = text.find("<saml:Assertion ").unwrap();
    let end = text.rfind("</saml:Assertion>").unwrap() + "</saml:Assertion>".len();
    text[start..end].to_owned()
}

/// The signature of a text that has one, with its tags.
pub(crate) fn signature_of(text: &str) -> String {
    format!("<ds:Signature {}</ds:Signature>", between(text, "<ds:Signature ", "</ds:Signature>"))
}

pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

/// `text` with every `from` replaced; there must be one.
pub(crate) fn edit(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to)
}

pub(crate) fn now() -> Timestamp {
    "2026-03-15T14:22:31Z".parse().unwrap()
}

pub(crate) fn identity_provider() -> IdentityProvider {
    let certificates = vec![ACME.certificate.clone()];
    let logout = Some("https://idp.example.com/logout");
    IdentityProvider::new(ENTITY, "https://idp.example.com/sso", logout, certificates).unwrap()
}

pub(crate) fn us() -> ServiceProvider {
    ServiceProvider { entity_id: US.to_owned(), acs_url: ACS.to_owned(), logout_url: LOGOUT.to_owned() }
}

/// What a response proves to a service that made the request, at the moment of the draft.
pub(crate) fn verify(text: &str) -> Result<VerifiedAssertion, Refusal> {
    verify_at(text, now())
}

pub(crate) fn verify_at(text: &str, now: Timestamp) -> Result<VerifiedAssertion, Refusal> {
    let expected = Expected {
        identity_provider: &identity_provider(),
        service_provider: &us(),
        request: REQUEST,
        authenticated_since: None,
        now,
    };
    verify_response(&STANDARD.encode(text), &expected)
}

/// Calls `read` with what a request to log out must fit.
pub(crate) fn with_logout<T>(read: impl FnOnce(&LogoutExpected<'_>) -> T) -> T {
    read(&LogoutExpected { identity_provider: &identity_provider(), service_provider: &us(), now: now() })
}
