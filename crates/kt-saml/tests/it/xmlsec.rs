//! A second opinion: Debian's `xmlsec1`, which shares no code with this crate. What it signs is accepted here, and what is
//! accepted here it accepts as well. `./test` installs it.

use std::path::Path;
use std::process::Command;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use crate::mutations::{Change, change, changed};
use crate::provider::{ACME, ALICE, DRAFT, Signs, between, edit, verify};

fn xmlsec1(arguments: &[&str], folder: &Path) -> bool {
    let output = Command::new("xmlsec1").current_dir(folder).args(arguments).output();
    output.expect("xmlsec1 is installed: apt-get install xmlsec1").status.success()
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.pem"), &ACME.pkcs8_pem).unwrap();
    std::fs::write(folder.path().join("certificate.pem"), &ACME.certificate_pem).unwrap();
    folder
}

const IDS: [&str; 4] = [
    "--id-attr:ID",
    "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
    "--id-attr:ID",
    "urn:oasis:names:tc:SAML:2.0:protocol:Response",
];

/// Whether it finds the first signature right.
fn accepts(text: &str, folder: &Path) -> bool {
    std::fs::write(folder.join("message.xml"), text).unwrap();
    let mut arguments = vec!["--verify", "--pubkey-cert-pem", "certificate.pem"];
    arguments.extend(IDS);
    arguments.push("message.xml");
    xmlsec1(&arguments, folder)
}

/// A draft whose assertion it has signed.
fn signed_by_it(draft: &str, transforms: &str, folder: &Path) -> String {
    let template = format!(
        "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">\n  <ds:SignedInfo>\n    \
         <ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>\n    \
         <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha384\"/>\n    \
         <ds:Reference URI=\"#_assertion1\"><ds:Transforms><ds:Transform \
         Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>{transforms}</ds:Transforms>\n    \
         <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha512\"/><ds:DigestValue/></ds:Reference>\n  \
         </ds:SignedInfo>\n  <ds:SignatureValue/>\n</ds:Signature>"
    );
    let text =
        draft.replace("{signature of the assertion}", &template).replace("{signature of the response}", "");
    std::fs::write(folder.join("template.xml"), text).unwrap();
    let mut arguments = vec!["--sign", "--privkey-pem", "key.pem", "--output", "signed.xml"];
    arguments.extend(IDS);
    arguments.push("template.xml");
    assert!(xmlsec1(&arguments, folder), "it signs");
    std::fs::read_to_string(folder.join("signed.xml")).unwrap()
}

#[test]
fn what_it_signs_is_accepted_however_it_is_written() {
    const EXCLUSIVE: &str = "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>";
    let with_prefixes = |list: &str| {
        format!(
            "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"><ec:InclusiveNamespaces \
             xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"{list}\"/></ds:Transform>"
        )
    };
    let folder = folder();
    let typed = edit(
        DRAFT,
        "<saml:AttributeValue>admins",
        "<saml:AttributeValue xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" xsi:type=\"xs:string\">admins",
    );
    let outer = edit(
        DRAFT,
        "<samlp:Response ",
        "<samlp:Response xmlns=\"urn:default\" xmlns:xs=\"urn:outer\" xmlns:a=\"urn:a\" ",
    );
    let spread = DRAFT.replace("><", ">\n\t <");
    let default = DRAFT
        .replace("<saml:Assertion xmlns:saml=", "<Assertion xmlns=")
        .replace("<samlp:Status>", "{status}")
        .replace("saml:Issuer xmlns:saml=", "{issuer}");
    let default = default
        .replace("</saml:Issuer>{signature of the r", "</{issuer end}>{signature of the r")
        .replace("<saml:", "<")
        .replace("</saml:", "</")
        .replace("{status}", "<samlp:Status>")
        .replace("{issuer}", "saml:Issuer xmlns:saml=")
        .replace("{issuer end}", "saml:Issuer");
    let quotes = edit(DRAFT, "Name=\"groups\"", "NameFormat='urn:&quot;&#9;&amp;&gt;é'   Name = 'groups'");
    let letters = edit(DRAFT, ">staff", ">Größe &lt;&amp;&#x20AC;&#13; 你好");
    for (name, draft, transforms) in [
        ("as it is", DRAFT.to_owned(), EXCLUSIVE.to_owned()),
        ("types", typed.clone(), EXCLUSIVE.to_owned()),
        ("types, and their prefix kept", typed, with_prefixes("xs xsi")),
        ("namespaces from outside", outer.clone(), EXCLUSIVE.to_owned()),
        ("namespaces from outside kept", outer.clone(), with_prefixes("xs a")),
        ("the default namespace kept", outer, with_prefixes("#default xs")),
        ("spread over lines", spread, EXCLUSIVE.to_owned()),
        ("without a prefix", default, EXCLUSIVE.to_owned()),
        ("quotes and entities", quotes, EXCLUSIVE.to_owned()),
        ("letters of the world", letters, EXCLUSIVE.to_owned()),
    ] {
        let signed = signed_by_it(&draft, &transforms, folder.path());
        assert_eq!(
            verify(&signed).unwrap_or_else(|why| panic!("{name}: {why}\n{signed}")).subject.value,
            ALICE
        );
        assert!(verify(&edit(&signed, "admins", "owners")).is_err(), "{name}");
    }
}

/// It reads the certificates in a message, which are not looked at here.
fn without_key_info(text: &str) -> String {
    let info = format!("<ds:KeyInfo>{}</ds:KeyInfo>", between(text, "<ds:KeyInfo>", "</ds:KeyInfo>"));
    text.replace(&info, "")
}

#[test]
fn what_is_accepted_here_it_accepts_as_well() {
    let folder = folder();
    let mut runner = TestRunner::deterministic();
    let (mut accepted, mut tried) = (0, 0);
    while accepted < 30 && tried < 6_000 {
        tried += 1;
        let signs = if tried % 2 == 0 { Signs::Assertion } else { Signs::Response };
        let change = change().new_tree(&mut runner).unwrap().current();
        if matches!(change, Change::Swap(_, byte) if !byte.is_ascii_alphanumeric()) {
            // It wants the names of namespaces to be addresses, which concerns nobody else.
            continue;
        }
        let text = changed(&without_key_info(&ACME.answer(DRAFT, signs)), &change);
        if verify(&text).is_ok() {
            accepted += 1;
            assert!(accepts(&text, folder.path()), "{change:?}\n{text}");
        }
    }
    assert!(accepted >= 10, "some changes lie outside what is signed: {accepted} of {tried}");
    assert!(
        !accepts(&edit(&ACME.answer(DRAFT, Signs::Assertion), ALICE, "mallory"), folder.path()),
        "the control"
    );
}
