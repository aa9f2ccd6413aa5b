//! Serving a client that speaks HTTP/2 (RFC 9113), by `hyper`, with limits on what one connection may do.

mod rewound;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use self::rewound::Rewound;
use crate::http1::connection::{ClientTimeouts, LINGER};
use crate::http1::head::{
    self, Head, HeadFault, MAX_FIELD_BYTES, MAX_FIELDS, MAX_HEAD_BYTES, MAX_TARGET_BYTES,
};
use crate::http1::transport::{Timer, Transport};
use crate::incoming::{BodyFault, BodyPatience, Incoming, Peer, Service};
use crate::reply::{Fill, Reply, ReplyBody, ReplyStream, UnreadBody};
use crate::shared::Place;

/// How many requests a connection may have under way at once.
const MAX_STREAMS: u32 = 100;
/// How many streams that were reset at once a connection is forgiven (CVE-2023-44487, CVE-2025-8671).
const MAX_RESETS: usize = 20;
/// How large a head the library reads, as RFC 9113 section 6.5.2 counts. What is above our own limits and below this is
/// refused with a body that says why; what is above this with a bare 431.
const MAX_HEADER_LIST: u32 = 256 * 1024;
/// How long what came of a broken stream is given to leave, the word of what went wrong at its end: a reset takes back
/// whatever still waits.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How much of an answer that is there as a whole is handed over at once: the next piece waits until the client has taken
/// of this one.
const PIECE: usize = 64 * 1024;
/// How often an idle connection is looked at.
const IDLE_CHECK: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// How the client of the stream that a task is for takes its answer.
    static TAKING: Cell<Taking>;
}

