//! Whatever is done to a genuine response, it names Alice or nobody.

use proptest::prelude::*;

use crate::provider::{ACME, ALICE, DRAFT, Signs, verify};

/// Parts that mean something where they are put.
const PARTS: [&str; 12] = [
    "<",
    ">",
    "\"",
    "<!---->",
    "</saml:Assertion>",
    "<saml:NameID>mallory</saml:NameID>",
    " ID=\"_assertion1\"",
    "</saml:Issuer>",
    "&#65;",
    "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">",
    "mallory",
    " xmlns:saml=\"urn:x\"",
];

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(usize, usize),
    Cut(usize, usize),
    Copy(usize, usize, usize),
    Swap(usize, u8),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let at = || 0_usize..10_000;
    prop_oneof![
        (at(), 0..PARTS.len()).prop_map(|(at, part)| Change::Put(at, part)),
        (at(), 1_usize..200).prop_map(|(at, length)| Change::Cut(at, length)),
        (at(), 1_usize..1500, at()).prop_map(|(from, length, to)| Change::Copy(from, length, to)),
        (at(), 0x20_u8..0x7f).prop_map(|(at, byte)| Change::Swap(at, byte)),
    ]
}

pub(crate) fn changed(text: &str, change: &Change) -> String {
    // The text is ASCII.
    let place = |at: usize| at % text.len();
    match *change {
        Change::Put(at, part) => {
            let (before, after) = text.split_at(place(at));
            format!("{before}{}{after}", PARTS[part])
        }
        Change::Cut(at, length) => {
            let start = place(at);
            let end = (start + length).min(text.len());
            format!("{}{}", &text[..start], &text[end..])
        }
        Change::Copy(from, length, to) => {
            let start = place(from);
            let end = (start + length).min(text.len());
            let (before, after) = text.split_at(place(to));
            format!("{before}{}{after}", &text[start..end])
        }
        Change::Swap(at, byte) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes[place(at)] = byte;
            String::from_utf8(bytes).unwrap()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_changed_response_names_alice_or_nobody(
        changes in prop::collection::vec(change(), 1..4),
        signs in prop_oneof![Just(Signs::Assertion), Just(Signs::Response), Just(Signs::Both)],
    ) {
        let mut text = ACME.answer(DRAFT, signs);
        for change in &changes {
            text = changed(&text, change);
            prop_assume!(!text.is_empty());
        }
        if let Ok(found) = verify(&text) {
            prop_assert_eq!(found.subject.value, ALICE);
        }
    }
}
