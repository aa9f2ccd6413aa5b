//! TLS for clients: both protocols by ALPN, a certificate that can be changed, and a port that hangs for nobody.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use kt_gateway::TlsFiles;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::harness::{Client, PATIENCE, Request, TestGateway, wait_for};

/// Where a certificate and its key are kept for the gateway.
struct Identity {
    directory: TempDir,
}

impl Identity {
    fn new() -> (Self, CertificateDer<'static>) {
        let identity = Self { directory: tempfile::tempdir().expect("a directory can be made") };
        let certificate = identity.renew();
        (identity, certificate)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.directory.path().join("cert.pem"),
            key: self.directory.path().join("key.pem"),
        }
    }

    /// Puts another certificate in the files' place.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()])
            .expect("a certificate can be made");
        let files = self.files();
        fs::write(&files.certificate, made.cert.pem()).expect("it can be written");
        fs::write(&files.key, made.signing_key.serialize_pem()).expect("it can be written");
        made.cert.der().clone()
    }
}

fn gateway(yaml: &str, identity: &Identity) -> TestGateway {
    TestGateway::with_options(yaml, |options| options.tls = Some(identity.files()))
}

fn trusting(certificate: &CertificateDer<'static>, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it is a certificate");
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// A connection with TLS on top of `tcp`.
fn secure(tcp: TcpStream, config: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("gateway.test").expect("it is a name");
    StreamOwned::new(ClientConnection::new(config, name).expect("it can be begun"), tcp)
}

fn connect(gateway: &TestGateway) -> TcpStream {
    let tcp = TcpStream::connect(gateway.gateway.address()).expect("the gateway takes connections");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
    tcp
}

/// Sends a request that is answered with a small body, and gives the status line.
fn status_line(stream: &mut (impl Read + Write)) -> std::io::Result<String> {
    let text = answer_text(stream)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Sends a request that is answered with a small body, and gives the whole answer.
fn answer_text(stream: &mut (impl Read + Write)) -> std::io::Result<String> {
    stream.write_all(&Request::chat().bytes())?;
    let mut answer = Vec::new();
    while !answer.windows(2).any(|end| end == b"}}") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => break,
            length => answer.extend_from_slice(&piece[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn http_1_is_spoken_with_and_without_being_named() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("", &identity);
    for protocols in [&[b"http/1.1" as &[u8]] as &[&[u8]], &[]] {
        let mut stream = secure(connect(&gateway), trusting(&certificate, protocols));
        assert_eq!(status_line(&mut stream).expect("it is answered"), "HTTP/1.1 200 OK");
        assert_eq!(stream.conn.alpn_protocol(), protocols.first().copied());
        assert_eq!(status_line(&mut stream).expect("it is answered again"), "HTTP/1.1 200 OK");
    }
}

#[test]
fn whoever_comes_over_tls_is_told_to_stay_with_it() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("", &identity);
    let header = "strict-transport-security: max-age=63072000; includeSubDomains\r\n";
    let answer = answer_text(&mut secure(connect(&gateway), trusting(&certificate, &[])));
    assert!(answer.expect("it is answered").to_ascii_lowercase().contains(&header.to_ascii_lowercase()));
    let plain = TestGateway::with("");
    let answer = answer_text(&mut connect(&plain)).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("strict-transport-security"), "{answer}");
}

#[test]
fn http_2_is_preferred() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("", &identity);
    let config = trusting(&certificate, &[b"http/1.1", b"h2"]);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let status = runtime.block_on(async {
        let tcp =
            tokio::net::TcpStream::connect(gateway.gateway.address()).await.expect("it takes connections");
        let name = ServerName::try_from("gateway.test").expect("it is a name");
        let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.expect("it speaks TLS");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2" as &[u8]));
        let (mut client, connection) = h2::client::handshake(tls).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        let request = http::Request::get("https://gateway.test/healthz").body(()).expect("it is a request");
        let (answer, _) = client.send_request(request, true).expect("it can be sent");
        tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("it is answered").status()
    });
    assert_eq!(status, 200);
}

#[test]
fn a_reload_changes_the_certificate_and_keeps_connections() {
    let (identity, old) = Identity::new();
    let gateway = gateway("", &identity);
    let mut kept = secure(connect(&gateway), trusting(&old, &[]));
    status_line(&mut kept).expect("the old certificate holds");

    let new = identity.renew();
    assert!(
        status_line(&mut secure(connect(&gateway), trusting(&old, &[]))).is_ok(),
        "nothing was read anew"
    );
    gateway.reload("").expect("both files are good");
    status_line(&mut secure(connect(&gateway), trusting(&new, &[]))).expect("the new certificate holds");
    status_line(&mut secure(connect(&gateway), trusting(&old, &[]))).expect_err("the old one does not");
    assert_eq!(status_line(&mut kept).expect("what was open stays open"), "HTTP/1.1 200 OK");

    fs::write(identity.files().key, "no key").expect("it can be written");
    let report = gateway.reload("").expect_err("the key cannot be read");
    assert!(report.contains("key.pem holds no private key in PEM"), "{report}");
    status_line(&mut secure(connect(&gateway), trusting(&new, &[]))).expect("the last good one stays");
}

#[test]
fn who_speaks_no_tls_is_left_without_hanging() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("timeouts: {request_header: 300ms}", &identity);
    for opening in [b"\x16\x03\x01" as &[u8], b"\x80\x2e\x01\x00\x02", b""] {
        let mut client =
            Client::connect(gateway.gateway.address(), [127, 0, 0, 1].into()).expect("it connects");
        client.send(opening).expect("the opening is taken");
        let rest = client.rest();
        // RFC 8446 section 6: an alert at most.
        assert!(rest.is_empty() || rest[0] == 0x15, "{rest:?}");
    }
    assert_eq!(gateway.upstream.requests().len(), 0);
    status_line(&mut secure(connect(&gateway), trusting(&certificate, &[]))).expect("the control");
}

