//! Connections to places that a setting names.
//!
//! A name is resolved once, each of its addresses is judged ([`Reach`]), and the connection goes to an address that was
//! judged: a name server cannot change its mind in between. Redirects are answers like any other; nothing follows them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::{HeaderMap, Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use kt_domain::network::reach::Reach;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// How long resolving, connecting and each further step may take, unless somebody has less or more patience.
const PATIENCE: Duration = Duration::from_secs(10);

/// How programs at the other end see who calls.
const USER_AGENT: &str = concat!("keeptrusts/", env!("CARGO_PKG_VERSION"));

/// Makes connections within a reach.
#[derive(Clone)]
pub struct Outbound {
    reach: Reach,
    tls: TlsConnector,
    /// How long each step may take until there is a connection.
    connects_within: Duration,
    /// How long an answer, and each part of it, may take.
    patience: Duration,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

/// A connection, with TLS or without.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Why there is no connection, or no whole answer.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// It has no address.
    #[error("{0} cannot be resolved: {1}")]
    Unresolved(String, io::Error),
    /// It has none that may be connected to.
    #[error("{0} leads to an address inside this network or of this machine's cloud, which is not allowed")]
    Forbidden(String),
    /// It takes no connections, or broke one off.
    #[error("{0}: {1}")]
    Broken(String, io::Error),
    /// There was no connection within the time that it may take: nothing was sent.
    #[error("{0} took no connection in time")]
    NotConnected(String),
    /// Nothing came for too long.
    #[error("{0} did not answer in time")]
    TimedOut(String),
    /// What it says is no HTTP.
    #[error("{0} gave no answer in HTTP: {1}")]
    NotHttp(String, hyper::Error),
    /// The address has no host, or is neither http nor https.
    #[error("write an address such as https://host/path")]
    NotAnAddress,
}

/// The authorities in a file cannot be trusted.
#[derive(Debug, Error)]
#[error("{path} holds no certificates in PEM form: {problem}")]
pub struct AuthoritiesError {
    path: PathBuf,
    problem: String,
}

