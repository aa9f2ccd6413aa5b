//! Taking connections: one accepting loop on each worker's thread, all on one socket.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use kt_domain::clock::Clock;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::http1::connection::{self, ClientTimeouts, Next};
use crate::http1::head::{Head, HeadFault};
use crate::http1::transport::{Io, Transport};
use crate::http2;
use crate::incoming::{Incoming, Peer, Service};
use crate::proxy_protocol::{self, Proxies};
use crate::reply::Reply;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How many connections beyond the limit each worker takes, to say that they are too many. Those beyond these are closed.
const TURNED_AWAY: usize = 64;
/// How long such a connection may take.
const TURNING_AWAY: Duration = Duration::from_secs(5);
/// How long the next try to accept a connection waits when one has failed: others have to be closed first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// How often it is said that connections cannot be accepted, while that goes on.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What is wrong with plain HTTP where TLS is spoken.
const NO_TLS: HeadFault = HeadFault {
    status: StatusCode::BAD_REQUEST,
    code: "https_required",
    message: "This is plain HTTP, and the gateway speaks TLS here. Begin its address with https://.",
};

/// Binds a socket that can be bound again right after a restart.
pub(crate) fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How connections of one listener are taken.
pub(crate) struct Intake<S> {
    pub(crate) service: Arc<S>,
    /// TLS as it is set at present, if the listener speaks it.
    pub(crate) tls: Option<watch::Receiver<TlsAcceptor>>,
    /// How many connections there are, over all workers.
    pub(crate) open: Arc<AtomicUsize>,
    /// How many there are beyond those, only to be told that they are too many.
    pub(crate) turned_away: Arc<AtomicUsize>,
    pub(crate) max_open: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Whether and from whom a PROXY protocol header is expected.
    pub(crate) proxies: Arc<dyn Proxies>,
    /// Turns true once no more connections are to be taken.
    pub(crate) stop: watch::Receiver<bool>,
    /// Turns true once the connections that there are end, whatever goes on over them.
    pub(crate) cut_off: watch::Receiver<bool>,
}

