//! Taking a provider's answer: streams as they come, everything else whole, and nothing that is the gateway's to say.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, StatusCode, header};
use kt_domain::media_type;

use crate::http1::body::Decoder;
use crate::http1::client::{AnswerFault, AnswerHead, ClientConnection};
use crate::http1::head::connection_options;
use crate::providers::health::Fault;
use crate::providers::select::Choice;
use crate::providers::translate::{Stopped, StreamTranslator};
use crate::reply::Fill;
use crate::shared::Worker;
use crate::telemetry::Answered;
use crate::upstream::{Limits, Origin, UpstreamFault};
use crate::usage::{StreamUsage, Usage};

/// A provider's headers that a client never sees: those of the connection, and those that are the gateway's to set.
const DROPPED: [HeaderName; 13] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::SET_COOKIE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
const DROPPED_PREFIXES: [&str; 2] = ["access-control-", "x-kt-"];

/// What describes the bytes of a body as the provider sent them.
const OF_THE_BYTES: [HeaderName; 8] = [
    header::CONTENT_ENCODING,
    header::ETAG,
    header::ACCEPT_RANGES,
    header::CONTENT_RANGE,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// A provider's answer, its head read and its body still to be taken.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// What a client may see of the provider's headers.
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
    pub(crate) is_stream: bool,
    /// How long the provider asks to be left alone, if it does.
    pub(crate) retry_after: Option<Duration>,
}

/// The body of a provider's answer, on its connection.
pub(crate) struct AnswerBody {
    worker: Arc<Worker>,
    origin: Arc<Origin>,
    /// Given back to the pool once the body was taken whole.
    connection: Option<ClientConnection>,
    decoder: Decoder,
    length: Option<u64>,
    reusable: bool,
    limits: Limits,
    usage: StreamUsage,
    fault: Option<UpstreamFault>,
    /// Whether the client has heard of the fault from the provider.
    told_its_fault: bool,
    /// What puts a stream into the client's words, if they are others.
    translator: Option<Box<Translating>>,
    /// The target's, which is to be told how the stream goes.
    choice: Option<Choice>,
}

struct Translating {
    translator: StreamTranslator,
    /// What came and is not translated yet.
    read: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(
        worker: Arc<Worker>,
        origin: Arc<Origin>,
        mut connection: ClientConnection,
        head: AnswerHead,
        limits: Limits,
    ) -> Result<Self, UpstreamFault> {
        match head.status.as_u16() {
            300..=399 => return Err(UpstreamFault::Redirected),
            401 | 403 | 407 => return Err(UpstreamFault::KeyRefused),
            503 | 529 => return Err(UpstreamFault::Overloaded),
            500.. => return Err(UpstreamFault::Failed),
            _ => {}
        }
        connection.await_body(limits.idle());
        let is_stream = head
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| media_type::is(value.as_bytes(), "text/event-stream"));
        let body = AnswerBody {
            worker,
            origin,
            connection: Some(connection),
            decoder: head.decoder,
            length: head.length,
            reusable: head.reusable,
            limits,
            usage: StreamUsage::default(),
            fault: None,
            told_its_fault: false,
            translator: None,
            choice: None,
        };
        Ok(Self { status: head.status, headers: visible(head.headers), body, is_stream, retry_after: None })
    }
}

/// Removes what is not true of a body that the gateway has written anew.
pub(crate) fn drop_what_describes_bytes(headers: &mut HeaderMap) {
    for name in OF_THE_BYTES {
        headers.remove(name);
    }
}

fn visible(mut headers: HeaderMap) -> HeaderMap {
    let hop_by_hop: Vec<HeaderName> =
        connection_options(&headers).filter_map(|option| option.parse().ok()).collect();
    let is_dropped = |name: &&HeaderName| {
        let is_prefixed = DROPPED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
        let is_named = DROPPED.contains(name) || hop_by_hop.contains(name);
        is_prefixed || is_named && **name != header::CONTENT_TYPE
    };
    let dropped: Vec<HeaderName> = headers.keys().filter(is_dropped).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    headers
}

impl AnswerBody {
    /// The same stream, of which its target is told how it went.
    pub(crate) fn told_to(mut self, choice: Option<Choice>) -> Self {
        self.choice = choice.map(Choice::begun);
        self
    }

    /// Tells the target how its stream went. One that somebody else ended says nothing of it.
    pub(crate) fn settle(&mut self, is_whole: bool) {
        let Some(choice) = self.choice.take() else { return };
        match self.fault {
            Some(fault) => {
                self.worker.shared.metrics.count_upstream_fault(fault.code());
                let at = self.worker.shared.clock.now();
                // How long an answer is depends on who asks for it.
                let is_in_time = self.limits.allows(Duration::ZERO);
                choice.broke_off(Fault { code: fault.code(), at }, is_in_time);
            }
            None if is_whole => choice.succeeded(),
            None => {}
        }
    }

