//! A SAML provider that says what a test tells it to.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use axum::Router;
use axum::http::Method;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use jiff::Timestamp;
use kt_domain::clock::{Clock, ManualClock};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::console::browser::Browser;
use crate::harness::{Answer, TestApi};

pub(crate) const ENTITY: &str = "https://id.acme.example/saml";
pub(crate) const PATH: &str = "/v1/organization/sso/saml";
pub(crate) const SSO: &str = "https://id.acme.example/sso";
const LOGOUT: &str = "https://id.acme.example/logout";
const ACS: &str = "/sso/saml/acme/acs";

/// An assertion in canonical form, for [`SamlProvider::posts`] to fill.
const ASSERTION: &str = concat!(
    r#"<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{id}" IssueInstant="{now}" Version="2.0">"#,
    "<saml:Issuer>https://id.acme.example/saml</saml:Issuer>{signature}",
    r#"<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">{subject}</saml:NameID>"#,
    r#"<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData"#,
    r#" InResponseTo="{request}" NotOnOrAfter="{end}" Recipient="http://localhost:3000/sso/saml/acme/acs">"#,
    "</saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject>",
    "<saml:Conditions><saml:AudienceRestriction><saml:Audience>http://localhost:3000/sso/saml/acme/metadata",
    "</saml:Audience></saml:AudienceRestriction></saml:Conditions>",
    r#"<saml:AuthnStatement AuthnInstant="{proven}" SessionIndex="session-{subject}"><saml:AuthnContext>"#,
    "<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
    "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement>",
    r#"<saml:Attribute Name="email"><saml:AttributeValue>{subject}@acme.example</saml:AttributeValue></saml:Attribute>"#,
    r#"<saml:Attribute Name="name"><saml:AttributeValue>Person {subject}</saml:AttributeValue></saml:Attribute>"#,
    r#"<saml:Attribute Name="groups"><saml:AttributeValue>staff</saml:AttributeValue></saml:Attribute>"#,
    "</saml:AttributeStatement></saml:Assertion>"
);

/// A provider with its key.
pub(crate) struct SamlProvider {
    clock: ManualClock,
    key: RsaKeyPair,
    pub(crate) certificate: String,
}

/// What a browser is given to post.
#[derive(Clone)]
pub(crate) struct Posted {
    pub(crate) response: String,
    pub(crate) relay_state: String,
}

impl SamlProvider {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self::until(clock, 2050, 1, 1)
    }

    /// One whose certificate ends on this day.
    pub(crate) fn until(clock: &ManualClock, year: i32, month: u8, day: u8) -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, month, day);
        let certificate = params.self_signed(&key).unwrap().pem();
        let key = RsaKeyPair::from_pkcs8(key.serialized_der()).unwrap();
        Self { clock: clock.clone(), key, certificate }
    }

    /// What it publishes.
    pub(crate) fn metadata(&self) -> String {
        let base64: String = self.certificate.lines().filter(|line| !line.starts_with('-')).collect();
        format!(
            r#"<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{ENTITY}"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>{base64}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{LOGOUT}"/><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{SSO}"/></md:IDPSSODescriptor></md:EntityDescriptor>"#
        )
    }

    /// Its values, written down by hand.
    pub(crate) fn values(&self, settings: &Value) -> Value {
        json!({
            "enabled": true, "entity_id": ENTITY, "sso_url": SSO, "logout_url": LOGOUT,
            "certificates": self.certificate, "settings": settings,
        })
    }

    /// What it gives `subject` to post who was sent to `departure`; `edits` are made before it signs.
    pub(crate) fn posts(&self, departure: &str, subject: &str, edits: &[(&str, &str)]) -> Posted {
        self.posts_as(None, departure, subject, edits)
    }

    /// The same with an assertion of this name.
    pub(crate) fn posts_as(
        &self,
        id: Option<&str>,
        departure: &str,
        subject: &str,
        edits: &[(&str, &str)],
    ) -> Posted {
        let departure = Url::parse(departure).unwrap();
        assert!(departure.as_str().starts_with(SSO), "{departure}");
        let parameter = |name: &str| {
            let found = departure.query_pairs().find(|(key, _)| key == name);
            found.unwrap_or_else(|| panic!("no {name} in {departure}")).1.into_owned()
        };
        let request = inflated(&parameter("SAMLRequest"));
        let request = between(&request, " ID=\"", "\"");
        let now = self.clock.now();
        let moment = |moment: Timestamp| format!("{moment:.0}");
        let id = id.map_or_else(|| format!("_{}", hex(request)), str::to_owned);
        let mut assertion = ASSERTION
            .replace("{proven}", &moment(now))
            .replace("{now}", &moment(now))
            .replace("{end}", &moment(now + jiff::SignedDuration::from_mins(5)))
            .replace("{request}", request)
            .replace("{id}", &id)
            .replace("{subject}", subject);
        for (from, to) in edits {
            assert!(assertion.contains(from), "{from} is not in {assertion}");
            assertion = assertion.replace(from, to);
        }
        let canonical = assertion.replace("{signature}", "");
        let signed = assertion.replace("{signature}", &self.signature(&id, &canonical));
        let response = format!(
            r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="http://localhost:3000{ACS}" ID="_r{}" InResponseTo="{request}" IssueInstant="{}" Version="2.0"><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>{signed}</samlp:Response>"#,
            hex(request),
            moment(now),
        );
        Posted { response, relay_state: parameter("RelayState") }
    }

    fn signature(&self, id: &str, canonical: &str) -> String {
        let digest = STANDARD.encode(digest(&SHA256, canonical.as_bytes()));
        let info = format!(
            r##"<ds:SignedInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></ds:SignatureMethod><ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"##
        );
        let value = self.sign(&info);
        format!(
            r#"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">{info}<ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature>"#
        )
    }

    fn sign(&self, text: &str) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        STANDARD.encode(signature)
    }

    /// The query of a request to log `subject` out, whose ID is `id`.
    pub(crate) fn logout_query(&self, id: &str, subject: &str) -> String {
        let session = format!("<samlp:SessionIndex>session-{subject}</samlp:SessionIndex>");
        self.logout_query_for(id, subject, &session)
    }

    /// The same with what names sessions, if anything.
    pub(crate) fn logout_query_for(&self, id: &str, subject: &str, sessions: &str) -> String {
        let request = format!(
            r#"<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="http://localhost:3000/sso/saml/acme/logout" ID="{id}" IssueInstant="{:.0}" Version="2.0"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{ENTITY}</saml:Issuer><saml:NameID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{subject}</saml:NameID>{sessions}</samlp:LogoutRequest>"#,
            self.clock.now(),
        );
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
        deflate.write_all(request.as_bytes()).unwrap();
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let query = format!(
            "SAMLRequest={}&RelayState=back&SigAlg={}",
            encoded(&STANDARD.encode(deflate.finish().unwrap())),
            encoded("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
        );
        format!("{query}&Signature={}", encoded(&self.sign(&query)))
    }

    /// The whole way of `subject` through it.
    pub(crate) async fn way(&self, browser: &Browser<'_>, subject: &str) -> Answer {
        let departure = depart(browser).await;
        come_back(browser, &self.posts(&departure, subject, &[])).await
    }
}