impl<S: Service> Intake<S> {
    /// Accepts connections until it is to stop and none waits any more; those that were accepted go on.
    pub(crate) async fn run(self: Arc<Self>, listener: StdListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let mut stop = self.stop.clone();
        let mut failures = AcceptFailures::default();
        loop {
            let accepted = tokio::select! {
                // A client whose connection waits already would be reset when the socket is closed.
                biased;
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            match accepted {
                Ok((tcp, address)) => self.admit(tcp, address),
                Err(error) => {
                    // Out of file descriptors, most likely.
                    if let Some(tries) = failures.add(Instant::now()) {
                        tracing::warn!(%error, tries, "connections cannot be accepted");
                    }
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, tcp: TcpStream, address: SocketAddr) {
        let (place, intake) = (OpenConnection::new(&self.open), Arc::clone(self));
        if place.count > (self.max_open)() {
            drop(place);
            return self.turn_away(tcp, address);
        }
        // What a connection needs takes kilobytes, and a task that holds it itself is moved several times.
        tokio::spawn(Box::pin(async move {
            let _place = place;
            let mut cut_off = intake.cut_off.clone();
            tokio::select! {
                () = intake.serve(tcp, address, Arc::clone(&intake.service)) => {}
                // Whoever could say so may be gone already.
                Ok(_) = cut_off.wait_for(|cut_off| *cut_off) => {}
            }
        }));
    }

    /// Takes the connection for as long as it takes to say that it is one too many, in the client's protocol.
    fn turn_away(self: &Arc<Self>, tcp: TcpStream, address: SocketAddr) {
        let (place, intake) = (OpenConnection::new(&self.turned_away), Arc::clone(self));
        if place.count > TURNED_AWAY {
            return;
        }
        tokio::spawn(Box::pin(async move {
            let _place = place;
            let service = Arc::new(Crowded(Arc::clone(&intake.service)));
            // Whoever asks for nothing in time is told nothing.
            let _ = tokio::time::timeout(TURNING_AWAY, intake.serve(tcp, address, service)).await;
        }));
    }

    async fn serve<A: Service>(&self, mut tcp: TcpStream, address: SocketAddr, service: Arc<A>) {
        // Small writes must not wait for each other; a kernel that cannot do that still works.
        let _ = tcp.set_nodelay(true);
        let limit = service.client_timeouts().request_header;
        let mut peer = Peer { address, is_encrypted: self.tls.is_some() };
        if self.proxies.is_expected() {
            let read = proxy_protocol::read(&mut tcp, address, &*self.proxies);
            match tokio::time::timeout(limit, read).await {
                Ok(Ok(client)) => peer.address = client,
                Ok(Err(reason)) => {
                    return tracing::debug!(%address, reason, "no usable PROXY protocol header");
                }
                Err(_) => return,
            }
        }
        let io = match &self.tls {
            None => Io::Plain(tcp),
            Some(tls) => {
                let acceptor = tls.borrow().clone();
                match tokio::time::timeout(limit, begin_tls(tcp, &acceptor)).await {
                    Ok(Ok(Io::Tls(tls))) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
                        let transport = Transport::new(Io::Tls(tls));
                        return http2::serve(transport, peer, service, self.stop.clone()).await;
                    }
                    Ok(Ok(tls @ Io::Tls(_))) => tls,
                    Ok(Ok(plain)) => {
                        peer.is_encrypted = false;
                        return connection::refuse(Transport::new(plain), peer, &*service, NO_TLS).await;
                    }
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        };
        if let Next::Http2(transport) = connection::serve(Transport::new(io), peer, &*service).await {
            http2::serve(transport, peer, service, self.stop.clone()).await;
        }
    }
}

/// The tries to accept a connection that have failed and were not told of.
#[derive(Default)]
struct AcceptFailures {
    count: u64,
    told: Option<Instant>,
}

impl AcceptFailures {
    /// Adds one that failed at `now`. Gives how many there are to tell of, if that is due: at once, and while it goes on now and
    /// then.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < SAY_AGAIN) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// Begins TLS, unless the client begins in a letter, as the method of a request in plain HTTP does and no TLS record.
async fn begin_tls(tcp: TcpStream, acceptor: &TlsAcceptor) -> io::Result<Io> {
    let mut first = [0];
    tcp.peek(&mut first).await?;
    if first[0].is_ascii_alphabetic() {
        return Ok(Io::Plain(tcp));
    }
    Ok(Io::Tls(Box::new(acceptor.accept(tcp).await?.into())))
}

/// A service that is too busy to answer over this connection.
struct Crowded<S>(Arc<S>);

impl<S: Service> Service for Crowded<S> {
    async fn call(&self, head: Head, _: &mut dyn Incoming, peer: &Peer) -> Reply {
        self.0.turn_away(&head, peer).await
    }

    async fn refuse_malformed(&self, fault: HeadFault, head: Option<&Head>, peer: &Peer) -> Reply {
        self.0.refuse_malformed(fault, head, peer).await
    }

    async fn turn_away(&self, head: &Head, peer: &Peer) -> Reply {
        self.0.turn_away(head, peer).await
    }

    fn client_timeouts(&self) -> ClientTimeouts {
        self.0.client_timeouts()
    }

    fn clock(&self) -> &dyn Clock {
        self.0.clock()
    }

    fn is_draining(&self) -> bool {
        true
    }
}

/// Counts a connection while it is open.
struct OpenConnection {
    open: Arc<AtomicUsize>,
    /// How many there were with this one.
    count: usize,
}

impl OpenConnection {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        let count = open.fetch_add(1, Ordering::AcqRel) + 1;
        Self { open: Arc::clone(open), count }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_connections_cannot_be_accepted_is_said_at_once_and_then_now_and_then() {
        let mut failures = AcceptFailures::default();
        let start = Instant::now();
        let told: Vec<_> = (0..=400_u32)
            .filter_map(|tries| Some((tries, failures.add(start + ACCEPT_AGAIN * tries)?)))
            .collect();
        assert_eq!(told, [(0, 1), (200, 200), (400, 200)]);
    }
}