impl Outbound {
    /// Trusts the system's authorities, and those in a PEM file.
    pub fn new(reach: Reach, authorities: Option<&Path>) -> Result<Self, AuthoritiesError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "some of the system's root certificates cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        if let Some(path) = authorities {
            let refuse = |problem: String| AuthoritiesError { path: path.to_owned(), problem };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
            let mut is_empty = true;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
                roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
                is_empty = false;
            }
            if is_empty {
                return Err(refuse("it is empty".to_owned()));
            }
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { reach, tls, connects_within: PATIENCE, patience: PATIENCE })
    }

    /// The same, waiting so long for an answer and for each part of it.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, giving up after so long where there is no connection: nobody resolves the name, takes the connection or
    /// answers to TLS.
    #[must_use]
    pub fn connecting_within(self, connects_within: Duration) -> Self {
        Self { connects_within, ..self }
    }

    /// How far its connections may go.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Asks for what is at `url`.
    pub async fn get(&self, url: &Url, headers: &[(&'static str, String)]) -> Result<Answer, OutboundError> {
        self.send(Method::GET, url, headers, Bytes::new()).await
    }

    /// Sends a body to `url`.
    pub async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<Answer, OutboundError> {
        self.send(Method::POST, url, headers, body.into()).await
    }

    /// Asks for what is at `url` to be taken away.
    pub async fn delete(
        &self,
        url: &Url,
        headers: &[(&'static str, String)],
    ) -> Result<Answer, OutboundError> {
        self.send(Method::DELETE, url, headers, Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Answer, OutboundError> {
        let to = Destination::of(url).ok_or(OutboundError::NotAnAddress)?;
        let name = to.to_string();
        let mut request = Request::builder()
            .method(method)
            .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort]);
        if headers.iter().all(|(field, _)| *field != "user-agent") {
            request = request.header(header::USER_AGENT, USER_AGENT);
        }
        for (field, value) in headers {
            request = request.header(*field, value);
        }
        let request = request.body(Full::new(body)).map_err(|_| OutboundError::NotAnAddress)?;
        let io = TokioIo::new(self.connect(&to).await?);
        let (mut sender, connection) = handshake(io).await.map_err(|error| to.not_http(error))?;
        // Ends with the answer, or with the one who reads it.
        tokio::spawn(connection);
        let answer = tokio::time::timeout(self.patience, sender.send_request(request)).await;
        let answer = answer.map_err(|_| OutboundError::TimedOut(to.to_string()))?;
        let (head, body) = answer.map_err(|error| to.not_http(error))?.into_parts();
        let retry_after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: head.status,
            retry_after: retry_after.and_then(|value| value.parse().ok()).map(Duration::from_secs),
            headers: head.headers,
            from: name,
            patience: self.patience,
            body,
        })
    }

    /// A connection to where it is allowed to go.
    pub(crate) async fn connect(&self, to: &Destination) -> Result<Box<dyn Connection>, OutboundError> {
        let addresses = self.addresses(to).await?;
        let tcp = self.step(to, TcpStream::connect(&*addresses)).await?.map_err(|error| to.broken(error))?;
        if !to.tls {
            return Ok(Box::new(tcp));
        }
        let name = match &to.host {
            Host::Domain(name) => {
                ServerName::try_from(name.clone()).map_err(|_| OutboundError::NotAnAddress)?
            }
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
        };
        let tls = self.step(to, self.tls.connect(name, tcp)).await?.map_err(|error| to.broken(error))?;
        Ok(Box::new(tls))
    }

    /// What a step on the way to a connection came to, unless it takes too long.
    async fn step<T>(&self, to: &Destination, step: impl Future<Output = T>) -> Result<T, OutboundError> {
        let done = tokio::time::timeout(self.connects_within, step).await;
        done.map_err(|_| OutboundError::NotConnected(to.to_string()))
    }

    /// The addresses of a destination that may be connected to.
    pub(crate) async fn addresses(&self, to: &Destination) -> Result<Vec<SocketAddr>, OutboundError> {
        let found: Vec<SocketAddr> = match &to.host {
            Host::Ipv4(address) => vec![(*address, to.port).into()],
            Host::Ipv6(address) => vec![(*address, to.port).into()],
            Host::Domain(name) => self
                .step(to, tokio::net::lookup_host((name.as_str(), to.port)))
                .await?
                .map_err(|error| OutboundError::Unresolved(to.to_string(), error))?
                .collect(),
        };
        let allowed: Vec<_> = found.into_iter().filter(|address| self.reach.allows(address.ip())).collect();
        if allowed.is_empty() { Err(OutboundError::Forbidden(to.to_string())) } else { Ok(allowed) }
    }
}

impl Destination {
    /// Where an `http` or `https` address leads.
    fn of(url: &Url) -> Option<Self> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self { host: url.host()?.to_owned(), port: url.port_or_known_default()?, tls })
    }

    pub(crate) fn broken(&self, error: io::Error) -> OutboundError {
        OutboundError::Broken(self.to_string(), error)
    }

    fn not_http(&self, error: hyper::Error) -> OutboundError {
        OutboundError::NotHttp(self.to_string(), error)
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a step over a connection came to, unless it takes too long.
pub(crate) async fn within<T>(to: &Destination, step: impl Future<Output = T>) -> Result<T, OutboundError> {
    tokio::time::timeout(PATIENCE, step).await.map_err(|_| OutboundError::TimedOut(to.to_string()))
}

/// An answer, whose body is still to be read.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// How long it asks to wait.
    pub retry_after: Option<Duration>,
    headers: HeaderMap,
    from: String,
    patience: Duration,
    body: Incoming,
}

impl Answer {
    /// The value of this header, if there is one and it is text.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next part of the body; `None` when it has come to its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, OutboundError> {
        loop {
            let Ok(frame) = tokio::time::timeout(self.patience, self.body.frame()).await else {
                return Err(OutboundError::TimedOut(self.from.clone()));
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(OutboundError::NotHttp(self.from.clone(), error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The body, of which at most `limit` bytes are read.
    pub async fn read(mut self, limit: usize) -> Result<Vec<u8>, OutboundError> {
        let mut body = Vec::new();
        while body.len() < limit
            && let Some(part) = self.next().await?
        {
            body.extend_from_slice(&part);
        }
        body.truncate(limit);
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// More than a step takes here, and less than anybody waits.
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn whoever_takes_no_connection_is_told_apart_from_whoever_does_not_answer() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let outbound = Outbound::new(Reach::Private, None).unwrap();
        let outbound = outbound.connecting_within(SHORT).with_patience(SHORT);
        let ask = async |scheme: &str| {
            let url = format!("{scheme}://127.0.0.1:{port}/").parse().unwrap();
            outbound.get(&url, &[]).await.err()
        };
        assert!(matches!(ask("https").await, Some(OutboundError::NotConnected(_))), "nothing was sent");
        assert!(matches!(ask("http").await, Some(OutboundError::TimedOut(_))), "it may have been read");
    }
}
