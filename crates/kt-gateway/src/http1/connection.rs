//! Serving one client connection: requests in, answers out, one at a time.

use std::future::poll_fn;
use std::io::{self, Write};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, StatusCode, header};
use kt_domain::clock::Clock;

use super::body::{Decoder, Framing, Step};
use super::date;
use super::head::{self, HeadFault, Wire};
use super::transport::{Timer, Transport};
use crate::incoming::{BodyFault, BodyPatience, Incoming, Peer, Service};
use crate::reply::{Fill, Reply, ReplyBody, ReplyStream, UnreadBody};

/// The first bytes of an HTTP/2 connection with prior knowledge (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client is given to read its last answer and close.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// What becomes of a connection that this module is through with.
pub(crate) enum Next {
    /// It is closed.
    Closed,
    /// The client speaks HTTP/2; nothing was taken off the wire.
    Http2(Transport),
}

/// How long a client may take, each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientTimeouts {
    pub(crate) request_header: Duration,
    pub(crate) request_body_idle: Duration,
    pub(crate) request_body: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) response_idle: Duration,
}

/// Serves `transport` until it is closed, by either side, or turns out to speak HTTP/2.
pub(crate) async fn serve<S: Service>(mut transport: Transport, peer: Peer, service: &S) -> Next {
    let mut timer = Timer::new();
    let mut out = Vec::new();
    let mut first = true;
    loop {
        let timeouts = service.client_timeouts();
        let received = match read_head(&mut transport, &mut timer, &timeouts, first).await {
            Received::Closed => return Next::Closed,
            Received::Http2 => return Next::Http2(transport),
            Received::Faulty(fault) => Err(fault),
            Received::Head(bytes) => head::parse(&bytes),
        };
        first = false;
        let (head, wire) = match received {
            Ok(parsed) => parsed,
            Err(fault) => {
                refuse(transport, peer, service, fault).await;
                return Next::Closed;
            }
        };
        let is_head_request = head.method == Method::HEAD;
        let mut body = Http1Body::new(&mut transport, &mut timer, wire, timeouts);
        let reply = service.call(head, &mut body, &peer).await;
        if reply.is_for_nobody {
            return Next::Closed;
        }
        let body_is_taken = match reply.unread {
            UnreadBody::Discard => body.skip_what_came(),
            UnreadBody::Leave => body.is_none(),
        };
        let ends_with_connection = !wire.speaks_1_1 && matches!(reply.body, ReplyBody::Stream(_));
        let keep_alive = wire.keep_alive && body_is_taken && !ends_with_connection && !service.is_draining();
        let unread = reply.unread;
        let manner = Manner { keep_alive, speaks_1_1: wire.speaks_1_1, is_head_request };
        let sender = Sender {
            transport: &mut transport,
            timer: &mut timer,
            timeouts: &timeouts,
            clock: service.clock(),
            out: &mut out,
        };
        let sent = sender.send(reply, manner).await;
        if sent.is_err() || !keep_alive {
            let unread = if body_is_taken { UnreadBody::Discard } else { unread };
            finish(transport, sent.is_ok(), unread).await;
            return Next::Closed;
        }
    }
}

/// Answers what is no request, and closes the connection.
pub(crate) async fn refuse<S: Service>(mut transport: Transport, peer: Peer, service: &S, fault: HeadFault) {
    let reply = service.refuse_malformed(fault, None, &peer).await;
    let unread = reply.unread;
    let sender = Sender {
        transport: &mut transport,
        timer: &mut Timer::new(),
        timeouts: &service.client_timeouts(),
        clock: service.clock(),
        out: &mut Vec::new(),
    };
    let sent = sender.send(reply, Manner::LAST).await;
    finish(transport, sent.is_ok(), unread).await;
}

async fn finish(transport: Transport, orderly: bool, unread: UnreadBody) {
    if orderly {
        transport.linger(unread == UnreadBody::Discard, LINGER).await;
    }
}

enum Received {
    Head(Bytes),
    Faulty(HeadFault),
    Http2,
    Closed,
}

