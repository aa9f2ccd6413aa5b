//! What a provider really says is believed, and read in full; what it says about something else is not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kt_saml::{
    Attribute, Expected, NameId, Refusal, Stage, VerifiedAssertion, verify_in_stages, verify_response,
};

use crate::provider::{
    ACME, DRAFT, STRANGER, Signs, between, edit, identity_provider, now, us, verify, verify_at,
};

#[test]
fn everything_that_is_signed_is_read() {
    for signs in [Signs::Assertion, Signs::Response, Signs::Both] {
        let found = verify(&ACME.answer(DRAFT, signs)).unwrap();
        let expected = VerifiedAssertion {
            id: "_assertion1".to_owned(),
            remember_until: "2026-03-15T14:28:30Z".parse().unwrap(),
            issuer: "https://idp.example.com/metadata".to_owned(),
            subject: NameId {
                value: "alice@acme.example".to_owned(),
                format: Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent".to_owned()),
            },
            attributes: vec![
                Attribute {
                    name: "urn:oid:0.9.2342.19200300.100.1.3".to_owned(),
                    friendly_name: Some("mail".to_owned()),
                    values: vec!["alice@acme.example".to_owned()],
                },
                Attribute {
                    name: "groups".to_owned(),
                    friendly_name: None,
                    values: vec!["admins".to_owned(), "staff".to_owned()],
                },
            ],
            authenticated_at: "2026-03-15T14:22:20Z".parse().unwrap(),
            authentication_context: Some(
                "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport".to_owned(),
            ),
            session_index: Some("_session1".to_owned()),
            session_ends_at: Some("2026-03-15T22:22:20Z".parse().unwrap()),
        };
        assert_eq!(found, expected, "{signs:?}");
        assert_eq!(found.values("mail").collect::<Vec<_>>(), ["alice@acme.example"]);
        assert_eq!(found.values("groups").collect::<Vec<_>>(), ["admins", "staff"]);
        assert!(!found.subject.is_transient());
    }
}

#[test]
fn the_lines_of_a_posted_message_may_be_broken() {
    let text = STANDARD.encode(ACME.answer(DRAFT, Signs::Both));
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let (provider, us) = (identity_provider(), us());
    let expected = Expected {
        identity_provider: &provider,
        service_provider: &us,
        request: "_request1",
        authenticated_since: None,
        now: now(),
    };
    assert!(verify_response(&lines.join("\r\n"), &expected).is_ok());
}

