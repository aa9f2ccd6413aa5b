//! What counts as personal data, and what merely looks like it. The numbers are the published samples of their issuers,
//! or made with their check digits.

use super::*;

/// The names of what is found in a text.
fn found(text: &str) -> Vec<String> {
    let chain = chain("policies: {chain: [pii-detector]}");
    let body = serde_json::json!({ "text": text }).to_string();
    let (said, _) = judged(&chain, &body);
    said[0].2.clone()
}

#[test]
fn each_kind_is_found_in_the_forms_that_people_write() {
    for (text, name) in [
        ("write to jane.doe+news@mail.example.co.uk please", "email"),
        ("JÖRG@müller.example", "email"),
        ("call +49 (0)30 1234-5678 today", "phone"),
        ("call +1-555-010-9999", "phone"),
        ("(212) 555-0147", "phone"),
        ("212-555-0147", "phone"),
        ("0049 30 12345678", "phone"),
        ("Tel. 0171 2345678", "phone"),
        ("020 7946 0958", "phone"),
        ("4111 1111 1111 1111", "card"),
        ("5500-0000-0000-0004", "card"),
        ("378282246310005", "card"),
        ("card 4111111111111111 12/27", "card"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("gb82west12345698765432", "iban"),
        ("_gb82 west 1234 5698 7654 32", "iban"),
        ("iban_DE89370400440532013000", "iban"),
        ("card_4111111111111111_old", "card"),
        ("4111.1111.1111.1111", "card"),
        ("FR14 2004 1010 0505 0001 3M02 606", "iban"),
        ("SSN 536-90-4399", "us-ssn"),
        ("QQ 12 34 56 C", ""),
        ("AB 12 34 56 C", "uk-nino"),
        ("NHS number 943 476 5919", "uk-nhs-number"),
        ("86095742719", "de-tax-id"),
        ("12345678Z", "es-dni"),
        ("X1234567L", "es-dni"),
        ("RSSMRA85T10A562S", "it-codice-fiscale"),
        ("BSN: 111222333", "nl-bsn"),
        ("PESEL 44051401359", "pl-pesel"),
        ("529.982.247-25", "br-cpf"),
        ("2341 2341 2346", "in-aadhaar"),
        ("756.9217.0769.85", "ch-ahv"),
        ("811228-9874", "se-personal-number"),
        ("85.07.30-033.28", "be-national-number"),
        ("2 55 08 14 168 025 38", "fr-nir"),
        ("key sk-proj-abcDEF123456ghiJKL7890mnop", "openai-key"),
        ("sk-ant-api03-abcDEF123456ghiJKL7890mnop", "anthropic-key"),
        ("AKIAIOSFODNN7EXAMPLE", "aws-key"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "github-token"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "private-key"),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
            "jwt",
        ),
    ] {
        let expected: Vec<String> = if name.is_empty() { Vec::new() } else { vec![name.into()] };
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn what_merely_looks_like_it_is_left_alone() {
    for text in [
        "version 1.2.3, 12 of 4096 tokens, 2026-11-21T19:20:05Z",
        "4111 1111 1111 1112",
        "4111.1111.1111.1112, 4.111111111111111",
        "1234 5678 9012 3456",
        "0000 0000 0000 0000",
        "DE89 3704 0044 0532 0130 01",
        "550e8400-e29b-41d4-a716-446655440000",
        "order 20261121-000123, invoice 7788990011",
        "192.168.100.200 port 41002",
        "3.14159265358979323846",
        "a @ b, @mention, user@localhost",
        "000-12-3456, 666-12-3456, 900-12-3456",
        "111222333 without its name",
        "12345678A",
        "529.982.247-26",
        "task-list-of-things-that-risk-something-else",
        "sk-this-is-only-a-long-name-of-some-file",
        "AKIA is four letters",
        "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "1732203244123",
    ] {
        assert_eq!(found(text), [""; 0], "{text}");
    }
}

#[test]
fn a_disguise_is_seen_through() {
    for (text, name) in [
        ("４１１１ １１１１ １１１１ １１１１", "card"),
        ("4111\u{200B}1111\u{200B}1111\u{200B}1111", "card"),
        ("4111\u{2011}1111\u{2011}1111\u{2011}1111", "card"),
        ("bo\u{AD}b@exam\u{2060}ple.com", "email"),
        ("𝗯𝗼𝗯＠𝗲𝘅𝗮𝗺𝗽𝗹𝗲.𝗰𝗼𝗺", "email"),
        (r#"{"to":"bob\u0040example.com"}"#, "email"),
        ("bo\0b@exam\u{1D173}ple.com", "email"),
        ("bob@of\u{FB01}ce.example", "email"),
        ("4111\u{2800}1111\u{2800}1111\u{2800}1111", "card"),
        ("٤١١١١١١١١١١١١١١١", "card"),
    ] {
        assert_eq!(found(text), [name], "{text}");
    }
}

#[test]
fn exceptions_are_not_reported_and_everything_beside_them_is() {
    let yaml = "policies: {chain: [pii-detector]}\npolicy: {pii-detector: {except: [Help@Example.com]}}";
    let (_, passed) = judged(&chain(yaml), r#"{"a":"help@example.com or bob@example.com"}"#);
    assert_eq!(passed.as_deref(), Some(r#"{"a":"help@example.com or [email]"}"#));
}

#[test]
fn only_what_is_asked_for_is_looked_for() {
    let yaml = "policies: {chain: [pii-detector]}\npolicy: {pii-detector: {entities: [card]}}";
    let (_, passed) = judged(&chain(yaml), r#"{"a":"a@example.com 4111111111111111"}"#);
    assert_eq!(passed.as_deref(), Some(r#"{"a":"a@example.com [card]"}"#));
}