/// Serves `transport` until it is closed, by either side. Once `stop` turns true the client is told to begin nothing more
/// over it, so that it knows of each request whether it was served (RFC 9113 section 6.8).
pub(crate) async fn serve<S: Service>(
    transport: Transport,
    peer: Peer,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) {
    let under_way = Arc::new(AtomicUsize::new(0));
    let answers = {
        let (service, under_way) = (Arc::clone(&service), Arc::clone(&under_way));
        service_fn(move |request| {
            let (service, guard) = (Arc::clone(&service), UnderWay::begin(&under_way));
            async move {
                let response = answer(&*service, request, &peer, guard).await;
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut builder = http2::Builder::new(Watching);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_send_buf_size(PIECE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Rewound::new(transport)), answers));
    let mut idle = Duration::ZERO;
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // A connection that ends in an error was ended by the client, or for its fault.
            _ = connection.as_mut() => return,
            () = stopped(&mut stop), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(IDLE_CHECK) => {
                let is_idle = under_way.load(Ordering::Acquire) == 0;
                idle = if is_idle { idle + IDLE_CHECK } else { Duration::ZERO };
                let ClientTimeouts { keep_alive, response_idle, .. } = service.client_timeouts();
                if idle >= keep_alive + response_idle {
                    // What is left of its last answers the client does not take.
                    return;
                }
                if service.is_draining() || idle >= keep_alive {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Is ready once the gateway accepts no more connections.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Who could say so may be gone already.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn answer<S: Service>(
    service: &S,
    request: Request<hyper::body::Incoming>,
    peer: &Peer,
    under_way: UnderWay,
) -> Response<ReplyContent> {
    let (parts, content) = request.into_parts();
    let timeouts = service.client_timeouts();
    TAKING.with(|taking| taking.set(Taking::within(timeouts.response_idle)));
    let (head, fault) = head_of(parts);
    let is_head_request = head.method == Method::HEAD;
    let mut body = Http2Body::new(content, timeouts);
    let reply = match fault {
        None => service.call(head, &mut body, peer).await,
        Some(fault) => service.refuse_malformed(fault, Some(&head), peer).await,
    };
    if reply.unread == UnreadBody::Discard {
        body.discard();
    }
    respond(reply, is_head_request, under_way)
}

/// The same head that HTTP/1 gives, and what keeps it from being served under the same rules, if anything does. A fragment
/// is no part of it: the library has cut that off.
pub(crate) fn head_of(parts: Parts) -> (Head, Option<HeadFault>) {
    let (authority, fault) = match check(&parts) {
        Ok(authority) => (Some(authority), None),
        Err(fault) => (None, Some(fault)),
    };
    let mut headers = parts.headers;
    drop_underscored(&mut headers);
    let head = Head {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        authority,
        headers,
    };
    (head, fault)
}

/// The name under which a head addresses the gateway, once nothing is wrong with any of it.
fn check(parts: &Parts) -> Result<Authority, HeadFault> {
    let authority = single_authority(parts)?;
    if is_too_large(&parts.headers) {
        return Err(HeadFault::FIELDS_TOO_LARGE);
    }
    head::expectation(&parts.headers)?;
    check_target(&parts.method, parts.uri.path_and_query().map_or("", PathAndQuery::as_str))?;
    Ok(authority)
}

fn single_authority(parts: &Parts) -> Result<Authority, HeadFault> {
    let host = head::single_host(&parts.headers)?;
    let authority = parts.uri.authority().cloned().map(head::sound).transpose()?;
    if host.is_some() && authority.is_some() && host != authority {
        return Err(HeadFault::malformed("`:authority` and the Host field name different hosts."));
    }
    authority.or(host).ok_or(HeadFault::malformed("`:authority` is missing."))
}

/// A path, or the `*` of `OPTIONS` (RFC 9113 section 8.3.1).
fn check_target(method: &Method, target: &str) -> Result<(), HeadFault> {
    if target.len() > MAX_TARGET_BYTES {
        return Err(HeadFault::TARGET_TOO_LONG);
    }
    head::check_characters(target)?;
    let is_path = target.starts_with('/') || (target == "*" && method == Method::OPTIONS);
    if is_path { Ok(()) } else { Err(HeadFault::NO_PATH) }
}

fn is_too_large(headers: &HeaderMap) -> bool {
    let sizes = || headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    headers.len() > MAX_FIELDS
        || sizes().any(|size| size > MAX_FIELD_BYTES)
        || sizes().sum::<usize>() > MAX_HEAD_BYTES
}

fn drop_underscored(headers: &mut HeaderMap) {
    let underscored: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in underscored {
        headers.remove(name);
    }
}

/// The body of a request. `hyper` drops the whole answer's work when the client goes away.
struct Http2Body {
    content: hyper::body::Incoming,
    timer: Timer,
    patience: BodyPatience,
    waiting: bool,
}

impl Http2Body {
    fn new(content: hyper::body::Incoming, timeouts: ClientTimeouts) -> Self {
        Self { content, timer: Timer::new(), patience: BodyPatience::new(timeouts), waiting: false }
    }

    /// Has what still comes read and dropped for a moment. Without a reader the stream is reset right behind the answer, and
    /// some clients then do not read that.
    fn discard(mut self) {
        if self.content.is_end_stream() {
            return;
        }
        let rest = async move {
            while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut self.content).poll_frame(cx)).await {}
        };
        tokio::spawn(tokio::time::timeout(LINGER, rest));
    }
}

impl Incoming for Http2Body {
    fn declared_length(&self) -> Option<u64> {
        self.content.size_hint().exact()
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            match Pin::new(&mut self.content).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BodyFault::Gone))),
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = false;
                    // Trailers are dropped.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Pending => {
                    if !self.waiting {
                        self.waiting = true;
                        self.timer.arm(self.patience.for_next_piece());
                    }
                    ready!(self.timer.poll(cx));
                    return Poll::Ready(Some(Err(BodyFault::TimedOut)));
                }
            }
        }
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Puts an answer into the form that `hyper` takes. One to a `HEAD` tells how long its content would be, and has none (RFC 9110
/// section 9.3.2).
fn respond(mut reply: Reply, is_head_request: bool, under_way: UnderWay) -> Response<ReplyContent> {
    if let (true, ReplyBody::Full(bytes)) = (is_head_request, &reply.body) {
        reply.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        reply.body = ReplyBody::Empty;
    }
    let content = match reply.body {
        ReplyBody::Empty => Content::Full(None),
        ReplyBody::Full(bytes) => Content::Full(Some(bytes)),
        ReplyBody::Stream(stream) => Content::Stream { stream, then: Then::More },
    };
    let mut response = Response::new(ReplyContent { content, _under_way: under_way, _place: reply.place });
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// An answer's content, in the form that `hyper` takes.
struct ReplyContent {
    content: Content,
    _under_way: UnderWay,
    _place: Option<Place>,
}

enum Content {
    Full(Option<Bytes>),
    Stream { stream: Box<dyn ReplyStream>, then: Then },
}

/// How a stream goes on.
enum Then {
    More,
    End,
    /// It is reset once the timer expires.
    Broken(Timer),
}

impl Body for ReplyContent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Taking::asks();
        let frame = ready!(self.poll_next(cx));
        Taking::is_handed();
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream { .. } => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Full(None) | Content::Stream { then: Then::End, .. })
    }
}

