use proptest::prelude::*;

use super::*;

#[test]
fn each_address_has_one_spelling_and_one_form_to_compare_by() {
    let cases = [
        ("ada@example.org", "ada@example.org", "ada@example.org"),
        ("  ada@example.org\n", "ada@example.org", "ada@example.org"),
        ("Ada.Lovelace@Example.ORG", "Ada.Lovelace@example.org", "ada.lovelace@example.org"),
        ("ada+keys@mail.example.org", "ada+keys@mail.example.org", "ada+keys@mail.example.org"),
        ("o'neil/x=y@example.org", "o'neil/x=y@example.org", "o'neil/x=y@example.org"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--BCHER-kva.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        // The same letter, in one character and in two.
        ("ada@bu\u{308}cher.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        // The Kelvin sign, full-width letters, an ideographic full stop, a full-width `@`.
        ("\u{212a}im@example.org", "Kim@example.org", "kim@example.org"),
        ("ａｄａ@ｅｘａｍｐｌｅ。org", "ada@example.org", "ada@example.org"),
        ("ada＠example.org", "ada@example.org", "ada@example.org"),
        ("ada@exam\u{ad}ple.org", "ada@example.org", "ada@example.org"),
        ("123@456.example", "123@456.example", "123@456.example"),
    ];
    for (typed, shown, folded) in cases {
        let address = EmailAddress::parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
        assert_eq!((address.as_typed(), address.folded().as_str()), (shown, folded), "{typed}");
        assert_eq!(format!("{}@{}", address.local(), address.domain()), shown);
    }
}

#[test]
fn what_is_no_single_address_is_refused() {
    let long_local = format!("{}@example.org", "a".repeat(65));
    let long_domain = format!("ada@{}example", "abcdefghi.".repeat(25));
    let huge = format!("ada@{}.org", "a".repeat(2000));
    let cases = [
        ("", EmailError::NotOneAt),
        ("ada", EmailError::NotOneAt),
        ("ada@example.org@example.net", EmailError::NotOneAt),
        // A full-width and a small `@` are one more after normalisation.
        ("ada＠example.net@example.org", EmailError::NotOneAt),
        ("ada\u{fe6b}example.net@example.org", EmailError::NotOneAt),
        ("ada@example.org, eve@example.net", EmailError::NotOneAt),
        ("@example.org", EmailError::Local),
        (".ada@example.org", EmailError::Local),
        ("ada.@example.org", EmailError::Local),
        ("a..da@example.org", EmailError::Local),
        ("a da@example.org", EmailError::Local),
        ("\"a da\"@example.org", EmailError::Local),
        ("ada(comment)@example.org", EmailError::Local),
        ("Ada <ada@example.org>", EmailError::Local),
        ("ada\r\nBcc:eve@example.org", EmailError::Local),
        ("ada\0@example.org", EmailError::Local),
        // A Cyrillic letter that looks like `a`, and a character without width.
        ("\u{430}da@example.org", EmailError::Local),
        ("ad\u{200b}a@example.org", EmailError::Local),
        ("ada@", EmailError::Domain),
        ("ada@localhost", EmailError::Domain),
        ("ada@example.org.", EmailError::Domain),
        ("ada@.example.org", EmailError::Domain),
        ("ada@exa mple.org", EmailError::Domain),
        ("ada@exam_ple.org", EmailError::Domain),
        ("ada@-example.org", EmailError::Domain),
        ("ada@192.0.2.1", EmailError::Domain),
        ("ada@[192.0.2.1]", EmailError::Domain),
        ("ada@example.org\r\nBcc: eve", EmailError::Domain),
        ("ada@example.org>", EmailError::Domain),
        // Punycode of the ASCII name `example`, and of nothing.
        ("ada@xn--example-.org", EmailError::Domain),
        ("ada@xn--.org", EmailError::Domain),
        (&long_local, EmailError::TooLong),
        (&long_domain, EmailError::Domain),
        (&huge, EmailError::TooLong),
    ];
    for (typed, expected) in cases {
        assert_eq!(EmailAddress::parse(typed).map(String::from), Err(expected), "{typed:?}");
    }
}

#[test]
fn addresses_that_differ_in_capitals_only_are_one() {
    let one: EmailAddress = "Ada@Example.org".parse().unwrap();
    let other: EmailAddress = "aDA@example.ORG".parse().unwrap();
    assert_eq!(one, other);
    assert_ne!(one, "ada@example.net".parse().unwrap());
    assert_eq!([one, other].into_iter().collect::<std::collections::HashSet<_>>().len(), 1);
}

#[test]
fn json_is_read_through_the_same_door() {
    let address: EmailAddress = serde_json::from_str(r#""Ada@EXAMPLE.org""#).unwrap();
    assert_eq!(serde_json::to_string(&address).unwrap(), r#""Ada@example.org""#);
    assert!(serde_json::from_str::<EmailAddress>(r#""ada@a@b.example""#).is_err());
}

proptest! {
    #[test]
    fn an_accepted_address_is_printable_ascii_with_one_at_and_reads_back_as_itself(
        typed in r"(\PC|[a-z.@＠\r\n\x00]){0,12}@(\PC{0,8}|[a-z.-]{0,12})\.[a-zäß]{1,5}"
    ) {
        if let Ok(address) = EmailAddress::parse(&typed) {
            let text = address.as_typed();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
            prop_assert_eq!(text.matches('@').count(), 1);
            let again = EmailAddress::parse(text).unwrap();
            prop_assert_eq!(again.as_typed(), text);
            let folded = EmailAddress::parse(&address.folded()).unwrap();
            prop_assert_eq!(folded.as_typed(), address.folded());
        }
    }
}