/// Waits for a whole head. A connection that never brought one, or began one, is told why it is closed. One that waits for
/// its next request is closed in silence: its client may be sending that, and would take what we say for the answer.
async fn read_head(
    transport: &mut Transport,
    timer: &mut Timer,
    timeouts: &ClientTimeouts,
    first: bool,
) -> Received {
    const TIMED_OUT: HeadFault = HeadFault {
        status: StatusCode::REQUEST_TIMEOUT,
        code: "request_timeout",
        message: "The request's header fields did not arrive in time.",
    };
    let mut seen = 0;
    let mut started = false;
    timer.arm(if first { timeouts.request_header } else { timeouts.keep_alive });
    loop {
        if transport.buffer.starts_with(b"\r\n") {
            // RFC 9112 section 2.2 asks to overlook an empty line before a request.
            transport.buffer.advance(2);
            seen = 0;
        }
        if !transport.buffer.is_empty() {
            if first
                && HTTP2_PREFACE
                    .starts_with(&transport.buffer[..transport.buffer.len().min(HTTP2_PREFACE.len())])
            {
                if transport.buffer.len() >= HTTP2_PREFACE.len() {
                    return Received::Http2;
                }
            } else {
                match head::measure(&transport.buffer, seen) {
                    Ok(Some(length)) => return Received::Head(transport.buffer.split_to(length).freeze()),
                    Ok(None) => seen = transport.buffer.len(),
                    Err(fault) => return Received::Faulty(fault),
                }
            }
            if !started {
                started = true;
                timer.arm(timeouts.request_header);
            }
        }
        let filled = poll_fn(|cx| match transport.poll_fill(cx, 0) {
            Poll::Ready(filled) => Poll::Ready(Some(filled)),
            Poll::Pending => timer.poll(cx).map(|()| None),
        })
        .await;
        match filled {
            None if started || first => return Received::Faulty(TIMED_OUT),
            None | Some(Ok(0) | Err(_)) => return Received::Closed,
            Some(Ok(_)) => {}
        }
    }
}

/// The body of the request that is being served, and the connection it comes over.
struct Http1Body<'a> {
    transport: &'a mut Transport,
    timer: &'a mut Timer,
    decoder: Decoder,
    framing: Framing,
    patience: BodyPatience,
    /// `100 Continue`, as far as it is still to be sent.
    invitation: &'static [u8],
    waiting: bool,
}

impl<'a> Http1Body<'a> {
    fn new(transport: &'a mut Transport, timer: &'a mut Timer, wire: Wire, timeouts: ClientTimeouts) -> Self {
        let invitation: &[u8] = if wire.expects_continue { b"HTTP/1.1 100 Continue\r\n\r\n" } else { b"" };
        let decoder = Decoder::new(wire.framing);
        let patience = BodyPatience::new(timeouts);
        Self { transport, timer, decoder, framing: wire.framing, patience, invitation, waiting: false }
    }

    /// Whether the request has no body at all.
    fn is_none(&self) -> bool {
        matches!(self.framing, Framing::Length(0))
    }

    /// Drops what has arrived of a body that nobody asked for; whether that was all of it.
    fn skip_what_came(&mut self) -> bool {
        loop {
            match self.decoder.step(&mut self.transport.buffer) {
                Ok(Step::Data(length)) => self.transport.buffer.advance(length),
                Ok(Step::End) => return true,
                Ok(Step::Starved) | Err(_) => return self.decoder.is_done(),
            }
        }
    }

    fn poll_invite(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.invitation.is_empty() {
            let written = ready!(self.transport.poll_write(cx, self.invitation))?;
            self.invitation = &self.invitation[written..];
        }
        Poll::Ready(Ok(()))
    }

    /// How much room to read into: all that is known to come, within reason.
    fn room(&self) -> usize {
        const MOST: u64 = 256 * 1024;
        usize::try_from(self.decoder.remaining().unwrap_or(0).min(MOST)).unwrap_or(0)
    }
}

impl Incoming for Http1Body<'_> {
    fn declared_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::UntilClose => None,
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            match self.decoder.step(&mut self.transport.buffer) {
                Ok(Step::Data(length)) => {
                    self.waiting = false;
                    return Poll::Ready(Some(Ok(self.transport.buffer.split_to(length).freeze())));
                }
                Ok(Step::End) => return Poll::Ready(None),
                Err(_) => return Poll::Ready(Some(Err(BodyFault::Malformed))),
                Ok(Step::Starved) => {}
            }
            if ready!(self.poll_invite(cx)).is_err() {
                return Poll::Ready(Some(Err(BodyFault::Gone)));
            }
            let room = self.room();
            match self.transport.poll_fill(cx, room) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Some(Err(BodyFault::Gone))),
                Poll::Ready(Ok(_)) => {}
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

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.transport.poll_gone(cx)
    }
}

/// In which manner an answer is sent.
#[derive(Clone, Copy)]
struct Manner {
    keep_alive: bool,
    /// Whether the client speaks HTTP/1.1: it understands chunks, and takes it that the connection is kept.
    speaks_1_1: bool,
    is_head_request: bool,
}

impl Manner {
    const LAST: Self = Self { keep_alive: false, speaks_1_1: true, is_head_request: false };
}

/// Sends one answer.
struct Sender<'a> {
    transport: &'a mut Transport,
    timer: &'a mut Timer,
    timeouts: &'a ClientTimeouts,
    clock: &'a dyn Clock,
    out: &'a mut Vec<u8>,
}

