//! TLS for clients: both protocols by ALPN, a certificate that can be changed, and a port that hangs for nobody.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kt_gateway::TlsFiles;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::harness::{Client, PATIENCE, Request, TestGateway};

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
    stream.write_all(&Request::chat().bytes())?;
    let mut answer = Vec::new();
    while !answer.windows(2).any(|end| end == b"}}") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => break,
            length => answer.extend_from_slice(&piece[..length]),
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
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
    assert!(report.contains("key.pem"), "{report}");
    status_line(&mut secure(connect(&gateway), trusting(&new, &[]))).expect("the last good one stays");
}

#[test]
fn who_speaks_no_tls_is_left_without_hanging() {
    let (identity, certificate) = Identity::new();
    let gateway = gateway("timeouts: {request_header: 300ms}", &identity);
    let start = Instant::now();
    for opening in [&Request::chat().bytes()[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01", b""] {
        let mut client =
            Client::connect(gateway.gateway.address(), [127, 0, 0, 1].into()).expect("it connects");
        client.send(opening).expect("the opening is taken");
        let rest = client.rest();
        // RFC 8446 section 6: an alert at most.
        assert!(rest.is_empty() || rest[0] == 0x15, "{rest:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(gateway.upstream.requests().len(), 0);
    status_line(&mut secure(connect(&gateway), trusting(&certificate, &[]))).expect("the control");
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
fn files_that_are_no_certificate_keep_the_gateway_from_starting() {
    let (identity, _) = Identity::new();
    fs::write(identity.files().certificate, "").expect("it can be written");
    let started = TestGateway::try_with_options("", |options| options.tls = Some(identity.files()));
    let error = started.err().expect("there is no certificate").to_string();
    assert!(error.contains("cert.pem"), "{error}");
}
