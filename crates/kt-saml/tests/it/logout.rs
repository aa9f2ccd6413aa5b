//! Requests to log out: signed ones of the provider alone, fresh, and for this service.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use kt_saml::{
    RedirectedMessage, Refusal, SigningKey, VerifiedLogout, logout_answer, verify_posted_logout,
    verify_redirected_logout,
};
use url::form_urlencoded::byte_serialize;

use crate::provider::{ACME, ALICE, STRANGER, Signer, edit, now, with_logout};

const REQUEST: &str = concat!(
    r#"<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="https://console.example.com/sso/saml/acme/logout""#,
    r#" ID="_logout1" IssueInstant="2026-03-15T14:22:30Z" NotOnOrAfter="2026-03-15T14:24:30Z" Version="2.0">"#,
    r#"<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.example.com/metadata</saml:Issuer>{signature}"#,
    r#"<saml:NameID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">alice@acme.example</saml:NameID>"#,
    "<samlp:SessionIndex>_session1</samlp:SessionIndex></samlp:LogoutRequest>"
);

fn posted(text: &str) -> Result<VerifiedLogout, Refusal> {
    with_logout(|expected| verify_posted_logout(&STANDARD.encode(text), expected))
}

fn redirected(query: &str) -> Result<VerifiedLogout, Refusal> {
    let message = RedirectedMessage::read(query, "SAMLRequest")?;
    with_logout(|expected| verify_redirected_logout(&message, expected))
}

/// A request in a form, signed inside.
fn form(request: &str, signer: &Signer) -> String {
    let unsigned = request.replace("{signature}", "");
    request.replace("{signature}", &signer.signature("_logout1", &unsigned))
}

/// A request in an address, signed over the query.
fn query(request: &str, signer: &Signer) -> String {
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
    deflate.write_all(request.replace("{signature}", "").as_bytes()).unwrap();
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let query = format!(
        "SAMLRequest={}&RelayState=back&SigAlg={}",
        encoded(&STANDARD.encode(deflate.finish().unwrap())),
        encoded("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
    );
    format!("{query}&Signature={}", encoded(&signer.sign(&query)))
}

#[test]
fn a_signed_request_of_the_provider_is_read_in_both_bindings() {
    for found in [posted(&form(REQUEST, &ACME)), redirected(&query(REQUEST, &ACME))] {
        let found = found.unwrap();
        assert_eq!((found.id.as_str(), found.subject.value.as_str()), ("_logout1", ALICE));
        assert_eq!(found.session_indexes, ["_session1"]);
        assert_eq!(found.remember_until.to_string(), "2026-03-15T14:25:30Z");
    }
    let message = RedirectedMessage::read(&query(REQUEST, &ACME), "SAMLRequest").unwrap();
    assert_eq!(message.relay_state.as_deref(), Some("back"));
}

#[test]
fn a_request_that_is_not_signed_by_the_provider_ends_nothing() {
    assert_eq!(posted(&REQUEST.replace("{signature}", "")), Err(Refusal::Unsigned));
    assert_eq!(posted(&form(REQUEST, &STRANGER)), Err(Refusal::UnknownKey));
    assert_eq!(posted(&edit(&form(REQUEST, &ACME), ALICE, "bob@acme.example")), Err(Refusal::Digest));
    assert_eq!(redirected(&query(REQUEST, &STRANGER)), Err(Refusal::UnknownKey));
    let signed = query(REQUEST, &ACME);
    let (without, _) = signed.split_once("&SigAlg").unwrap();
    assert_eq!(redirected(without), Err(Refusal::Unsigned));
    let (without, _) = signed.split_once("&Signature").unwrap();
    assert_eq!(redirected(without), Err(Refusal::Unsigned));
    assert_eq!(redirected(&edit(&signed, "RelayState=back", "RelayState=forth")), Err(Refusal::UnknownKey));
    assert!(matches!(redirected(&edit(&signed, "rsa-sha256", "rsa-sha1")), Err(Refusal::Algorithm(_))));
    assert!(matches!(
        redirected(&edit(&signed, "xmldsig-more%23rsa-sha256", "xmldsig-more%23hmac-sha256")),
        Err(Refusal::Algorithm(_))
    ));
    // Which of two would be checked, and which read?
    let other = query(&edit(REQUEST, ALICE, "bob@acme.example"), &STRANGER);
    let (other, _) = other.split_once('&').unwrap();
    for twice in [format!("{signed}&{other}"), format!("{other}&{signed}")] {
        assert!(matches!(redirected(&twice), Err(Refusal::Unreadable(_))));
    }
}

#[test]
fn a_signed_request_for_another_place_or_time_ends_nothing() {
    for (name, from, to) in [
        ("another destination", "/acme/logout", "/other/logout"),
        ("no destination", "Destination=\"https://console.example.com/sso/saml/acme/logout\" ", ""),
        ("another issuer", ">https://idp.example.com/metadata<", ">https://evil.example<"),
        (
            "one that has ended",
            "NotOnOrAfter=\"2026-03-15T14:24:30Z\"",
            "NotOnOrAfter=\"2026-03-15T14:21:00Z\"",
        ),
        ("an old one", "IssueInstant=\"2026-03-15T14:22:30Z\"", "IssueInstant=\"2026-03-15T14:12:30Z\""),
        ("one of tomorrow", "IssueInstant=\"2026-03-15", "IssueInstant=\"2026-03-16"),
        ("no ID", " ID=\"_logout1\"", ""),
        (
            "nobody",
            "<saml:NameID xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">alice@acme.example</saml:NameID>",
            "",
        ),
        ("a response", "LogoutRequest", "LogoutResponse"),
    ] {
        let changed = edit(REQUEST, from, to);
        assert!(redirected(&query(&changed, &ACME)).is_err(), "{name}");
        assert!(posted(&form(&changed, &ACME)).is_err(), "{name}");
    }
}

#[test]
fn a_message_that_inflates_without_end_is_cut_off() {
    let bomb =
        edit(REQUEST, "<samlp:SessionIndex>", &format!("<samlp:SessionIndex>{}", "a".repeat(50_000_000)));
    let bomb = query(&bomb, &ACME);
    assert!(bomb.len() < 128 * 1024, "it is small on the way");
    assert_eq!(redirected(&bomb), Err(Refusal::Unreadable("it is too large")));
    assert_eq!(
        redirected("SAMLRequest=AAAA&SigAlg=a&Signature=b"),
        Err(Refusal::Unreadable("it is not deflated"))
    );
    assert!(redirected("").is_err());
}

#[test]
fn the_answer_goes_to_the_provider_and_names_the_request() {
    let key = SigningKey::generate("console.example.com", now()).unwrap();
    let request = posted(&form(REQUEST, &ACME)).unwrap();
    let answer =
        with_logout(|expected| logout_answer(expected, "_answer1", &request, Some("back"), &key)).unwrap();
    assert!(answer.starts_with("https://idp.example.com/logout?SAMLResponse="), "{answer}");
    assert!(answer.contains("&RelayState=back&SigAlg=") && answer.contains("&Signature="), "{answer}");
}
