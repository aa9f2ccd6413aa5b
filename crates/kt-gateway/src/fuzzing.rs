//! The doors through which fuzz targets reach this crate's parsers. No other build has them.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, VIA,
};
use http::{Request, Uri};
use jiff::Timestamp;
use kt_domain::policy_config::Retry;

use crate::http1::body::{Decoder, Framing, Step};
use crate::http1::{client, head};
use crate::http2;
use crate::providers::retry;
use crate::providers::translate::{Context, StreamTranslator, Towards, Translation};
use crate::proxy_protocol;
use crate::stages::{circle, content, cors, path, route, size_limits};
use crate::telemetry::{Trace, span_id};
use crate::usage::{StreamUsage, Usage};

/// Reads a request's head as a connection would, and gives how many bytes of it were taken; `None` when it is refused or
/// not whole.
#[must_use]
pub fn request_head(bytes: &[u8]) -> Option<usize> {
    let length = head::measure(bytes, 0).ok()??;
    head::parse(&Bytes::copy_from_slice(&bytes[..length])).ok().map(|_| length)
}

/// Reads a head that comes over HTTP/2 with one field beside its own, and writes it as HTTP/1 does; `None` when it is
/// refused.
#[must_use]
pub fn http2_head(path: &[u8], authority: &[u8], field: &[u8]) -> Option<Vec<u8>> {
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build().ok()?;
    let request = Request::builder().uri(uri).header("x-field", field).body(()).ok()?;
    let (head, fault) = http2::head_of(request.into_parts().0);
    if fault.is_some() {
        return None;
    }
    let query = head.query.map(|query| format!("?{query}")).unwrap_or_default();
    let line = format!("GET {}{query} HTTP/1.1\r\nHost: {}\r\nX-Field: ", head.path, head.authority?);
    Some([line.as_bytes(), head.headers.get("x-field")?.as_bytes(), b"\r\n\r\n"].concat())
}

/// Undoes the coding of a body; `None` when it is refused.
#[must_use]
pub fn decoded_body(coding: &str, body: &[u8], limit: u64) -> Option<Bytes> {
    let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_str(coding).ok()?)]);
    size_limits::decode(&headers, Bytes::copy_from_slice(body), limit).ok()
}

/// What a preflight is answered that asks for these header names, where any may be sent; `None` when that is nothing.
#[must_use]
pub fn preflight(names: &[u8]) -> Option<Vec<u8>> {
    let names = HeaderValue::from_bytes(names).ok()?;
    let request = HeaderMap::from_iter([(ACCESS_CONTROL_REQUEST_HEADERS, names)]);
    cors::requested_headers(&request).map(|names| names.as_bytes().to_vec())
}

/// Whether these lines of `Via` name the gateway with this name; `None` when they are no lines of a head.
#[must_use]
pub fn has_passed(lines: &[&[u8]], gateway_id: &str) -> Option<bool> {
    let line = |line: &&[u8]| Some((VIA, HeaderValue::from_bytes(line).ok()?));
    let headers: HeaderMap = lines.iter().map(line).collect::<Option<_>>()?;
    Some(circle::has_passed(&headers, gateway_id))
}

/// How long a provider asks at this second of Unix time to be left alone, in a field with this name, and how long is waited
/// for it by these settings; `None` for what is nothing.
#[must_use]
pub fn retry_after(
    name: &'static str,
    value: &[u8],
    now: i64,
    settings: &Retry,
) -> Option<(Duration, Option<Duration>)> {
    let (now, value) = (Timestamp::from_second(now).ok()?, HeaderValue::from_bytes(value).ok()?);
    let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
    let asked_for = retry::retry_after(&headers, || now)?;
    Some((asked_for, retry::delay(settings, 0, Some(asked_for), 0)))
}

/// What is passed on of the trace that a client names; `None` when another is begun.
#[must_use]
pub fn joined_trace(traceparent: &[u8]) -> Option<String> {
    Trace::join(traceparent, 1).map(|trace| trace.traceparent(span_id(2)))
}