#[test]
fn who_speaks_plain_http_is_told_to_speak_tls() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("ip_allowlist: {enabled: true, allow: [127.0.0.1/32]}", &identity);
    for opening in [&Request::chat().bytes()[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"G"] {
        let told = gateway.raw(opening);
        assert_eq!(told.outcome(), (400, "https_required".to_owned()));
        // RFC 6797 section 7.2: not over plain HTTP.
        assert_eq!(
            (told.header("connection"), told.header("strict-transport-security")),
            (Some("close"), None)
        );
        let event = gateway.event_of(told.request_id());
        assert_eq!((event.status, event.reason_code.as_deref()), (Some(400), Some("https_required")));
    }
    let mut elsewhere = gateway.connect_from([127, 0, 0, 9]);
    assert_eq!(
        elsewhere.ask(&Request::chat()).outcome(),
        (403, "ip_denied".to_owned()),
        "its address comes first"
    );
    assert_eq!(gateway.upstream.requests().len(), 0);
    status_line(&mut secure(connect(&gateway), trusting(&certificate, &[]))).expect("the control");
}

#[test]
fn a_stream_that_its_client_does_not_take_is_given_up() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("timeouts: {response_idle: 200ms}", &identity);
    // Small enough that TLS takes each piece whole, whether it can be sent or not.
    let piece = format!("data: {}\n\n", "x".repeat(8 * 1024));
    gateway.upstream.stream_endlessly(piece, Duration::from_micros(100));
    let mut stream = secure(connect(&gateway), trusting(&certificate, &[]));
    stream.write_all(&Request::chat().bytes()).expect("it is taken");
    let mut head = [0; 15];
    stream.read_exact(&mut head).expect("it is answered");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    wait_for("the provider to be left", || (gateway.upstream.open_connections() == 0).then_some(()));
    let event = wait_for("its event", || gateway.events().pop());
    assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some("client_closed")));
}

#[test]
fn tls_begins_right_behind_a_proxy_protocol_header() {
    let (identity, certificate) = Identity::new();
    let rules = "listener: {proxy_protocol: true}\nip_allowlist: {enabled: true, allow: [203.0.113.7/32], trusted_proxies: [127.0.0.1/32]}";
    let gateway = gateway(rules, &identity);
    let mut tcp = connect(&gateway);
    tcp.write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 50000 443\r\n").expect("the header is taken");
    let mut stream = secure(tcp, trusting(&certificate, &[]));
    assert_eq!(status_line(&mut stream).expect("it is answered"), "HTTP/1.1 200 OK");
}

