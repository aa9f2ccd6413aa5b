use super::*;
use crate::mail::{Circumstances, Label};
use jiff::Timestamp;

fn renderer() -> Renderer {
    Renderer::new(PublicUrl::parse("https://keeptrusts.example.org").unwrap())
}

fn ada() -> EmailAddress {
    "Ada@example.org".parse().unwrap()
}

fn kind(message: &Message) -> String {
    serde_json::to_value(message).unwrap()["kind"].as_str().unwrap().to_owned()
}

/// The whole wording, to be read when it changes.
#[test]
fn every_message_says_this() {
    let book: Vec<String> = Message::samples()
        .iter()
        .map(|message| {
            let Rendered { subject, text, .. } = renderer().render(message, &ada());
            format!("===== {}\nSubject: {subject}\n\n{text}", kind(message))
        })
        .collect();
    insta::assert_snapshot!(book.join("\n"));
}

#[test]
fn the_samples_hold_every_kind_of_message() {
    let schema = include_str!("../message.rs");
    let variants = schema.split("pub enum Message {").nth(1).unwrap().split("\n}").next().unwrap();
    let declared = variants
        .lines()
        .filter(|line| line.starts_with("    ") && line.as_bytes().get(4).is_some_and(u8::is_ascii_uppercase))
        .count();
    let mut kinds: Vec<String> = Message::samples().iter().map(kind).collect();
    kinds.dedup();
    assert_eq!(kinds.len(), declared, "{kinds:?}");
}

#[test]
fn html_says_what_the_text_says() {
    for message in Message::samples() {
        let Rendered { subject, text, html } = renderer().render(&message, &ada());
        let shown = words(&unescaped(&without_tags(&html)));
        // The layouts differ in these alone: a heading, what introduces the link, the line over the end.
        let said = text.replace("\n-- \n", "\n");
        let said = words(&said.replace(":\nhttps://", " Or open this address: https://"));
        assert_eq!(shown, [words(&subject), said].concat(), "{subject}");
    }
}

#[test]
fn html_fetches_nothing_and_has_one_link_at_most() {
    for message in Message::samples() {
        let Rendered { subject, text, html } = renderer().render(&message, &ada());
        for forbidden in
            ["<img", "<script", "<link", "<style", "<form", "src=", "url(", "@import", "background="]
        {
            assert!(!html.contains(forbidden), "{subject}: {forbidden}");
        }
        let links: Vec<&str> =
            html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(links.len() <= 1, "{subject}: {links:?}");
        for link in links {
            let link = unescaped(link);
            assert!(link.starts_with("https://keeptrusts.example.org/"), "{subject}: {link}");
            assert_eq!(text.lines().filter(|line| *line == link).count(), 1, "{subject}: {link}");
        }
    }
}

/// An address and a time in each notice, and the token in its link alone.
#[test]
fn every_notice_tells_when_and_from_where_and_no_secret() {
    for message in Message::samples() {
        let Rendered { subject, text, html } = renderer().render(&message, &ada());
        let json = serde_json::to_value(&message).unwrap();
        if ["happened", "requested", "last"].iter().any(|field| json.get(field).is_some()) {
            assert!(
                text.contains("When: Thu, 5 Mar 2026 14:02 UTC\nFrom: 203.0.113.7\nWith: Firefox on Linux\n"),
                "{text}"
            );
        }
        assert!(!subject.contains(Message::SAMPLE_TOKEN));
        let tokens = |body: &str| body.matches(Message::SAMPLE_TOKEN).count();
        let in_links = |body: &str| body.matches(&format!("?token={}", Message::SAMPLE_TOKEN)).count();
        assert_eq!(tokens(&text), in_links(&text), "{subject}");
        assert_eq!(tokens(&html), in_links(&unescaped(&html)), "{subject}");
        let has_one_time_link = text.contains("The link works once, until ");
        assert_eq!(has_one_time_link, tokens(&text) == 1, "{subject}");
    }
}

#[test]
fn what_people_typed_is_text_in_html_and_one_line_in_text() {
    let attack =
        "<script>alert(1)</script>\r\n\r\nYour bank: <a href=\"https://evil.example\">click</a> & 'quote'";
    let message = Message::RegistrationPending {
        organization: Label::new(attack),
        name: Label::new(attack),
        address: ada(),
        at: Timestamp::UNIX_EPOCH,
    };
    let Rendered { subject, text, html } = renderer().render(&message, &ada());
    assert!(!html.contains("<script") && !html.contains("<a href=\"https://evil"), "{html}");
    assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
    assert!(text.lines().all(|line| !line.starts_with("Your bank")), "{text}");
    assert!(!subject.contains(['\r', '\n']));
}

#[test]
fn a_stranger_puts_no_words_of_theirs_into_mail_to_an_unconfirmed_address() {
    let requested = Circumstances { at: Timestamp::UNIX_EPOCH, address: None, client: None };
    let message = Message::VerifyAddress {
        organization: Label::new("Example Industries"),
        token: crate::mail::LinkToken::new("token".to_owned()),
        expires_at: Timestamp::UNIX_EPOCH,
        requested,
    };
    let fields: Vec<String> =
        serde_json::to_value(&message).unwrap().as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["kind", "organization", "expires_at", "requested"]);
    let text = renderer().render(&message, &ada()).text;
    assert!(text.contains("When: Thu, 1 Jan 1970 00:00 UTC\n\nConfirm this address:"), "{text}");
}

#[test]
fn links_stand_below_the_configured_address() {
    let home = PublicUrl::parse("https://trust.example.net:8443/kt/").unwrap();
    let renderer = Renderer::new(home);
    let mut links = 0;
    for message in Message::samples() {
        let text = renderer.render(&message, &ada()).text;
        for line in text.lines().filter(|line| line.starts_with("http")) {
            assert!(line.starts_with("https://trust.example.net:8443/kt/"), "{line}");
            links += 1;
        }
    }
    assert!(links > 25, "{links}");
}

/// The words, each without the colon that a table needs not.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| word.trim_end_matches(':').to_owned()).collect()
}

fn without_tags(html: &str) -> String {
    let body = html.split("<body").nth(1).unwrap();
    let mut text = String::new();
    let mut in_tag = true;
    for character in body.chars() {
        match character {
            '<' => in_tag = true,
            '>' => {
                in_tag = false;
                text.push(' ');
            }
            _ if !in_tag => text.push(character),
            _ => {}
        }
    }
    text
}

fn unescaped(html: &str) -> String {
    [("&#x2f;", "/"), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&amp;", "&")]
        .iter()
        .fold(html.to_owned(), |text, (escaped, character)| text.replace(escaped, character))
}
