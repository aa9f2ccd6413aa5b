//! What stands outside and takes the audit log: a receiver of webhooks, and collectors of logs.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// How long anything may take that is not a matter of time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A receiver of webhooks, which answers each request with the next status; 0 is no answer at all.
pub(super) struct Receiver {
    pub(super) url: String,
    came: watch::Receiver<Vec<Request>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    head: String,
    body: Vec<u8>,
}

impl Receiver {
    pub(super) async fn answering<const N: usize>(statuses: [u16; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/audit", listener.local_addr().unwrap());
        let (requests, came) = watch::channel(Vec::new());
        tokio::spawn(async move {
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(request) = Request::read(&mut stream).await else { continue };
                requests.send_modify(|all: &mut Vec<Request>| all.push(request));
                if status == 0 {
                    // Held open until the other end goes.
                    tokio::spawn(async move { stream.read_u8().await });
                    continue;
                }
                let answer = format!("HTTP/1.1 {status} -\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            // Whatever comes beyond is taken for a failure of the test, and answered never.
            std::future::pending::<()>().await;
        });
        Self { url, came }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.came.borrow().clone()
    }

    /// Waits until so many requests have come.
    pub(super) async fn has_come(&self, count: usize) {
        let mut came = self.came.clone();
        timeout(PATIENCE, came.wait_for(|all| all.len() >= count)).await.unwrap().unwrap();
    }
}

impl Request {
    async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = split {
                let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
                let request = Self { head, body: bytes[end + 4..].to_vec() };
                let length: usize = request.header("content-length").unwrap().parse().unwrap();
                if request.body.len() >= length {
                    return Some(request);
                }
            }
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(length @ 1..) => bytes.extend_from_slice(&piece[..length]),
                _ => return None,
            }
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The entries, byte by byte as they were sent.
    pub(super) fn entries(&self) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Body {
            data: Data,
        }
        #[derive(serde::Deserialize)]
        struct Data {
            entries: Vec<Box<RawValue>>,
        }
        let body: Body = serde_json::from_slice(&self.body).unwrap();
        body.data.entries.iter().map(|entry| entry.get().to_owned()).collect()
    }

    /// Whether it is signed as Standard Webhooks describes.
    pub(super) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let field = |name: &str| self.header(name).unwrap();
        let mut signed = format!("{}.{}.", field("webhook-id"), field("webhook-timestamp")).into_bytes();
        signed.extend_from_slice(&self.body);
        let signature = STANDARD.decode(field("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &signature).is_ok()
    }
}

/// A collector of logs.
pub(super) struct Collector {
    pub(super) address: String,
    authority: Option<NamedTempFile>,
    came: watch::Receiver<Vec<String>>,
}

impl Collector {
    pub(super) async fn tcp() -> Self {
        Self::stream(None).await
    }

    /// With a certificate for 127.0.0.1 from an authority of its own.
    pub(super) async fn tls() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(authority.pem().as_bytes()).unwrap();
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        Self::stream(Some((TlsAcceptor::from(Arc::new(config)), file))).await
    }

    async fn stream(tls: Option<(TlsAcceptor, NamedTempFile)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "tls" } else { "tcp" };
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (messages, came) = watch::channel(Vec::new());
        let (acceptor, authority) = tls.unzip();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stream: Box<dyn AsyncRead + Send + Unpin> = match &acceptor {
                    None => Box::new(stream),
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                };
                let read = read_frames(stream).await;
                messages.send_modify(|all: &mut Vec<String>| all.extend(read));
            }
        });
        Self { address, authority, came }
    }

    pub(super) async fn udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = format!("udp://{}", socket.local_addr().unwrap());
        let (messages, came) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut datagram = vec![0; 65_535];
            loop {
                let length = socket.recv(&mut datagram).await.unwrap();
                let message = String::from_utf8(datagram[..length].to_vec()).unwrap();
                messages.send_modify(|all: &mut Vec<String>| all.push(message));
            }
        });
        Self { address, authority: None, came }
    }

    /// The file that holds its authority.
    pub(super) fn authority(&self) -> Option<&Path> {
        self.authority.as_ref().map(NamedTempFile::path)
    }

    /// Waits until so many messages have come, and gives all.
    pub(super) async fn messages(&mut self, count: usize) -> Vec<String> {
        let came = timeout(PATIENCE, self.came.wait_for(|all| all.len() >= count)).await.unwrap().unwrap();
        came.clone()
    }
}

/// The messages on a connection, each behind its number of octets (RFC 6587 section 3.4.1), up to its end.
async fn read_frames(mut stream: impl AsyncRead + Unpin) -> Vec<String> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let mut rest = bytes.as_slice();
    let mut messages = Vec::new();
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
        let (message, behind) = rest[space + 1..].split_at(length);
        messages.push(String::from_utf8(message.to_vec()).unwrap());
        rest = behind;
    }
    assert!(rest.is_empty());
    messages
}