/// Each is a change that the provider itself made before it signed: true, and about something else.
#[test]
fn a_true_answer_to_another_question_is_refused() {
    let audience = "<saml:Audience>https://console.example.com/sso/saml/acme/metadata</saml:Audience>";
    let restriction = format!("<saml:AudienceRestriction>{audience}</saml:AudienceRestriction>");
    let confirmation_end = "InResponseTo=\"_request1\" NotOnOrAfter=\"2026-03-15T14:27:30Z\" Recipient";
    let cases: &[(&str, &str, &str)] = &[
        (
            "an issuer of another name",
            ">https://idp.example.com/metadata<",
            ">https://evil.example/metadata<",
        ),
        (
            "another destination",
            "Destination=\"https://console.example.com/sso/saml/acme/acs\"",
            "Destination=\"https://console.example.com/sso/saml/other/acs\"",
        ),
        (
            "another recipient",
            "Recipient=\"https://console.example.com/sso/saml/acme/acs\"",
            "Recipient=\"https://other.example/acs\"",
        ),
        ("no recipient", " Recipient=\"https://console.example.com/sso/saml/acme/acs\"", ""),
        ("another audience", "/acme/metadata</saml:Audience>", "/other/metadata</saml:Audience>"),
        ("a longer audience", "/acme/metadata</saml:Audience>", "/acme/metadata.evil</saml:Audience>"),
        ("no audience", &restriction, ""),
        (
            "a second audience restriction that is not met",
            "</saml:AudienceRestriction>",
            "</saml:AudienceRestriction><saml:AudienceRestriction><saml:Audience>urn:x</saml:Audience></saml:AudienceRestriction>",
        ),
        (
            "a condition that is not known",
            "</saml:AudienceRestriction>",
            "</saml:AudienceRestriction><saml:Condition></saml:Condition>",
        ),
        ("another request", "InResponseTo=\"_request1\"", "InResponseTo=\"_request2\""),
        (
            "another request in the confirmation",
            "InResponseTo=\"_request1\" NotOnOrAfter",
            "InResponseTo=\"_request2\" NotOnOrAfter",
        ),
        ("no request in the response", " InResponseTo=\"_request1\" IssueInstant", " IssueInstant"),
        ("no request at all", " InResponseTo=\"_request1\"", ""),
        ("a confirmation without an end", confirmation_end, "InResponseTo=\"_request1\" Recipient"),
        (
            "a confirmation that has ended",
            confirmation_end,
            "InResponseTo=\"_request1\" NotOnOrAfter=\"2026-03-15T14:20:00Z\" Recipient",
        ),
        (
            "a confirmation with a beginning",
            confirmation_end,
            "InResponseTo=\"_request1\" NotBefore=\"2026-03-15T14:20:00Z\" NotOnOrAfter=\"2026-03-15T14:27:30Z\" Recipient",
        ),
        (
            "a time that is none",
            confirmation_end,
            "InResponseTo=\"_request1\" NotOnOrAfter=\"tomorrow\" Recipient",
        ),
        ("another way to confirm", "cm:bearer", "cm:sender-vouches"),
        (
            "no person",
            "<saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\">alice@acme.example</saml:NameID>",
            "",
        ),
        ("an empty name", ">alice@acme.example</saml:NameID>", "></saml:NameID>"),
        (
            "a name with elements in it",
            ">alice@acme.example</saml:NameID>",
            ">alice<saml:X></saml:X>@acme.example</saml:NameID>",
        ),
        ("two names", "</saml:NameID>", "</saml:NameID><saml:NameID>mallory</saml:NameID>"),
        ("another version", "Version=\"2.0\"", "Version=\"1.1\""),
        ("a failure", "status:Success", "status:Responder"),
        (
            "a session that has ended",
            "SessionNotOnOrAfter=\"2026-03-15T22:22:20Z\"",
            "SessionNotOnOrAfter=\"2026-03-15T14:00:00Z\"",
        ),
        ("a sign-in of tomorrow", "AuthnInstant=\"2026-03-15", "AuthnInstant=\"2026-03-16"),
        (
            "an assertion of tomorrow",
            "ID=\"_assertion1\" IssueInstant=\"2026-03-15",
            "ID=\"_assertion1\" IssueInstant=\"2026-03-16",
        ),
        ("no sign-in", "AuthnStatement", "AuthzStatement"),
    ];
    for (name, from, to) in cases {
        for signs in [Signs::Assertion, Signs::Both] {
            // What the assertion does not hold is not signed with it; such a change must be refused all the same.
            let refused = verify(&ACME.answer(&edit(DRAFT, from, to), signs));
            assert!(refused.is_err(), "{name}, {signs:?}: {refused:?}");
        }
    }
    assert!(verify(&ACME.answer(DRAFT, Signs::Both)).is_ok());
}

/// Each bound is moved alone, so that no other one refuses in its place.
#[test]
fn the_conditions_bound_the_time_by_themselves() {
    let (begin, end) = ("2026-03-15T14:24:00Z", "2026-03-15T14:21:00Z");
    let whole = format!(
        "<saml:Conditions {}</saml:Conditions>",
        between(DRAFT, "<saml:Conditions ", "</saml:Conditions>")
    );
    let bounded =
        "<saml:Conditions NotBefore=\"2026-03-15T14:22:00Z\" NotOnOrAfter=\"2026-03-15T14:27:30Z\">";
    let bounds =
        |begin: &str, end: &str| format!("<saml:Conditions NotBefore=\"{begin}\" NotOnOrAfter=\"{end}\">");
    for (name, from, to, expected) in [
        (
            "a beginning that is to come",
            bounded,
            bounds(begin, "2026-03-15T14:27:30Z"),
            Refusal::TooEarly(begin.parse().unwrap()),
        ),
        (
            "an end that has passed",
            bounded,
            bounds("2026-03-15T14:20:00Z", end),
            Refusal::TooLate(end.parse().unwrap()),
        ),
        ("no conditions", &whole, String::new(), Refusal::Structure("there are no conditions")),
        ("conditions twice", &whole, whole.repeat(2), Refusal::Structure("there are conditions twice")),
    ] {
        let refused = verify(&ACME.answer(&edit(DRAFT, from, &to), Signs::Both));
        assert_eq!(refused, Err(expected), "{name}");
    }
    let unbounded = edit(DRAFT, bounded, "<saml:Conditions>");
    assert!(verify(&ACME.answer(&unbounded, Signs::Both)).is_ok(), "the control: the standard lets them out");
}

