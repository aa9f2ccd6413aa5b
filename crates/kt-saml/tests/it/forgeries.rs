//! Forged responses of every kind that has let somebody in somewhere: none is believed. Each is made from a genuine one,
//! which is accepted.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kt_saml::Refusal;

use crate::provider::{
    ACME, ALICE, DRAFT, MALLORY, STRANGER, Signs, assertion_of, between, edit, in_canonical_form,
    signature_of, signed_info, verify,
};

/// Where the assertion is signed.
fn genuine() -> String {
    ACME.answer(DRAFT, Signs::Assertion)
}

/// Where the response is.
fn genuine_response() -> String {
    ACME.answer(DRAFT, Signs::Response)
}

/// The assertion as Mallory would like it: unsigned, about Mallory, with an ID of its own.
fn evil() -> String {
    let assertion = assertion_of(&ACME.answer(DRAFT, Signs::Nothing));
    edit(&edit(&assertion, ALICE, MALLORY), "_assertion1", "_evil1")
}

/// The whole response as Mallory would like it, with IDs of its own.
fn evil_response() -> String {
    let response = edit(&ACME.answer(DRAFT, Signs::Nothing), ALICE, MALLORY);
    edit(&edit(&response, "_response1", "_evil1"), "_assertion1", "_evil2")
}

fn refused(name: &str, forged: &str) -> Refusal {
    let genuine = [genuine(), genuine_response()];
    assert!(genuine.iter().all(|text| text != forged), "{name} changes nothing");
    match verify(forged) {
        Ok(found) => panic!("{name} signs in as {}:\n{forged}", found.subject.value),
        Err(refusal) => refusal,
    }
}

#[test]
fn the_genuine_ones_are_accepted() {
    for text in [genuine(), genuine_response(), ACME.answer(DRAFT, Signs::Both)] {
        assert_eq!(verify(&text).unwrap().subject.value, ALICE);
    }
}

/// XSW 1 to 8, as SAML Raider numbers them (Somorovsky and others, "On Breaking SAML", 2012).
#[test]
fn a_signed_part_that_is_wrapped_signs_nobody_in() {
    let (whole, response) = (genuine(), genuine_response());
    let (signed, signature) = (assertion_of(&whole), signature_of(&whole));
    let unsigned = signed.replace(&signature, "");
    let response_signature = signature_of(&response);
    let bare_response = response.replace(&response_signature, "");
    let evil_root = |inside: &str| {
        // The evil response with the signature, in the place where a signature belongs.
        evil_response().replacen("</saml:Issuer>", &format!("</saml:Issuer>{inside}"), 1)
    };
    let evil_signed = |inside: &str| evil().replacen("</saml:Issuer>", &format!("</saml:Issuer>{inside}"), 1);
    let with_object = |content: &str| {
        signature.replace("</ds:Signature>", &format!("<ds:Object>{content}</ds:Object></ds:Signature>"))
    };
    let cases = [
        ("XSW1", evil_root(&response_signature.replace("</ds:Signature>", &format!("<ds:Object>{bare_response}</ds:Object></ds:Signature>")))),
        ("XSW1 without an object", evil_root(&response_signature.replace("</ds:Signature>", &format!("{bare_response}</ds:Signature>")))),
        ("XSW2", evil_root(&format!("{bare_response}{response_signature}"))),
        ("XSW2 the other way round", evil_root(&format!("{response_signature}{bare_response}"))),
        ("XSW3", whole.replace(&signed, &format!("{}{signed}", evil()))),
        ("XSW3 the other way round", whole.replace(&signed, &format!("{signed}{}", evil()))),
        ("XSW4", whole.replace(&signed, &evil().replace("</saml:Assertion>", &format!("{signed}</saml:Assertion>")))),
        ("XSW5", whole.replace(&signed, &format!("{}{unsigned}", evil_signed(&signature)))),
        ("XSW6", whole.replace(&signed, &evil_signed(&signature.replace("</ds:Signature>", &format!("{unsigned}</ds:Signature>"))))),
        ("XSW7", whole.replace("<samlp:Status>", &format!("<samlp:Extensions>{}</samlp:Extensions><samlp:Status>", evil()))),
        ("XSW7 with the signed one in the extensions", whole.replace(&signed, &evil()).replace("<samlp:Status>", &format!("<samlp:Extensions>{signed}</samlp:Extensions><samlp:Status>"))),
        ("XSW8", whole.replace(&signed, &evil_signed(&with_object(&unsigned)))),
        ("in Advice", whole.replace(&signed, &evil().replace("<saml:AuthnStatement", &format!("<saml:Advice>{signed}</saml:Advice><saml:AuthnStatement")))),
        ("in StatusDetail", whole.replace(&signed, &evil()).replace("</samlp:Status>", &format!("<samlp:StatusDetail>{signed}</samlp:StatusDetail></samlp:Status>"))),
        ("in SubjectConfirmationData", whole.replace(&signed, &evil().replace("</saml:SubjectConfirmationData>", &format!("{signed}</saml:SubjectConfirmationData>")))),
        ("in an attribute", whole.replace(&signed, &evil().replace("</saml:AttributeStatement>", &format!("<saml:Attribute Name=\"x\"><saml:AttributeValue>{signed}</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>")))),
        ("a response in a response", format!("{}{response}</samlp:Response>", evil_response().trim_end_matches("</samlp:Response>"))),
    ];
    for (name, forged) in cases {
        let refusal = refused(name, &forged);
        let is_unreadable = matches!(refusal, Refusal::Unreadable(_) | Refusal::Xml(_));
        assert!(!is_unreadable, "{name} is refused for what it is, and not for how it is written: {refusal}");
        // The same with the ID of what is signed on both.
        let is_of_assertion = forged.contains("URI=\"#_assertion1\"");
        refused(name, &forged.replace("_evil1", if is_of_assertion { "_assertion1" } else { "_response1" }));
    }
}

