//! Asking a provider over one HTTP/1.1 connection.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::body::{BadFraming, Decoder, Framing, Step};
use super::head::{MAX_FIELDS, MAX_HEAD_BYTES, connection_options, decimal};
use super::lines::{Block, find_end};
use super::transport::{Timer, Transport};

/// One connection to a provider, with its timer.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    transport: Transport,
    timer: Timer,
}

/// What went wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerFault {
    /// The connection was closed before the first byte of an answer.
    ClosedBeforeAnswer,
    /// The connection was closed within the answer.
    Truncated,
    /// Not HTTP, or not unambiguously.
    Malformed,
    /// Nothing came for too long.
    TimedOut,
}

/// The head of an answer, without what belongs to the connection.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// How many bytes the provider says will follow, if it says so.
    pub(crate) length: Option<u64>,
    /// Takes the body off the connection.
    pub(crate) decoder: Decoder,
    /// Whether the connection can carry another request after this answer.
    pub(crate) reusable: bool,
}

impl ClientConnection {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, timer: Timer::new() }
    }

    /// Whether an unused connection is still good.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.transport.is_quiet()
    }

    /// Sends a request: its head, complete, and its body.
    pub(crate) async fn send(&mut self, head: &[u8], body: &Bytes, idle: Duration) -> io::Result<()> {
        self.transport.write_all(&[head, body], &mut self.timer, idle).await
    }

    /// Waits at most `limit` for the head of the final answer; interim answers (1xx) are passed over, as long as all
    /// of them together are no longer than one head may be.
    pub(crate) async fn read_head(&mut self, limit: Duration) -> Result<AnswerHead, AnswerFault> {
        self.timer.arm(limit);
        let mut interim = 0;
        while interim <= MAX_HEAD_BYTES {
            let bytes = self.read_block().await?;
            let head = parse(&bytes)?;
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(AnswerFault::Malformed);
            }
            if !head.status.is_informational() {
                return Ok(head);
            }
            interim += bytes.len();
        }
        Err(AnswerFault::Malformed)
    }

    async fn read_block(&mut self) -> Result<Bytes, AnswerFault> {
        let mut seen = 0;
        loop {
            match find_end(&self.transport.buffer, seen) {
                Block::Complete(end) => return Ok(self.transport.buffer.split_to(end).freeze()),
                Block::Partial if self.transport.buffer.len() <= MAX_HEAD_BYTES => {}
                Block::Partial | Block::BareLineFeed => return Err(AnswerFault::Malformed),
            }
            seen = self.transport.buffer.len();
            let filled = poll_fn(|cx| match self.transport.poll_fill(cx, 0) {
                Poll::Ready(filled) => Poll::Ready(Some(filled)),
                Poll::Pending => self.timer.poll(cx).map(|()| None),
            })
            .await;
            match filled {
                None => return Err(AnswerFault::TimedOut),
                Some(Ok(0) | Err(_)) if seen == 0 => return Err(AnswerFault::ClosedBeforeAnswer),
                Some(Ok(0) | Err(_)) => return Err(AnswerFault::Truncated),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Appends what has come of the body to `out`, without waiting once something has; whether it is whole now.
    ///
    /// Takes at most about 64 KiB at a time, so that a fast provider does not fill the memory ahead of a slow client.
    pub(crate) fn poll_body(
        &mut self,
        decoder: &mut Decoder,
        idle: Duration,
        cx: &mut Context<'_>,
        out: &mut impl Extend,
    ) -> Poll<Result<bool, AnswerFault>> {
        const MOST: usize = 64 * 1024;
        let mut taken = 0;
        loop {
            match decoder.step(&mut self.transport.buffer).map_err(|BadFraming| AnswerFault::Malformed)? {
                Step::Data(length) => {
                    out.extend(&self.transport.buffer[..length]);
                    self.transport.buffer.advance(length);
                    taken += length;
                    if taken >= MOST {
                        return Poll::Ready(Ok(false));
                    }
                }
                Step::End => return Poll::Ready(Ok(true)),
                Step::Starved if taken > 0 => {
                    self.timer.arm(idle);
                    return Poll::Ready(Ok(false));
                }
                Step::Starved => match self.transport.poll_fill(cx, 0) {
                    Poll::Ready(Ok(0)) if decoder.may_end_here() => return Poll::Ready(Ok(true)),
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(AnswerFault::Truncated)),
                    Poll::Ready(Ok(_)) => self.timer.arm(idle),
                    Poll::Pending => {
                        ready!(self.timer.poll(cx));
                        return Poll::Ready(Err(AnswerFault::TimedOut));
                    }
                },
            }
        }
    }

    /// Starts the clock for the next piece of a body.
    pub(crate) fn await_body(&mut self, idle: Duration) {
        self.timer.arm(idle);
    }
}

/// A buffer that bytes are appended to.
pub(crate) trait Extend {
    fn extend(&mut self, bytes: &[u8]);
}

impl Extend for Vec<u8> {
    fn extend(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Extend for BytesMut {
    fn extend(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Reads a complete head.
pub(crate) fn parse(bytes: &Bytes) -> Result<AnswerHead, AnswerFault> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    if !matches!(parsed, Ok(httparse::Status::Complete(length)) if length == bytes.len()) {
        return Err(AnswerFault::Malformed);
    }
    let status =
        response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(AnswerFault::Malformed)?;
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 8);
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| AnswerFault::Malformed)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .map_err(|_| AnswerFault::Malformed)?;
        headers.append(name, value);
    }
    let framing = framing_of(status, &headers)?;
    let closes = connection_options(&headers).any(|option| option.eq_ignore_ascii_case("close"));
    Ok(AnswerHead {
        status,
        length: match framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::UntilClose => None,
        },
        reusable: response.version == Some(1) && !closes && framing != Framing::UntilClose,
        decoder: Decoder::new(framing),
        headers,
    })
}

/// How an answer's body is delimited (RFC 9112 section 6.3). What could be read in two ways is refused.
fn framing_of(status: StatusCode, headers: &HeaderMap) -> Result<Framing, AnswerFault> {
    if status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::Length(0));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (None, _, None, _) => Ok(Framing::UntilClose),
        (Some(length), None, None, _) => {
            decimal(length.as_bytes()).map(Framing::Length).ok_or(AnswerFault::Malformed)
        }
        (None, _, Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        _ => Err(AnswerFault::Malformed),
    }
}
