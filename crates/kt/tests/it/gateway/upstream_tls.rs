//! A provider over TLS: its certificate is checked against the system's roots, which `SSL_CERT_FILE` chooses.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Http;
use super::process::{Place, Process};

fn certificate(name: &str) -> CertifiedKey<KeyPair> {
    generate_simple_self_signed([name.to_owned()]).unwrap()
}

/// A provider that shows `own`.
fn provider(own: &CertifiedKey<KeyPair>) -> SocketAddr {
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![own.cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp);
            // A gateway that does not trust the certificate breaks off here.
            if tls.read(&mut [0; 4096]).is_ok() {
                tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                    .unwrap();
                tls.conn.send_close_notify();
                tls.flush().unwrap();
            }
        }
    });
    address
}

#[test]
fn only_a_provider_with_a_trusted_certificate_of_its_name_is_asked() {
    let (trusted, stranger, misnamed) =
        (certificate("localhost"), certificate("localhost"), certificate("other.test"));
    for (name, own, status, code) in [
        ("trusted", &trusted, 200, ""),
        ("not trusted", &stranger, 502, "upstream_tls"),
        ("of another name", &misnamed, 502, "upstream_tls"),
    ] {
        let target = format!(
            "{{id: primary, provider: openai, base_url: 'https://localhost:{}/v1'}}",
            provider(own).port()
        );
        let place = Place::with(&format!(
            "pack: {{name: test, version: 1.0.0}}\nproviders: {{targets: [{target}]}}\n"
        ));
        let roots = place.path("roots.pem");
        fs::write(&roots, [trusted.cert.pem(), misnamed.cert.pem()].concat()).unwrap();
        let process =
            Process::spawn(place.command(&[]).env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR"));
        let answer = Http::connect(process.gateway()).unwrap().chat().unwrap();
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(answer.code(), code, "{name}");
        let event = &process.ask_admin("/v1/events?limit=1").json()["events"][0];
        assert_eq!(event["status"], status, "{name}: {event}");
    }
}