#[test]
fn a_change_after_signing_is_seen() {
    for (signs, whole) in [(Signs::Assertion, genuine()), (Signs::Response, genuine_response())] {
        for (name, from, to) in [
            ("the name", ALICE, MALLORY),
            ("a group", "admins", "owners"),
            (
                "a new attribute",
                "</saml:AttributeStatement>",
                "<saml:Attribute Name=\"role\"><saml:AttributeValue>owner</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>",
            ),
            ("space in the name", ALICE, "alice@acme.example "),
            ("the end", "NotOnOrAfter=\"2026-03-15T14:27:30Z\"", "NotOnOrAfter=\"2036-03-15T14:27:30Z\""),
            ("an attribute of a tag", "<saml:Subject>", "<saml:Subject x=\"y\">"),
        ] {
            refused(&format!("{name}, {signs:?}"), &edit(&whole, from, to));
        }
    }
}

#[test]
fn a_comment_or_another_odd_thing_in_a_value_is_refused() {
    let whole = genuine();
    // Signed with the odd thing inside, as a provider would that lets people choose their names; canonical without it.
    for (name, odd) in [
        ("a comment", "mallory@acme.example<!---->.evil.example"),
        ("an instruction", "mallory@acme.example<?x?>.evil.example"),
        ("a CDATA section", "mallory@acme.example<![CDATA[]]>.evil.example"),
    ] {
        let plain = edit(DRAFT, ALICE, "mallory@acme.example.evil.example");
        let signed = ACME.answer(&plain, Signs::Assertion);
        assert_eq!(
            verify(&signed).unwrap().subject.value,
            "mallory@acme.example.evil.example",
            "the whole text is read"
        );
        refused(name, &edit(&signed, "mallory@acme.example.evil.example", odd));
    }
    for (name, forged) in [
        ("a comment between elements", whole.replace("<samlp:Status>", "<!-- --><samlp:Status>")),
        ("a comment in the digest", edit(&whole, "<ds:DigestValue>", "<ds:DigestValue><!--A-->")),
        ("a comment after the end", format!("{whole}<!-- -->")),
        ("a document type", format!("<!DOCTYPE x>{whole}")),
        (
            "an entity in an ID",
            format!(
                "<!DOCTYPE x [<!ENTITY a \"_assertion1\">]>{}",
                whole.replace("ID=\"_assertion1\"", "ID=\"&a;\"")
            ),
        ),
        (
            "an external entity",
            format!("<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>{}", edit(&whole, ALICE, "&a;")),
        ),
        (
            "entities of entities",
            format!(
                "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\"><!ENTITY c \"&b;&b;\">]>{}",
                edit(&whole, ALICE, "&c;")
            ),
        ),
        (
            "an attribute default",
            format!("<!DOCTYPE x [<!ATTLIST saml:Assertion ID CDATA \"_assertion1\">]>{whole}"),
        ),
    ] {
        refused(name, &forged);
    }
}