#[test]
fn files_that_do_not_hold_what_they_should_keep_the_gateway_from_starting() {
    for (name, text, why) in [
        ("cert.pem", Some(""), "cert.pem holds no certificate in PEM"),
        ("cert.pem", None, "cert.pem cannot be read: No such file"),
        ("cert.pem", Some("-----BEGIN CERTIFICATE-----\nbroken"), "cert.pem: "),
        ("key.pem", Some("no key"), "key.pem holds no private key in PEM"),
        ("key.pem", None, "key.pem cannot be read: No such file"),
    ] {
        let (identity, _) = Identity::new();
        let file = identity.directory.path().join(name);
        match text {
            Some(text) => fs::write(file, text).expect("it can be written"),
            None => fs::remove_file(file).expect("it can be removed"),
        }
        let started = TestGateway::try_with_options("", |options| options.tls = Some(identity.files()));
        let error = started.err().expect(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn keys_are_exchanged_by_each_good_group_and_by_no_other() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("", &identity);
    let ask_by = |group: &'static dyn SupportedKxGroup| {
        let provider = CryptoProvider { kx_groups: vec![group], ..aws_lc_rs::default_provider() };
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("it is a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("the versions fit")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut stream = secure(connect(&gateway), Arc::new(config));
        let answer = status_line(&mut stream).ok();
        answer.and_then(|_| Some(stream.conn.negotiated_key_exchange_group()?.name()))
    };
    let good = [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1, NamedGroup::X25519MLKEM768];
    for group in aws_lc_rs::ALL_KX_GROUPS {
        let agreed = ask_by(*group);
        assert_eq!(agreed, good.contains(&group.name()).then_some(group.name()), "{:?}", group.name());
    }
    let offered = |name: &NamedGroup| aws_lc_rs::ALL_KX_GROUPS.iter().any(|group| group.name() == *name);
    assert!(good.iter().all(offered), "each of them was tried");
}

/// The first message of a client that speaks nothing newer than `version` and offers these suites, as bytes on the wire
/// (RFC 5246 section 7.4.1.2).
fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    const P256: &[u8] = &[0, 10, 0, 4, 0, 2, 0, 23];
    const POINTS: &[u8] = &[0, 11, 0, 2, 1, 0];
    const ECDSA_SHA256: &[u8] = &[0, 13, 0, 4, 0, 2, 4, 3];
    let extensions = [P256, POINTS, ECDSA_SHA256].concat();
    let short = |length: usize| u16::try_from(length).expect("it is short").to_be_bytes();
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(short(2 * suites.len()));
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    body.extend(short(extensions.len()));
    body.extend(extensions);
    let message = [&[1, 0][..], &short(body.len()), &body].concat();
    [&[22, 3, 1][..], &short(message.len()), &message].concat()
}

#[test]
fn older_versions_and_weak_suites_are_refused() {
    const ECDHE_ECDSA_AES_128_GCM: u16 = 0xc02b;
    const ECDHE_ECDSA_AES_128_CBC: u16 = 0xc009;
    const RSA_AES_128_GCM: u16 = 0x009c;
    const RSA_3DES_CBC: u16 = 0x000a;
    const RC4: u16 = 0x0005;
    let (identity, _) = Identity::new();
    let gateway = gateway("timeouts: {request_header: 300ms}", &identity);
    let first = |bytes: &[u8]| {
        let mut client =
            Client::connect(gateway.gateway.address(), [127, 0, 0, 1].into()).expect("it connects");
        client.send(bytes).expect("it is taken");
        client.rest()
    };
    let accepted = first(&hello(0x0303, &[RC4, ECDHE_ECDSA_AES_128_GCM]));
    assert_eq!(accepted.first(), Some(&22), "the control: TLS 1.2 with a good suite goes on");
    assert!(accepted.windows(2).any(|suite| suite == ECDHE_ECDSA_AES_128_GCM.to_be_bytes()));
    for (version, suites, alert) in [
        (0x0302, &[ECDHE_ECDSA_AES_128_GCM][..], 70),
        (0x0301, &[ECDHE_ECDSA_AES_128_GCM], 70),
        (0x0300, &[ECDHE_ECDSA_AES_128_GCM], 70),
        (0x0303, &[ECDHE_ECDSA_AES_128_CBC], 40),
        (0x0303, &[RSA_AES_128_GCM], 40),
        (0x0303, &[RSA_3DES_CBC, RC4], 40),
    ] {
        let answer = first(&hello(version, suites));
        // RFC 5246 section 7.2: a fatal alert, of `protocol_version` or `handshake_failure`.
        assert_eq!((answer[0], &answer[5..]), (21, &[2, alert][..]), "{version:04x} {suites:04x?}");
    }
}

#[test]
fn a_connection_too_many_is_told_so_over_tls_in_either_protocol() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("listener: {max_connections: 1}", &identity);
    let mut first = secure(connect(&gateway), trusting(&certificate, &[]));
    assert_eq!(status_line(&mut first).expect("it is answered"), "HTTP/1.1 200 OK");
    let mut second = secure(connect(&gateway), trusting(&certificate, &[b"http/1.1"]));
    let told = answer_text(&mut second).expect("it is answered");
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("too_many_connections"), "{told}");
    assert!(told.to_ascii_lowercase().contains("x-kt-request-id: "), "{told}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let status = runtime.block_on(async {
        let tcp =
            tokio::net::TcpStream::connect(gateway.gateway.address()).await.expect("it takes connections");
        let connector = tokio_rustls::TlsConnector::from(trusting(&certificate, &[b"h2"]));
        let name = ServerName::try_from("gateway.test").expect("it is a name");
        let tls = connector.connect(name, tcp).await.expect("it shakes hands");
        let (mut send, connection) = h2::client::handshake(tls).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        let request =
            http::Request::get("https://gateway.test/v1/models").body(()).expect("it is well-formed");
        let (response, _): (_, h2::SendStream<bytes::Bytes>) =
            send.send_request(request, true).expect("it can be sent");
        response.await.expect("it is answered").status()
    });
    assert_eq!(status, 503);
    assert_eq!(gateway.events().iter().filter(|event| event.status == Some(503)).count(), 2);
    drop(first);
    wait_for("its place", || {
        let mut next = secure(connect(&gateway), trusting(&certificate, &[]));
        (status_line(&mut next).ok()? == "HTTP/1.1 200 OK").then_some(())
    });
}
