//! Connections to providers: made when needed, kept while they are good, never shared between targets of two origins.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use kt_domain::network::reach::Reach;
use kt_domain::policy_config::{FaultKind, Timeouts};
use rustix::io::Errno;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, InvalidMessage, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http1::client::{AnswerFault, AnswerHead, ClientConnection};
use crate::http1::transport::{Io, Transport};
use crate::reply::Refusal;

/// How long an unused connection is kept. Providers close theirs after a minute or more; ours must go first.
const KEEP_IDLE: Duration = Duration::from_secs(50);
/// A kept connection that is closed within so long of a request being sent was closed before the request arrived: the two
/// crossed on their way.
const CROSSING: Duration = Duration::from_millis(250);
/// How many unused connections each worker keeps to one origin.
const MAX_IDLE: usize = 256;

/// Where a provider is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an `http` or `https` URL.
    pub(crate) fn of(url: &Uri) -> Option<Self> {
        let tls = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self { tls, host: url.host()?.to_ascii_lowercase(), port })
    }

    /// The value of `Host` in a request to it.
    pub(crate) fn host_field(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The host without the brackets of an IPv6 address.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }
}

/// Why a provider gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamFault {
    /// Its name cannot be resolved, or it takes no connections.
    Unreachable,
    /// Its address is one that nothing may be forwarded to.
    ForbiddenAddress,
    /// This machine has no room for one more connection, whomever to.
    NoRoom,
    /// It did not take a connection in time.
    ConnectTimedOut,
    /// Its certificate is not trusted, or it speaks no TLS that we speak.
    Tls,
    /// The request could not be sent.
    Unsendable,
    /// Its answer is not what it should be.
    Answer(AnswerFault),
    /// Its answer is larger than may be held in memory.
    TooLarge,
    /// It refused our key.
    KeyRefused,
    /// It answered with a redirection, which is not followed.
    Redirected,
    /// It has too much to do at present (503, or 529 as Anthropic has it).
    Overloaded,
    /// It failed by its own account (another 5xx).
    Failed,
}

impl UpstreamFault {
    /// The `code` of the answer and of the event.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unreachable | Self::ForbiddenAddress | Self::NoRoom => "upstream_unreachable",
            Self::ConnectTimedOut | Self::Answer(AnswerFault::TimedOut) => "upstream_timeout",
            Self::Tls => "upstream_tls",
            Self::Unsendable | Self::Answer(AnswerFault::ClosedBeforeAnswer) => "upstream_reset",
            Self::Answer(AnswerFault::Truncated) => "upstream_incomplete",
            Self::Answer(AnswerFault::Malformed) | Self::Redirected => "upstream_invalid",
            Self::TooLarge => "response_too_large",
            Self::KeyRefused => "upstream_key_refused",
            Self::Overloaded | Self::Failed => "upstream_failed",
        }
    }

    /// Whether it speaks against the target. A client can bring a refusal of the key about, by what it asks for, such as a
    /// model or a project that the key does not reach; and how long an answer is depends on who asks for it.
    pub(crate) fn is_targets(self) -> bool {
        !matches!(self, Self::KeyRefused | Self::TooLarge | Self::NoRoom)
    }

    /// Which kind of fault it is, as `retry` names them.
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::Unreachable | Self::ForbiddenAddress | Self::NoRoom | Self::ConnectTimedOut | Self::Tls => {
                FaultKind::Connect
            }
            Self::Unsendable | Self::Answer(AnswerFault::ClosedBeforeAnswer) => FaultKind::Reset,
            Self::Answer(AnswerFault::TimedOut) => FaultKind::Timeout,
            Self::KeyRefused => FaultKind::KeyRefused,
            Self::Overloaded => FaultKind::Unavailable,
            Self::Answer(AnswerFault::Truncated | AnswerFault::Malformed)
            | Self::TooLarge
            | Self::Redirected
            | Self::Failed => FaultKind::Failed,
        }
    }
}

impl From<UpstreamFault> for Refusal {
    fn from(fault: UpstreamFault) -> Self {
        let (status, message) = match fault {
            UpstreamFault::Unreachable | UpstreamFault::ForbiddenAddress | UpstreamFault::NoRoom => (
                502,
                "The provider cannot be reached. Try again; if it persists, tell the gateway's administrator.",
            ),
            UpstreamFault::ConnectTimedOut | UpstreamFault::Answer(AnswerFault::TimedOut) => {
                (504, "The provider did not answer in time. Try again later.")
            }
            UpstreamFault::Tls => (
                502,
                "No trusted connection to the provider could be made. Tell the gateway's administrator.",
            ),
            UpstreamFault::Unsendable | UpstreamFault::Answer(AnswerFault::ClosedBeforeAnswer) => {
                (502, "The provider closed the connection without an answer. Try again.")
            }
            UpstreamFault::Answer(AnswerFault::Truncated) => {
                (502, "The provider's answer broke off before its end. Try again.")
            }
            UpstreamFault::Answer(AnswerFault::Malformed) | UpstreamFault::Redirected => {
                (502, "The provider's answer cannot be read. Tell the gateway's administrator.")
            }
            UpstreamFault::TooLarge => (
                502,
                "The provider's answer is larger than the gateway may hold. Ask for less, or for a stream.",
            ),
            UpstreamFault::KeyRefused => {
                (502, "The provider refused the gateway's key. Tell the gateway's administrator.")
            }
            UpstreamFault::Overloaded | UpstreamFault::Failed => {
                (502, "The provider failed to answer this request. Try again later.")
            }
        };
        Refusal::upstream(status, fault.code(), message)
    }
}