impl Sender<'_> {
    async fn send(self, reply: Reply, manner: Manner) -> io::Result<()> {
        self.out.clear();
        write_head(self.out, &reply, manner, self.clock);
        match reply.body {
            ReplyBody::Full(body) if !manner.is_head_request => self.write(&[&body]).await,
            ReplyBody::Empty | ReplyBody::Full(_) => self.write(&[]).await,
            ReplyBody::Stream(stream) => self.send_stream(stream, manner.speaks_1_1).await,
        }
    }

    async fn write(self, body: &[&[u8]]) -> io::Result<()> {
        let body = body.first().copied().unwrap_or_default();
        self.transport.write_all(&[self.out, body], self.timer, self.timeouts.response_idle).await
    }

    /// Sends what the stream gives as soon as it gives it. A client that goes away ends the stream.
    async fn send_stream(self, mut stream: Box<dyn ReplyStream>, chunked: bool) -> io::Result<()> {
        let idle = self.timeouts.response_idle;
        let mut piece = Vec::new();
        loop {
            piece.clear();
            let head_is_waiting = !self.out.is_empty();
            let filled = poll_fn(|cx| {
                if self.transport.poll_gone(cx).is_ready() {
                    return Poll::Ready(Fill::Broken);
                }
                match stream.poll_fill(cx, &mut piece) {
                    // The head does not wait for the first piece.
                    Poll::Pending if head_is_waiting => Poll::Ready(Fill::More),
                    filled => filled,
                }
            })
            .await;
            let ending: &[u8] = match (filled, chunked, piece.is_empty()) {
                (Fill::End, true, true) => b"0\r\n\r\n",
                (Fill::End, true, false) => b"\r\n0\r\n\r\n",
                (Fill::More | Fill::Broken, true, false) => b"\r\n",
                (Fill::More | Fill::Broken, true, true) | (_, false, _) => b"",
            };
            if chunked && !piece.is_empty() {
                // Writing to a vector cannot fail.
                let _ = write!(self.out, "{:x}\r\n", piece.len());
            }
            self.transport.write_all(&[self.out, &piece, ending], self.timer, idle).await?;
            self.out.clear();
            match filled {
                Fill::More => {}
                Fill::End => {
                    stream.delivered();
                    return Ok(());
                }
                // What came before the fault is the client's, its head at the least.
                Fill::Broken => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }
}

fn write_head(out: &mut Vec<u8>, reply: &Reply, manner: Manner, clock: &dyn Clock) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(reply.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reply.status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(out, &reply.headers);
    // A provider's answer has its own.
    if !reply.headers.contains_key(header::DATE) {
        date::write(out, clock.now_micros());
    }
    match &reply.body {
        ReplyBody::Stream(_) if manner.speaks_1_1 => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        ReplyBody::Stream(_) => {}
        // RFC 9110 section 8.6: none in an answer without content.
        _ if reply.status == StatusCode::NO_CONTENT => {}
        ReplyBody::Empty => out.extend_from_slice(b"Content-Length: 0\r\n"),
        ReplyBody::Full(body) => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "Content-Length: {}\r\n", body.len());
        }
    }
    if !manner.keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if !manner.speaks_1_1 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes fields in the form of RFC 9112 section 5, their names as people write them.
fn write_fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        write_name(out, name.as_str());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// `x-request-id` as `X-Request-Id`; our own prefix as `X-KT-`.
fn write_name(out: &mut Vec<u8>, name: &str) {
    let start = out.len();
    let mut begins_word = true;
    out.extend(name.bytes().map(|byte| {
        let written = if begins_word { byte.to_ascii_uppercase() } else { byte };
        begins_word = byte == b'-';
        written
    }));
    if name.starts_with("x-kt-") {
        out[start + 3] = b'T';
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::http1::transport::Io;

    const LONG: Duration = Duration::from_mins(1);
    const TIMEOUTS: ClientTimeouts = ClientTimeouts {
        request_header: LONG,
        request_body_idle: LONG,
        request_body: LONG,
        keep_alive: LONG,
        response_idle: LONG,
    };

    #[tokio::test]
    async fn an_empty_line_that_comes_in_two_pieces_hides_no_bare_line_feed() {
        for (rest, is_head) in [("\nGET / HTTP/1.1\r\n\r\n", true), ("\n\nGET / HTTP/1.1\r\n\r\n", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(rest.as_bytes()).await.unwrap();
            let mut transport = Transport::new(Io::Plain(listener.accept().await.unwrap().0));
            transport.buffer.extend_from_slice(b"\r");
            let received = read_head(&mut transport, &mut Timer::new(), &TIMEOUTS, false).await;
            assert_eq!(matches!(received, Received::Head(_)), is_head, "{rest:?}");
        }
    }

    #[test]
    fn names_are_written_as_people_write_them() {
        let written = |name: &str| {
            let mut out = Vec::new();
            write_name(&mut out, name);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written("access-control-allow-origin"), "Access-Control-Allow-Origin");
        assert_eq!(written("x-kt-request-id"), "X-KT-Request-Id");
        assert_eq!(written("vary"), "Vary");
    }
}