#[test]
fn what_is_signed_must_be_named_once_and_lie_around_the_signature() {
    let whole = genuine();
    let (signed, signature) = (assertion_of(&whole), signature_of(&whole));
    let reference = between(&whole, "<ds:Reference ", "</ds:Reference>");
    let reference = format!("<ds:Reference {reference}</ds:Reference>");
    let evil_info =
        between(&ACME.signature("_evil1", &evil()), "<ds:SignedInfo>", "</ds:SignedInfo>").to_owned();
    let evil_info = format!("<ds:SignedInfo>{evil_info}</ds:SignedInfo>");
    let with_signature =
        |signature: &str| evil().replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1);
    for (name, forged) in [
        ("an equal ID", whole.replace("<samlp:Status>", "<samlp:Status ID=\"_assertion1\">")),
        ("an equal ID of other case", whole.replace("<samlp:Status>", "<samlp:Status Id=\"_assertion1\">")),
        ("an ID of another namespace", whole.replace("<samlp:Status>", "<samlp:Status xml:id=\"_x\">")),
        ("a reference to nothing", whole.replace("URI=\"#_assertion1\"", "URI=\"\"")),
        ("no reference", whole.replace(&reference, "")),
        ("a reference without a URI", whole.replace(" URI=\"#_assertion1\"", "")),
        ("an XPointer", whole.replace("URI=\"#_assertion1\"", "URI=\"#xpointer(id('_assertion1'))\"")),
        ("a file", whole.replace("URI=\"#_assertion1\"", "URI=\"file:///_assertion1\"")),
        ("two references", whole.replace(&reference, &format!("{reference}{reference}"))),
        (
            "two references, one to the evil one",
            whole.replace(&reference, &format!("{}{reference}", reference.replace("_assertion1", "_evil1"))),
        ),
        (
            "two SignedInfo, the evil one first",
            whole.replace(
                &signed,
                &with_signature(
                    &signature.replace("<ds:SignedInfo>", &format!("{evil_info}<ds:SignedInfo>")),
                ),
            ),
        ),
        (
            "two SignedInfo, the evil one last",
            whole.replace(
                &signed,
                &with_signature(
                    &signature.replace("</ds:SignedInfo>", &format!("</ds:SignedInfo>{evil_info}")),
                ),
            ),
        ),
        ("the signature of something else", whole.replace(&signed, &with_signature(&signature))),
        (
            "a signature in the subject",
            whole.replace(&signature, "").replace("<saml:Subject>", &format!("<saml:Subject>{signature}")),
        ),
        (
            "a signature at the end",
            whole
                .replace(&signature, "")
                .replace("</saml:Assertion>", &format!("{signature}</saml:Assertion>")),
        ),
        (
            "the signature of the assertion around it",
            whole.replace(&signature, "").replacen(
                "</saml:Issuer>",
                &format!("</saml:Issuer>{signature}"),
                1,
            ),
        ),
        ("two signatures", whole.replace(&signature, &format!("{signature}{signature}"))),
        (
            "an assertion of another namespace",
            whole.replace(
                "<samlp:Status>",
                &format!("{}<samlp:Status>", evil().replace("SAML:2.0:assertion", "SAML:1.0:assertion")),
            ),
        ),
        (
            "no signature value",
            edit(&whole, between(&whole, "<ds:SignatureValue>", "</ds:SignatureValue>"), ""),
        ),
        ("a signature value that is no Base64", whole.replace("<ds:SignatureValue>", "<ds:SignatureValue>!")),
        ("no digest", edit(&whole, between(&whole, "<ds:DigestValue>", "</ds:DigestValue>"), "")),
        ("an object", whole.replace("</ds:Signature>", "<ds:Object></ds:Object></ds:Signature>")),
        ("no signature", ACME.answer(DRAFT, Signs::Nothing)),
        ("no response around it", signed.clone()),
        ("no assertion", whole.replace(&signed, "")),
        (
            "something else in the response",
            whole.replace("<samlp:Status>", "<samlp:X></samlp:X><samlp:Status>"),
        ),
        ("nothing", String::new()),
    ] {
        refused(name, &forged);
    }
    assert_eq!(verify(&ACME.answer(DRAFT, Signs::Nothing)), Err(Refusal::Unsigned));
}