/// How long a provider may take, phase by phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    connect: Duration,
    first_byte: Duration,
    idle: Duration,
    total: Option<Duration>,
    /// When everything must be over.
    deadline: Option<Instant>,
}

impl Limits {
    pub(crate) fn of(timeouts: &Timeouts) -> Self {
        Self {
            connect: timeouts.connect.0,
            first_byte: timeouts.first_byte.0,
            idle: timeouts.upstream_idle.0,
            total: timeouts.upstream_total.map(|total| total.0),
            deadline: None,
        }
    }

    /// The limits of a request that begins now.
    pub(crate) fn starting_now(self) -> Self {
        Self { deadline: self.total.map(|total| Instant::now() + total), ..self }
    }

    /// How long the next piece of an answer may take.
    pub(crate) fn idle(&self) -> Duration {
        self.within(self.idle)
    }

    /// Whether there is time left to wait so long, and more.
    pub(crate) fn allows(&self, wait: Duration) -> bool {
        self.deadline.is_none_or(|deadline| Instant::now() + wait < deadline)
    }

    /// `limit`, or what is left in all if that is less.
    fn within(&self, limit: Duration) -> Duration {
        match self.deadline {
            None => limit,
            Some(deadline) => limit.min(deadline.saturating_duration_since(Instant::now())),
        }
    }
}

/// The unused connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<Arc<Origin>, Vec<Idle>>>,
    outages: Outages,
}

/// Why there is no connection to an origin: what that is for a request, and the words for whoever runs the gateway.
#[derive(Debug)]
struct Unconnected {
    fault: UpstreamFault,
    why: String,
}

/// The origins that could not be connected to when that was last tried, and why not.
#[derive(Debug, Default)]
struct Outages(Mutex<HashMap<Arc<Origin>, UpstreamFault>>);

impl Outages {
    /// Notes what came of a try. Whether it is news: each outage is, once, and its end.
    fn note(&self, origin: &Arc<Origin>, fault: Option<UpstreamFault>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => known.insert(Arc::clone(origin), fault) != Some(fault),
            None => known.remove(origin).is_some(),
        }
    }
}

#[derive(Debug)]
struct Idle {
    connection: ClientConnection,
    since: Instant,
}

impl Pool {
    /// Sends a request and waits for the head of its answer.
    ///
    /// A kept connection that the provider had closed meanwhile is replaced, once. One that is closed later may have been
    /// worked for: whether that is asked again is for `max_retries` to say.
    pub(crate) async fn ask(
        &self,
        origin: &Arc<Origin>,
        head: &[u8],
        body: &Bytes,
        limits: &Limits,
    ) -> Result<(ClientConnection, AnswerHead), UpstreamFault> {
        if let Some(mut kept) = self.take(origin) {
            let asked = Instant::now();
            match ask_over(&mut kept, head, body, limits).await {
                Ok(answer) => return Ok((kept, answer)),
                Err(UpstreamFault::Unsendable) => {}
                Err(UpstreamFault::Answer(AnswerFault::ClosedBeforeAnswer)) if asked.elapsed() < CROSSING => {
                }
                Err(fault) => return Err(fault),
            }
        }
        let mut fresh = self.connect(origin, limits.within(limits.connect)).await?;
        let answer = ask_over(&mut fresh, head, body, limits).await?;
        Ok((fresh, answer))
    }

    async fn connect(
        &self,
        origin: &Arc<Origin>,
        limit: Duration,
    ) -> Result<ClientConnection, UpstreamFault> {
        let connected = connect(origin, limit).await;
        if self.outages.note(origin, connected.as_ref().err().map(|unconnected| unconnected.fault)) {
            match &connected {
                Ok(_) => tracing::info!(%origin, "connections can be made again"),
                Err(Unconnected { why, .. }) => tracing::warn!(%origin, why, "no connection can be made"),
            }
        }
        connected.map_err(|unconnected| unconnected.fault)
    }

