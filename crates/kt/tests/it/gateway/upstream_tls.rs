//! A provider over TLS: its certificate is checked against the system's roots, which `SSL_CERT_FILE` chooses.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::process::{Place, Process};
use super::{Http, wait_for};

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

/// A collector of telemetry that shows `own`, and counts what it was told.
fn collector(own: &CertifiedKey<KeyPair>) -> (SocketAddr, Arc<AtomicUsize>) {
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![own.cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, told) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&told);
    thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp);
            if tls.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    (address, told)
}

#[test]
fn telemetry_goes_to_a_collector_with_a_trusted_certificate_alone() {
    let (trusted, stranger) = (certificate("localhost"), certificate("localhost"));
    let provider = provider(&trusted);
    for (own, is_told) in [(&trusted, true), (&stranger, false)] {
        let (collector, told) = collector(own);
        let place = Place::with(&format!(
            "pack: {{name: test, version: 1.0.0}}\n\
             providers: {{targets: [{{id: primary, provider: openai, base_url: 'https://localhost:{}/v1'}}]}}\n\
             telemetry: {{otlp_endpoint: 'https://localhost:{}'}}\n",
            provider.port(),
            collector.port(),
        ));
        let roots = place.path("roots.pem");
        fs::write(&roots, trusted.cert.pem()).unwrap();
        let process =
            Process::spawn(place.command(&[]).env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR"));
        for _ in 0..600 {
            assert_eq!(Http::connect(process.gateway()).unwrap().chat().unwrap().status, 200);
        }
        if is_told {
            wait_for("a batch", || (told.load(Ordering::Relaxed) > 0).then_some(()));
        } else {
            wait_for("a batch that is given up", || {
                let metrics = process.ask_admin("/metrics").body;
                let dropped = "keeptrusts_gateway_telemetry_dropped_total ";
                let line = metrics.lines().find_map(|line| line.strip_prefix(dropped).map(str::to_owned));
                line.and_then(|count| count.parse::<u64>().ok()).filter(|count| *count > 0).map(|_| ())
            });
            assert_eq!(told.load(Ordering::Relaxed), 0, "nothing was told");
        }
    }
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