/// A place where a document stands.
pub(crate) struct Place {
    pub(crate) url: String,
    document: Arc<Mutex<String>>,
}

impl Place {
    pub(crate) async fn holding(document: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metadata", listener.local_addr().unwrap());
        let document = Arc::new(Mutex::new(document));
        let held = Arc::clone(&document);
        let routes = Router::new().route("/metadata", get(async move || held.lock().unwrap().clone()));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, document }
    }

    /// From now on this stands there.
    pub(crate) fn holds(&self, document: String) {
        *self.document.lock().unwrap() = document;
    }
}

/// Where somebody is sent who wants to sign in at `acme`.
pub(crate) async fn depart(browser: &Browser<'_>) -> String {
    let left = browser.post("/login/sso", &[("organization", "acme")]).await;
    left.leads_to().unwrap_or_else(|| panic!("{}", left.body)).to_owned()
}

/// Posts what the provider gave, from its site, with the cookie alone that such a request carries, and goes on from there.
pub(crate) async fn come_back(browser: &Browser<'_>, posted: &Posted) -> Answer {
    let landed = land(browser, posted).await;
    match landed.leads_to() {
        Some(on) if on.starts_with("/sso/saml/arrive") => browser.come_back(on).await,
        _ => landed,
    }
}

/// The first half of it.
pub(crate) async fn land(browser: &Browser<'_>, posted: &Posted) -> Answer {
    let fields =
        [("SAMLResponse", STANDARD.encode(&posted.response)), ("RelayState", posted.relay_state.clone())];
    let body = Serializer::new(String::new()).extend_pairs(&fields).finish();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("origin", "https://id.acme.example"),
    ];
    browser.carrying_only("kt_sso").send(Method::POST, ACS, &headers, Some(body)).await
}

impl TestApi {
    /// Turns on a SAML provider of `acme` with these settings; its addresses count as verified in `acme.example`.
    pub(crate) async fn with_saml(&self, settings: Value) -> SamlProvider {
        let provider = SamlProvider::new(&self.clock);
        let mut all = json!({ "trust_email": true });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let made =
            self.put(PATH, provider.values(&all)).bearer(self.owner().await.access_token()).send().await;
        assert_eq!(made.status, 200, "{}", made.json);
        self.control.vouch_for_domain(&self.operator(), "acme", "acme.example").await.unwrap();
        provider
    }
}

fn inflated(base64: &str) -> String {
    let mut text = String::new();
    DeflateDecoder::new(&*STANDARD.decode(base64).unwrap()).read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

fn hex(text: &str) -> String {
    let bytes: Vec<String> =
        digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.concat()
}