impl ReplyContent {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Full(bytes) => Poll::Ready(next_piece(bytes).map(|piece| Ok(Frame::data(piece)))),
            Content::Stream { then: Then::End, .. } => Poll::Ready(None),
            Content::Stream { then: Then::Broken(timer), .. } => {
                ready!(timer.poll(cx));
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
            }
            Content::Stream { stream, then } => {
                let mut piece = Vec::new();
                match ready!(stream.poll_fill(cx, &mut piece)) {
                    Fill::More => {}
                    Fill::End => {
                        *then = Then::End;
                        stream.delivered();
                    }
                    Fill::Broken => {
                        let mut timer = Timer::new();
                        timer.arm(LAST_WORDS);
                        *then = Then::Broken(timer);
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(piece.into()))))
            }
        }
    }
}

/// Takes the next piece of what is left; after the last there is nothing left.
fn next_piece(left: &mut Option<Bytes>) -> Option<Bytes> {
    match left {
        Some(bytes) if bytes.len() > PIECE => Some(bytes.split_to(PIECE)),
        _ => left.take(),
    }
}

/// How a client takes an answer: whether the next step is the client's or ours.
#[derive(Clone, Copy, Default)]
struct Taking {
    /// How long the client may take for a piece.
    within: Duration,
    /// Odd from when a piece was handed over until the next is asked for, which is when the client has taken of it.
    step: usize,
}

impl Taking {
    fn within(within: Duration) -> Self {
        Self { within, step: 0 }
    }

    /// The next piece is asked for.
    fn asks() {
        Self::change(|taking| taking.step += taking.step % 2);
    }

    /// A piece is there for the client to take.
    fn is_handed() {
        Self::change(|taking| taking.step += 1);
    }

    fn change(change: impl FnOnce(&mut Self)) {
        TAKING.with(|taking| {
            let mut changed = taking.get();
            change(&mut changed);
            taking.set(changed);
        });
    }
}

/// Runs the work for each stream, and gives it up when its client takes nothing of the answer for too long, which resets
/// the stream. `hyper` waits for a client without a word to the answer's content, so nothing else would ever end that.
#[derive(Clone, Copy)]
struct Watching;

impl<F> Executor<F> for Watching
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        tokio::spawn(TAKING.scope(Cell::default(), while_taken(Box::pin(work))));
    }
}

async fn while_taken(work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    let mut timer: Option<Timer> = None;
    let mut waits_since = 0;
    poll_fn(|cx| {
        let done = work.as_mut().poll(cx);
        let Taking { within, step } = TAKING.with(Cell::get);
        if done.is_ready() || step % 2 == 0 {
            return done;
        }
        let timer = timer.get_or_insert_with(Timer::new);
        if step != waits_since {
            waits_since = step;
            timer.arm(within);
        }
        timer.poll(cx)
    })
    .await;
}

/// Counts a request while it is under way.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