#[test]
fn a_refusal_says_how_far_the_response_was_good() {
    let (provider, us) = (identity_provider(), us());
    let refused_at = |text: &str| {
        let expected = Expected {
            identity_provider: &provider,
            service_provider: &us,
            request: "_request1",
            authenticated_since: None,
            now: now(),
        };
        verify_in_stages(&STANDARD.encode(text), &expected).map(|_| ()).map_err(|refused| refused.stage)
    };
    for (from, to, stage) in [
        ("status:Success", "status:Responder", Stage::Message),
        ("InResponseTo=\"_request1\" IssueInstant", "InResponseTo=\"_x\" IssueInstant", Stage::Answer),
        ("/acme/metadata</saml:Audience>", "/other/metadata</saml:Audience>", Stage::Conditions),
        ("AuthnStatement", "AuthzStatement", Stage::Person),
    ] {
        let text = ACME.answer(&edit(DRAFT, from, to), Signs::Both);
        assert_eq!(refused_at(&text), Err(stage), "{to}");
    }
    assert_eq!(refused_at(&STRANGER.answer(DRAFT, Signs::Both)), Err(Stage::Signature));
    assert_eq!(refused_at(&ACME.answer(DRAFT, Signs::Both)), Ok(()), "the control");
}

#[test]
fn a_signed_response_must_say_where_it_goes_and_who_made_it() {
    let without = [
        " Destination=\"https://console.example.com/sso/saml/acme/acs\"",
        "<saml:Issuer xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">https://idp.example.com/metadata</saml:Issuer>",
    ];
    for part in without {
        let draft = edit(DRAFT, part, "");
        assert!(verify(&ACME.answer(&draft, Signs::Assertion)).is_ok(), "the standard lets it out: {part}");
        assert!(verify(&ACME.answer(&draft, Signs::Response)).is_err(), "{part}");
    }
}

#[test]
fn clocks_may_differ_by_a_minute_and_no_more() {
    let answer = ACME.answer(DRAFT, Signs::Both);
    for (at, accepted) in [
        ("2026-03-15T14:21:29Z", false),
        ("2026-03-15T14:21:30Z", true),
        ("2026-03-15T14:28:29Z", true),
        ("2026-03-15T14:28:30Z", false),
        ("2027-03-15T14:22:31Z", false),
    ] {
        assert_eq!(verify_at(&answer, at.parse().unwrap()).is_ok(), accepted, "{at}");
    }
}

#[test]
fn who_is_asked_again_must_have_answered_again() {
    let (provider, us, answer) =
        (identity_provider(), us(), STANDARD.encode(ACME.answer(DRAFT, Signs::Both)));
    let asked_at = |since: &str| {
        let expected = Expected {
            identity_provider: &provider,
            service_provider: &us,
            request: "_request1",
            authenticated_since: Some(since.parse().unwrap()),
            now: now(),
        };
        verify_response(&answer, &expected)
    };
    assert!(asked_at("2026-03-15T14:22:00Z").is_ok());
    assert!(asked_at("2026-03-15T14:23:20Z").is_ok(), "by the minute that clocks may differ");
    assert_eq!(asked_at("2026-03-15T14:23:21Z"), Err(Refusal::NotAuthenticatedAgain));
}

#[test]
fn a_failure_is_told_in_the_words_of_the_provider() {
    let status = "<samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"></samlp:StatusCode>";
    let failure = "<samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Requester\"><samlp:StatusCode \
        Value=\"urn:oasis:names:tc:SAML:2.0:status:InvalidNameIDPolicy\"></samlp:StatusCode></samlp:StatusCode>\
        <samlp:StatusMessage>No such format</samlp:StatusMessage>";
    let draft = edit(DRAFT, status, failure);
    let without_assertion = draft.replace(&crate::provider::assertion_of(&draft), "");
    for draft in [draft, without_assertion] {
        let refusal = verify(
            &draft.replace("{signature of the response}", "").replace("{signature of the assertion}", ""),
        );
        assert_eq!(
            refusal,
            Err(Refusal::Status("Requester, InvalidNameIDPolicy: No such format".to_owned()))
        );
    }
}
