//! Mail through aiosmtpd, a real mail server in a process of its own.

mod server;

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use kt_control::mail::{MailError, Mailer, Smtp, SmtpCredentials, SmtpSettings, SmtpSetupError, SmtpTls};
use server::{PASSWORD, Server, USERNAME};

use crate::support::letter;

/// Settings that fit `server`.
fn settings(server: &Server) -> SmtpSettings {
    SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port: server.port,
        tls: server.tls,
        credentials: Some(credentials(PASSWORD)),
        root_ca_file: Some(server.authority()),
        hello_name: "keeptrusts.example.org".to_owned(),
        timeout: Duration::from_secs(20),
    }
}

fn credentials(password: &str) -> SmtpCredentials {
    SmtpCredentials { username: USERNAME.to_owned(), password: password.into() }
}

/// Sends a letter to `to` with a connection of its own.
async fn send(settings: &SmtpSettings, to: &str) -> Result<(), MailError> {
    Smtp::new(settings).unwrap().send(&letter(to)).await
}

#[tokio::test]
async fn a_letter_arrives_whole_over_each_kind_of_connection() {
    for tls in [SmtpTls::StartTls, SmtpTls::Tls, SmtpTls::None] {
        let mut server = Server::start(tls);
        let smtp = Smtp::new(&settings(&server)).unwrap();
        for _ in 0..2 {
            let letter = letter("ada@example.net");
            smtp.send(&letter).await.unwrap();
            let mail = server.received();
            assert_eq!(mail.sender, "no-reply@example.org");
            assert_eq!(mail.recipients, ["ada@example.net"]);
            assert_eq!(mail.headers["subject"], ["Einladung zu Übermut & Söhne — 山田"]);
            assert_eq!(mail.headers["to"], ["ada@example.net"]);
            assert_eq!(mail.headers["from"], ["Keeptrusts <no-reply@example.org>"]);
            assert_eq!(mail.text.trim_end(), letter.content.text.trim_end());
            assert_eq!(mail.html.trim_end(), letter.content.html.trim_end());
            assert_eq!(mail.over_tls, tls != SmtpTls::None);
            assert_eq!(mail.greeting, "keeptrusts.example.org");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_before_anything_is_said() {
    for tls in [SmtpTls::StartTls, SmtpTls::Tls] {
        let mut server = Server::start(tls);
        let stranger = Server::start(tls);
        let untrusting = SmtpSettings { root_ca_file: Some(stranger.authority()), ..settings(&server) };
        let error = send(&untrusting, "ada@example.net").await.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");

        send(&settings(&server), "bob@example.net").await.unwrap();
        assert_eq!(server.received().recipients, ["bob@example.net"]);
    }
}

/// A man in the middle who takes `STARTTLS` out of the server's offer gets neither password nor mail.
#[tokio::test]
async fn a_server_that_offers_no_tls_gets_nothing_when_tls_is_asked_for() {
    let plain = Server::start(SmtpTls::None);
    let asking = SmtpSettings { tls: SmtpTls::StartTls, ..settings(&plain) };
    let error = send(&asking, "ada@example.net").await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    send(&settings(&plain), "ada@example.net").await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_permanent() {
    let server = Server::start(SmtpTls::StartTls);
    let wrong = SmtpSettings { credentials: Some(credentials("wrong")), ..settings(&server) };
    let error = send(&wrong, "ada@example.net").await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert!(error.to_string().contains("535"), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    send(&settings(&server), "ada@example.net").await.unwrap();
}

#[tokio::test]
async fn the_servers_own_word_decides_whether_to_try_again() {
    let mut server = Server::start(SmtpTls::StartTls);
    let smtp = Smtp::new(&settings(&server)).unwrap();
    for (to, is_permanent) in [("unknown@example.net", true), ("busy@example.net", false)] {
        let error = smtp.send(&letter(to)).await.unwrap_err();
        assert_eq!(error.is_permanent(), is_permanent, "{error}");
    }
    smtp.send(&letter("ada@example.net")).await.unwrap();
    assert_eq!(server.received().recipients, ["ada@example.net"]);
}

#[tokio::test]
async fn a_server_that_is_away_is_temporary() {
    let mut server = Server::start(SmtpTls::StartTls);
    let settings = settings(&server);
    let smtp = Smtp::new(&settings).unwrap();
    smtp.send(&letter("ada@example.net")).await.unwrap();
    server.stop();
    for _ in 0..2 {
        let error = smtp.send(&letter("ada@example.net")).await.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_temporary() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port: silent.local_addr().unwrap().port(),
        tls: SmtpTls::None,
        credentials: None,
        root_ca_file: None,
        hello_name: "keeptrusts.example.org".to_owned(),
        timeout: Duration::from_millis(200),
    };
    let error = send(&settings, "ada@example.net").await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
}

#[tokio::test]
async fn a_subject_and_a_name_with_line_ends_reach_one_recipient_under_one_subject() {
    let mut server = Server::start(SmtpTls::StartTls);
    let attack = "x\r\nBcc: eve@example.com\r\nTo: eve@example.com\r\n\r\nbody\0";
    let mut hostile = letter("ada@example.net");
    hostile.content.subject = attack.to_owned();
    hostile.from.name = Some(kt_control::mail::Label::new(attack));
    Smtp::new(&settings(&server)).unwrap().send(&hostile).await.unwrap();
    let mail = server.received();
    assert_eq!(mail.recipients, ["ada@example.net"]);
    assert_eq!(mail.headers["to"], ["ada@example.net"]);
    assert!(!mail.headers.contains_key("bcc"), "{:?}", mail.headers);
    assert_eq!(mail.headers["subject"].len(), 1);
    assert_eq!(mail.text.trim_end(), hostile.content.text.trim_end());
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_the_way_out() {
    let server = Server::start(SmtpTls::StartTls);
    let with_authorities = |file: PathBuf| SmtpSettings { root_ca_file: Some(file), ..settings(&server) };
    let key = server.authority().with_file_name("key.pem");
    let missing = server.authority().with_file_name("missing.pem");
    let cases = [
        (
            SmtpSettings { tls: SmtpTls::None, host: "mail.example.org".to_owned(), ..settings(&server) },
            "use `starttls` or `tls`",
        ),
        (with_authorities(missing), "cannot read the authorities in"),
        (with_authorities(key), "holds no certificates in PEM form"),
    ];
    for (settings, expected) in cases {
        let error: SmtpSetupError = Smtp::new(&settings).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(Smtp::new(&settings(&server)).is_ok());
}
