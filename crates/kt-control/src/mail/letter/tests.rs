use kt_domain::public_url::PublicUrl;
use proptest::prelude::*;

use super::*;
use crate::mail::{Message, Renderer};

#[test]
fn a_sender_has_an_address_and_perhaps_a_name() {
    let cases = [
        ("no-reply@example.org", "no-reply@example.org"),
        ("Keeptrusts <no-reply@example.org>", "Keeptrusts <no-reply@example.org>"),
        ("  \"Trust, Inc.\" <no-reply@example.org> ", "Trust, Inc. <no-reply@example.org>"),
        ("<no-reply@example.org>", "no-reply@example.org"),
    ];
    for (text, shown) in cases {
        assert_eq!(text.parse::<Sender>().unwrap().to_string(), shown);
    }
    for text in ["", "Keeptrusts", "Keeptrusts <>", "a <a@example.org> <b@example.org>", "a@example.org>"] {
        assert!(text.parse::<Sender>().is_err(), "{text}");
    }
}

#[test]
fn a_mail_has_these_headers_and_both_forms_of_its_text() {
    let mail = written(&letter("Keeptrusts", "Willkommen bei Übermut & Söhne"));
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let lines: Vec<&str> = head.lines().filter(|line| !line.contains("boundary")).collect();
    assert_eq!(
        lines,
        [
            "From: Keeptrusts <no-reply@example.org>",
            "To: ada@example.net",
            "Subject: Willkommen bei =?utf-8?b?w5xiZXJtdXQ=?= & =?utf-8?b?U8O2aG5l?=",
            "Date: Thu, 05 Mar 2026 14:02:31 +0000",
            "Message-ID: <00000000000000000000000000000007@example.org>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: multipart/alternative;",
        ]
    );
    let kinds: Vec<&str> = body.lines().filter(|line| line.starts_with("Content-Type")).collect();
    assert_eq!(kinds, ["Content-Type: text/plain; charset=utf-8", "Content-Type: text/html; charset=utf-8"]);
}

proptest! {
    /// Names of people and organizations, and the subject itself, in case a text gets there by another way.
    #[test]
    fn no_name_adds_a_header_or_a_recipient(
        name in hostile(), organization in hostile(), subject in hostile(),
    ) {
        let invitation = Message::Invitation {
            organization: Label::new(&organization),
            invited_by: Label::new(&name),
            role: Label::new("member"),
            token: crate::mail::LinkToken::new("token".to_owned()),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        let mut by_label = letter(&name, "");
        by_label.content = renderer().render(&invitation, &by_label.to);
        for letter in [by_label, letter(&name, &subject)] {
            let mail = letter.to_mime().unwrap();
            prop_assert_eq!(mail.envelope().to(), &["ada@example.net".parse::<Address>().unwrap()]);
            prop_assert_eq!(mail.envelope().from(), Some(&"no-reply@example.org".parse::<Address>().unwrap()));
            let mail = written(&letter);
            prop_assert_eq!(header_names(&mail), HEADERS, "{}", mail);
            prop_assert!(mail.contains("\r\nTo: ada@example.net\r\n"));
            prop_assert!(!mail.replace("\r\n", "").contains(['\r', '\n', '\0']));
        }
    }
}

const HEADERS: [&str; 8] =
    ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];

/// Text in which ends of lines, and what could follow them, are frequent.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\r\n\r\n".to_owned()),
        Just("\0".to_owned()),
        Just("\u{2028}".to_owned()),
        Just("\u{85}".to_owned()),
        Just("Bcc: eve@example.com".to_owned()),
        Just(", eve@example.com".to_owned()),
        Just("<eve@example.com>".to_owned()),
        Just("=?utf-8?q?=0D=0ABcc:_eve@example.com?=".to_owned()),
        Just("\"\\".to_owned()),
        Just(" ".to_owned()),
        "[a-zé山]{1,40}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn header_names(mail: &str) -> Vec<&str> {
    let head = mail.split("\r\n\r\n").next().unwrap_or_default();
    head.split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap_or_default())
        .collect()
}

fn letter(name: &str, subject: &str) -> Letter {
    Letter {
        id: Uuid::from_u128(7),
        from: Sender { name: Some(Label::new(name)), address: "no-reply@example.org".parse().unwrap() },
        to: "ada@example.net".parse().unwrap(),
        date: "2026-03-05T14:02:31Z".parse().unwrap(),
        content: Rendered {
            subject: subject.to_owned(),
            text: "Hello".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        },
    }
}

fn written(letter: &Letter) -> String {
    String::from_utf8(letter.to_mime().unwrap().formatted()).unwrap()
}

fn renderer() -> Renderer {
    Renderer::new(PublicUrl::parse("https://keeptrusts.example.org").unwrap())
}