/// Decodes a chunked body that arrives in pieces of `size` bytes: what came of it, and whether it is whole; `None` for
/// the latter when it was refused.
#[must_use]
pub fn chunked_body(bytes: &[u8], size: usize) -> (Vec<u8>, Option<bool>) {
    let mut decoder = Decoder::new(Framing::Chunked);
    let mut buffer = BytesMut::new();
    let mut body = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.step(&mut buffer) {
                Ok(Step::Data(length)) => body.extend_from_slice(&buffer.split_to(length)),
                Ok(Step::Starved | Step::End) => break,
                Err(_) => return (body, None),
            }
        }
    }
    (body, Some(decoder.is_done()))
}

/// Reads an answer's head as it comes from a provider: its status, its fields and how long its body is said to be;
/// `None` when it is refused.
#[must_use]
pub fn answer_head(bytes: &[u8]) -> Option<(u16, usize, Option<u64>)> {
    let head = client::parse(&Bytes::copy_from_slice(bytes)).ok()?;
    Some((head.status.as_u16(), head.headers.len(), head.length))
}

/// Brings a path into its one form; `None` when it is refused.
#[must_use]
pub fn normal_path(path: &str) -> Option<Cow<'_, str>> {
    path::normalise(path).ok()
}

/// Reads a chat request's body: the model and whether a stream is asked for; `None` when it is refused.
#[must_use]
pub fn chat_request(body: &[u8]) -> Option<(Option<String>, bool)> {
    let required = [route::Field::Model, route::Field::Messages];
    content::read(body, &required, &[]).ok().map(|summary| (summary.model, summary.stream))
}

/// The tokens, in and out, that an answer in JSON tells of.
#[must_use]
pub fn usage_of_answer(json: &[u8]) -> (Option<u64>, Option<u64>) {
    let mut usage = Usage::default();
    usage.read(json);
    (usage.input, usage.output)
}

/// The tokens, in and out, that a stream tells of that arrives in pieces of `size` bytes.
#[must_use]
pub fn usage_of_stream(stream: &[u8], size: usize) -> (Option<u64>, Option<u64>) {
    let mut scanner = StreamUsage::default();
    stream.chunks(size.max(1)).for_each(|piece| scanner.feed(piece));
    let usage = scanner.usage();
    (usage.input, usage.output)
}

/// The client that a PROXY protocol header names; `None` when it is refused.
#[must_use]
pub fn proxied_client(header: &[u8], peer: SocketAddr) -> Option<SocketAddr> {
    proxy_protocol::client(header, peer).ok()
}

/// Into whose words something is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those of Anthropic's Messages.
    ToMessages,
    /// Those of OpenAI's Chat Completions.
    ToChat,
}

/// Translates a conversation for a target that uses `model`; `None` when it is refused.
#[must_use]
pub fn translated_request(way: Way, body: &[u8], model: &str) -> Option<Bytes> {
    let translation = match way {
        Way::ToMessages => Translation::ChatToMessages,
        Way::ToChat => Translation::MessagesToChat,
    };
    translation.request(body, Towards { model, knows_max_completion_tokens: true }).ok()
}

/// Translates a target's stream that arrives in pieces of `size` bytes: what the client gets, and whether it is whole.
#[must_use]
pub fn translated_stream(way: Way, stream: &[u8], size: usize) -> (Vec<u8>, bool) {
    let translation = match way {
        Way::ToMessages => Translation::MessagesToChat,
        Way::ToChat => Translation::ChatToMessages,
    };
    let mut translator = StreamTranslator::new(translation, Context { created: 0, include_usage: true });
    let mut events = Vec::new();
    let mut pieces = stream.chunks(size.max(1));
    let is_read = pieces.try_for_each(|piece| translator.feed(piece, &mut events)).is_ok();
    let is_whole = is_read && translator.finish(&mut events);
    (events, is_whole)
}