    /// The same stream in other words.
    pub(crate) fn translated_by(mut self, translator: StreamTranslator) -> Self {
        self.translator = Some(Box::new(Translating { translator, read: Vec::new() }));
        self
    }

    /// Takes the whole body, `limit` bytes at most.
    pub(crate) async fn take_whole(mut self, limit: u64) -> Result<(BytesMut, Usage), UpstreamFault> {
        if self.length.is_some_and(|length| length > limit) {
            return Err(UpstreamFault::TooLarge);
        }
        let expected = self.length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut body = BytesMut::with_capacity(expected.min(64 * 1024));
        loop {
            let whole = poll_fn(|cx| self.poll_body(cx, &mut body)).await.map_err(UpstreamFault::Answer)?;
            if body.len() as u64 > limit {
                return Err(UpstreamFault::TooLarge);
            }
            if whole {
                self.give_back();
                let mut usage = Usage::default();
                usage.read(&body);
                if usage.output.is_none() {
                    usage.hear(&body);
                }
                return Ok((body, usage));
            }
        }
    }

    /// Appends what has come of a stream to `out`, without waiting for more once something has.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Fill> {
        let Some(mut translating) = self.translator.take() else { return self.poll_as_it_is(cx, out) };
        let filled = self.poll_translated(cx, &mut translating, out);
        self.translator = Some(translating);
        filled
    }

    /// The same, in the client's words. What a target says may come to nothing in them, so more is waited for then.
    fn poll_translated(
        &mut self,
        cx: &mut Context<'_>,
        Translating { translator, read }: &mut Translating,
        out: &mut Vec<u8>,
    ) -> Poll<Fill> {
        let before = out.len();
        while out.len() == before {
            read.clear();
            let filled = ready!(self.poll_as_it_is(cx, read));
            let translated = translator.feed(read, out);
            if let Err(stopped) = translated {
                self.told_its_fault = stopped == Stopped::Failed;
                self.fault = Some(match stopped {
                    Stopped::Unreadable => UpstreamFault::Answer(AnswerFault::Malformed),
                    Stopped::Failed => UpstreamFault::Failed,
                });
                return Poll::Ready(Fill::Broken);
            }
            match filled {
                Fill::More => {}
                Fill::End if translator.finish(out) => return Poll::Ready(Fill::End),
                Fill::End => {
                    self.fault = Some(UpstreamFault::Answer(AnswerFault::Truncated));
                    return Poll::Ready(Fill::Broken);
                }
                Fill::Broken => return Poll::Ready(Fill::Broken),
            }
        }
        Poll::Ready(Fill::More)
    }

    fn poll_as_it_is(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Fill> {
        let before = out.len();
        let whole = ready!(self.poll_body(cx, out));
        self.usage.feed(&out[before..]);
        Poll::Ready(match whole {
            Ok(false) => Fill::More,
            Ok(true) => {
                self.give_back();
                Fill::End
            }
            Err(fault) => {
                self.fault = Some(UpstreamFault::Answer(fault));
                Fill::Broken
            }
        })
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut impl crate::http1::client::Extend,
    ) -> Poll<Result<bool, AnswerFault>> {
        match &mut self.connection {
            // A provider that goes on and on never lets the timer run out.
            Some(_) if !self.limits.allows(Duration::ZERO) => Poll::Ready(Err(AnswerFault::TimedOut)),
            Some(connection) => connection.poll_body(&mut self.decoder, self.limits.idle(), cx, out),
            None => Poll::Ready(Ok(true)),
        }
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.reusable
        {
            self.worker.pool.put_back(&self.origin, connection);
        }
    }

    /// Why the stream broke off, if it did.
    pub(crate) fn fault(&self) -> Option<UpstreamFault> {
        self.fault
    }

    /// Whether what was given of the stream ends with the provider's own word that it failed.
    pub(crate) fn told_its_fault(&self) -> bool {
        self.told_its_fault
    }

    /// From now on what the provider says of its answer is gathered for telemetry.
    pub(crate) fn gather(&mut self) {
        self.usage.gather();
    }

    /// What was gathered.
    pub(crate) fn take_answered(&mut self) -> Option<Box<Answered>> {
        self.usage.take_answered()
    }

    /// The tokens that were counted so far.
    pub(crate) fn usage(&self) -> Usage {
        self.usage.usage()
    }
}