/// Signs the assertion again with a changed `SignedInfo`: each of these signatures is mathematically right.
fn with_info(change: impl Fn(&str) -> String, digest_of: impl Fn(&[u8]) -> String) -> String {
    let unsigned = assertion_of(&ACME.answer(DRAFT, Signs::Nothing));
    let info = change(&signed_info("_assertion1", &digest_of(unsigned.as_bytes())));
    let value = ACME.sign(&in_canonical_form(&info));
    let signature = format!(
        "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{info}<ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature>"
    );
    DRAFT.replace("{signature of the assertion}", &signature).replace("{signature of the response}", "")
}

fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(digest(&SHA256, bytes))
}

#[test]
fn only_strong_algorithms_and_the_two_transforms_are_accepted() {
    const EXCLUSIVE: &str =
        "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:Transform>";
    const ENVELOPED: &str =
        "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>";
    let same = |info: &str| info.to_owned();
    assert!(verify(&with_info(same, sha256)).is_ok(), "the control, and without KeyInfo");
    let comments = |info: &str| info.replace("xml-exc-c14n#\"", "xml-exc-c14n#WithComments\"");
    assert!(verify(&with_info(comments, sha256)).is_ok(), "there are no comments to be kept");

    let sha1 = |bytes: &[u8]| STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes));
    let digest_method =
        |uri: &'static str| move |info: &str| edit(info, "http://www.w3.org/2001/04/xmlenc#sha256", uri);
    let signature_method = |uri: &'static str| {
        move |info: &str| edit(info, "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", uri)
    };
    let transforms = |from: &'static str, to: String| move |info: &str| edit(info, from, &to);
    let is_algorithm = |refusal: &Refusal| matches!(refusal, Refusal::Algorithm(_));

    assert!(is_algorithm(&refused(
        "a SHA-1 digest",
        &with_info(digest_method("http://www.w3.org/2000/09/xmldsig#sha1"), sha1)
    )));
    for uri in [
        "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
        "http://www.w3.org/2000/09/xmldsig#dsa-sha1",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-md5",
        "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
        "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
        "none",
        "",
    ] {
        assert!(is_algorithm(&refused(uri, &with_info(signature_method(uri), sha256))));
    }
    refused(
        "another algorithm than the key's",
        &with_info(signature_method("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"), sha256),
    );
    refused(
        "another digest than the signature's",
        &with_info(signature_method("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"), sha256),
    );
    let inclusive = |prefixes: &str, more: &str| {
        let list = format!(
            "<ec:InclusiveNamespaces xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"{prefixes}\">{more}</ec:InclusiveNamespaces></ds:Transform>"
        );
        EXCLUSIVE.replace("</ds:Transform>", &list)
    };
    assert!(verify(&with_info(transforms(EXCLUSIVE, inclusive("xs", "")), sha256)).is_ok(), "the control");
    let xslt = "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"></ds:Transform>";
    let xpath = "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>false()</ds:XPath></ds:Transform>";
    for (name, to) in [
        ("XSLT", format!("{EXCLUSIVE}{xslt}")),
        ("XPath", format!("{xpath}{EXCLUSIVE}")),
        ("many transforms", EXCLUSIVE.repeat(50)),
        (
            "inclusive canonicalisation",
            EXCLUSIVE.replace("2001/10/xml-exc-c14n#", "TR/2001/REC-xml-c14n-20010315"),
        ),
        ("more prefixes than anybody needs", inclusive(&"a ".repeat(33), "")),
        ("something in a list of prefixes", inclusive("xs", "<a></a>")),
        (
            "Base64",
            EXCLUSIVE.replace(
                "http://www.w3.org/2001/10/xml-exc-c14n#",
                "http://www.w3.org/2000/09/xmldsig#base64",
            ),
        ),
        ("no canonicalisation", String::new()),
        ("an unknown parameter", EXCLUSIVE.replace("></", "><ds:X></ds:X></")),
    ] {
        refused(name, &with_info(transforms(EXCLUSIVE, to), sha256));
    }
    refused("nothing left out", &with_info(transforms(ENVELOPED, String::new()), sha256));
    refused("the digest of nothing", &with_info(same, |_| sha256(b"")));
    refused(
        "the digest of nothing, and transforms that leave nothing",
        &with_info(transforms(EXCLUSIVE, xpath.to_owned()), |_| sha256(b"")),
    );
    let inclusive_info = |info: &str| {
        info.replacen(
            "http://www.w3.org/2001/10/xml-exc-c14n#",
            "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
            1,
        )
    };
    refused("SignedInfo in inclusive form", &with_info(inclusive_info, sha256));
}

