//! What the protocols (HTTP/1, HTTP/2) hand to whoever answers requests, and what they ask of it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kt_domain::clock::Clock;

use crate::http1::connection::ClientTimeouts;
use crate::http1::head::{Head, HeadFault};
use crate::reply::Reply;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The address of the TCP connection, or the one that a trusted PROXY protocol header gave.
    pub(crate) address: SocketAddr,
    /// Whether the connection is TLS.
    pub(crate) is_encrypted: bool,
}

/// The body of a request under way, and the client that sends it.
pub(crate) trait Incoming: Send {
    /// How many bytes the client said it would send, if it said so.
    fn declared_length(&self) -> Option<u64>;

    /// The next piece of the body, `None` after the last. The first call invites a client that waits to be invited.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>>;

    /// Is ready once the client has gone away. To be asked only after the whole body was taken.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Why a body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// Its framing is broken.
    Malformed,
    /// The client stopped sending for too long.
    TimedOut,
    /// The client went away.
    Gone,
}

/// How long the body of one request is waited for: each piece, and all of them together, so that a client that sends a
/// byte now and then does not hold its place for days.
pub(crate) struct BodyPatience {
    idle: Duration,
    whole: Duration,
    /// When all of it is to be there, once anything of it had to be waited for.
    until: Option<Instant>,
}

impl BodyPatience {
    pub(crate) fn new(timeouts: ClientTimeouts) -> Self {
        Self { idle: timeouts.request_body_idle, whole: timeouts.request_body, until: None }
    }

    /// How long to wait for the next piece, from now on.
    pub(crate) fn for_next_piece(&mut self) -> Duration {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.whole);
        self.idle.min(until.saturating_duration_since(now))
    }
}

/// The client went away before its answer was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientGone;

/// Waits for `work`, or for the client to go away, after which `work` is to be dropped.
pub(crate) async fn unless_gone<T>(
    incoming: &mut dyn Incoming,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, ClientGone> {
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => incoming.poll_gone(cx).map(|()| Err(ClientGone)),
    })
    .await
}

/// Answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, head: Head, body: &mut dyn Incoming, peer: &Peer) -> impl Future<Output = Reply> + Send;

    /// Answers what is no request; `head` is what could be read of it, if anything could.
    fn refuse_malformed(
        &self,
        fault: HeadFault,
        head: Option<&Head>,
        peer: &Peer,
    ) -> impl Future<Output = Reply> + Send;

    /// Answers a request that came over a connection more than there may be.
    fn turn_away(&self, head: &Head, peer: &Peer) -> impl Future<Output = Reply> + Send;

    /// How long a client may take at present.
    fn client_timeouts(&self) -> ClientTimeouts;

    /// What time it is.
    fn clock(&self) -> &dyn Clock;

    /// Whether connections are to end after their present request.
    fn is_draining(&self) -> bool;
}