    fn take(&self, origin: &Arc<Origin>) -> Option<ClientConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(origin)?;
        while let Some(mut last) = kept.pop() {
            if last.since.elapsed() < KEEP_IDLE && last.connection.is_quiet() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was taken completely.
    pub(crate) fn put_back(&self, origin: &Arc<Origin>, connection: ClientConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match idle.get_mut(origin) {
            Some(kept) => kept,
            None => idle.entry(Arc::clone(origin)).or_default(),
        };
        if kept.len() < MAX_IDLE {
            kept.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes connections that were unused for too long. To be called every few seconds.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, kept| {
            kept.retain(|kept| kept.since.elapsed() < KEEP_IDLE);
            !kept.is_empty()
        });
    }
}

async fn ask_over(
    connection: &mut ClientConnection,
    head: &[u8],
    body: &Bytes,
    limits: &Limits,
) -> Result<AnswerHead, UpstreamFault> {
    let sent = connection.send(head, body, limits.idle()).await;
    // A provider may answer, and close, before it has taken the whole request.
    match (connection.read_head(limits.within(limits.first_byte)).await, sent) {
        (Ok(answer), Ok(())) => Ok(answer),
        (Ok(answer), Err(_)) => Ok(AnswerHead { reusable: false, ..answer }),
        (Err(_), Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
            Err(UpstreamFault::Answer(AnswerFault::TimedOut))
        }
        (Err(_), Err(_)) => Err(UpstreamFault::Unsendable),
        (Err(fault), Ok(())) => Err(UpstreamFault::Answer(fault)),
    }
}

async fn connect(origin: &Origin, limit: Duration) -> Result<ClientConnection, Unconnected> {
    let opened = tokio::time::timeout(limit, open(origin, Instant::now() + limit)).await;
    opened.unwrap_or_else(|_| {
        let why = format!("there is no connection after {limit:?}");
        Err(Unconnected { fault: UpstreamFault::ConnectTimedOut, why })
    })
}

async fn open(origin: &Origin, deadline: Instant) -> Result<ClientConnection, Unconnected> {
    let tcp = dial(origin, deadline).await?;
    // Small writes must not wait for each other; a kernel that cannot do that still works.
    let _ = tcp.set_nodelay(true);
    if !origin.tls {
        return Ok(ClientConnection::new(Transport::new(Io::Plain(tcp))));
    }
    let no_tls = |why: String| Unconnected { fault: UpstreamFault::Tls, why };
    let name =
        ServerName::try_from(origin.bare_host().to_owned()).map_err(|error| no_tls(error.to_string()))?;
    let connector = TlsConnector::from(Arc::clone(client_tls()));
    let tls = connector.connect(name, tcp).await.map_err(|error| no_tls(why_no_tls(&error)))?;
    Ok(ClientConnection::new(Transport::new(Io::Tls(Box::new(tls.into())))))
}

/// The library does not say that what answers speaks no TLS at all.
fn why_no_tls(error: &io::Error) -> String {
    let why = format!("no trusted TLS: {error}");
    let of_library = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_library {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            format!("{why}; what answers at this port speaks no TLS, but most likely plain HTTP (`http://`)")
        }
        _ => why,
    }
}

/// Resolves the origin's name, then connects to one of the addresses that it has now.
async fn dial(origin: &Origin, deadline: Instant) -> Result<TcpStream, Unconnected> {
    let addresses: Vec<SocketAddr> = match origin.bare_host().parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, origin.port)],
        Err(_) => tokio::net::lookup_host((origin.bare_host(), origin.port))
            .await
            .map_err(|error| Unconnected {
                fault: UpstreamFault::Unreachable,
                why: format!("its name cannot be resolved: {error}"),
            })?
            .collect(),
    };
    connect_to_first(&addresses, deadline).await
}

/// Connects to the first of a name's addresses that may be connected to and takes a connection, and to no others: what was
/// checked is what is used, whatever the name resolves to a moment later. Each has its share of the time until `deadline`, so
/// that one that gives no answer at all does not keep the others from being tried.
async fn connect_to_first(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Unconnected> {
    let (mut fault, mut why) = (UpstreamFault::Unreachable, "its name has no address".to_owned());
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        if !Reach::Private.allows(address.ip()) {
            (fault, why) = (UpstreamFault::ForbiddenAddress, format!("{address} may not be connected to"));
            continue;
        }
        let time = deadline.saturating_duration_since(Instant::now());
        let share = time / u32::try_from(left).unwrap_or(u32::MAX);
        (fault, why) = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => (unconnected(&error), format!("{address}: {error}")),
            Err(_) => (UpstreamFault::ConnectTimedOut, format!("{address} gives no answer")),
        };
    }
    Err(Unconnected { fault, why })
}

/// What an attempt to connect says that failed in this way.
fn unconnected(error: &io::Error) -> UpstreamFault {
    const OURS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    let is_ours = Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno));
    if is_ours { UpstreamFault::NoRoom } else { UpstreamFault::Unreachable }
}

/// The TLS settings for providers, with the system's roots. Made when the first provider needs them.
fn client_tls() -> &'static Arc<ClientConfig> {
    static TLS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    TLS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "some of the system's root certificates cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    })
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.host_field())
    }
}

#[cfg(test)]
mod tests;