#[test]
fn a_key_that_is_not_configured_signs_nobody_in() {
    for signs in [Signs::Assertion, Signs::Response, Signs::Both] {
        let foreign = STRANGER.answer(DRAFT, signs);
        assert_eq!(refused("a foreign key, its certificate inside", &foreign), Refusal::UnknownKey);
        let certificate = STRANGER.certificate.to_base64();
        let disguised = foreign.replace(&certificate, &ACME.certificate.to_base64());
        refused("a foreign key, the genuine certificate inside", &disguised);
    }
    // The public key as a shared secret.
    let certificate = STANDARD.decode(ACME.certificate.to_base64()).unwrap();
    for secret in
        [certificate.as_slice(), ACME.certificate_pem.as_bytes(), ACME.certificate_pem.trim().as_bytes(), b""]
    {
        let unsigned = assertion_of(&ACME.answer(DRAFT, Signs::Nothing));
        let unsigned = edit(&unsigned, ALICE, MALLORY);
        let info = signed_info("_assertion1", &sha256(unsigned.as_bytes()))
            .replace("xmldsig-more#rsa-sha256", "xmldsig-more#hmac-sha256");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), in_canonical_form(&info).as_bytes());
        let signature = format!(
            "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{info}<ds:SignatureValue>{}</ds:SignatureValue></ds:Signature>",
            STANDARD.encode(tag)
        );
        let forged = edit(DRAFT, ALICE, MALLORY).replace("{signature of the assertion}", &signature);
        refused("a shared secret", &forged.replace("{signature of the response}", ""));
    }
    // One of two signatures is not enough.
    let both = ACME.answer(DRAFT, Signs::Both);
    let inner = assertion_of(&both);
    let foreign_inner = assertion_of(&STRANGER.answer(DRAFT, Signs::Assertion));
    assert!(verify(&both).is_ok());
    refused("a foreign assertion in a response that was signed", &both.replace(&inner, &foreign_inner));
}

/// Decrypting proves nothing: anybody can encrypt to a public key.
#[test]
fn an_encrypted_assertion_is_refused_signed_or_not() {
    let encrypted = "<saml:EncryptedAssertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"><xenc:EncryptedData \
        xmlns:xenc=\"http://www.w3.org/2001/04/xmlenc#\"></xenc:EncryptedData></saml:EncryptedAssertion>";
    let draft = DRAFT.replace("{signature of the assertion}", "");
    let draft = edit(&draft, &assertion_of(&draft), encrypted);
    for signs in [Signs::Nothing, Signs::Response] {
        assert_eq!(refused("encrypted", &ACME.answer(&draft, signs)), Refusal::Encrypted);
    }
}

/// A tag with so many attributes.
fn tag_of(count: usize, attribute: impl Fn(usize) -> String) -> String {
    let attributes: Vec<String> = (0..count).map(attribute).collect();
    format!("<samlp:X{}></samlp:X>", attributes.concat())
}

#[test]
fn what_is_too_large_too_deep_or_too_wide_is_refused_at_once() {
    let whole = genuine();
    let place = "<samlp:Status>";
    for (name, bomb) in [
        ("large", "<samlp:X></samlp:X>".repeat(20_000)),
        ("deep", format!("{}{}", "<samlp:X>".repeat(1000), "</samlp:X>".repeat(1000))),
        ("wide", tag_of(5000, |it| format!(" a{it}=\"\""))),
        ("of many namespaces", tag_of(5000, |it| format!(" xmlns:a{it}=\"u\""))),
    ] {
        refused(name, &whole.replace(place, &format!("<samlp:Extensions>{bomb}</samlp:Extensions>{place}")));
    }
}
