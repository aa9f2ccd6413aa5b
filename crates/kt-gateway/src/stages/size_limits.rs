//! Taking a request's body, within its limit, also when it is compressed.

use std::future::poll_fn;
use std::io::Read;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::incoming::{BodyFault, Incoming};
use crate::reply::Refusal;

/// How many gzip members or Zstandard frames make one body at most.
///
/// Without a bound, a body of nothing but empty parts would cost the start of a decoder for every few of its bytes.
const MAX_PARTS: usize = 4096;

/// Refuses a body that says of itself that it is too large, before any of it is read.
pub(crate) fn check_declared(incoming: &dyn Incoming, limit: u64) -> Result<(), Refusal> {
    check_length(incoming.declared_length().unwrap_or(0), limit)
}

/// Exactly the limit passes, one byte more does not.
pub(crate) fn check_length(length: u64, limit: u64) -> Result<(), Refusal> {
    if length > limit { Err(too_large(limit)) } else { Ok(()) }
}

/// Takes the whole body; one that turns out larger than `limit` is refused as it crosses it.
pub(crate) async fn take(incoming: &mut dyn Incoming, limit: u64) -> Result<Bytes, Refusal> {
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    let mut length = 0_u64;
    while let Some(piece) = poll_fn(|cx| incoming.poll_data(cx)).await {
        let piece = piece.map_err(refusal_of)?;
        length += piece.len() as u64;
        if length > limit {
            return Err(too_large(limit));
        }
        match first.take() {
            None if joined.is_empty() => first = Some(piece),
            None => joined.extend_from_slice(&piece),
            Some(start) => {
                let expected = incoming.declared_length().and_then(|length| usize::try_from(length).ok());
                // What was declared is within the limit; it is only believed as far as bytes have come.
                joined.reserve(expected.unwrap_or(0).min(4 * (start.len() + piece.len())));
                joined.extend_from_slice(&start);
                joined.extend_from_slice(&piece);
            }
        }
    }
    Ok(first.unwrap_or_else(|| joined.freeze()))
}

fn refusal_of(fault: BodyFault) -> Refusal {
    match fault {
        BodyFault::Malformed => Refusal::invalid(
            400,
            "malformed_request",
            "The body's chunks are malformed (RFC 9112 section 7.1).",
        ),
        BodyFault::TimedOut => {
            Refusal::invalid(408, "request_timeout", "The request's body did not arrive in time.")
        }
        BodyFault::Gone => Refusal::client_closed(),
    }
}

fn too_large(limit: u64) -> Refusal {
    Refusal::too_large(
        413,
        "request_too_large",
        format!(
            "The request's body is larger than {limit} bytes. Send less, or ask the gateway's administrator."
        ),
    )
}

/// Undoes the body's `Content-Encoding`; what comes out is held to the same limit.
pub(crate) fn decode(headers: &HeaderMap, body: Bytes, limit: u64) -> Result<Bytes, Refusal> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let (Some(coding), None) = (codings.next(), codings.next()) else {
        return if headers.contains_key(header::CONTENT_ENCODING) { Err(unsupported()) } else { Ok(body) };
    };
    let coding = coding.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    match coding.as_str() {
        "identity" | "" => Ok(body),
        "gzip" | "x-gzip" => gzip(&body, limit),
        "deflate" => deflate(&body, limit),
        "br" => brotli(&body, limit),
        "zstd" => zstd(&body, limit),
        _ => Err(unsupported()),
    }
}

/// gzip, member after member (RFC 1952 section 2.2).
fn gzip(mut body: &[u8], limit: u64) -> Result<Bytes, Refusal> {
    let mut content = Vec::new();
    for _ in 0..MAX_PARTS {
        append_within(flate2::bufread::GzDecoder::new(&mut body), limit, &mut content)?;
        if body.is_empty() {
            return Ok(content.into());
        }
    }
    Err(undecodable())
}

fn deflate(mut body: &[u8], limit: u64) -> Result<Bytes, Refusal> {
    let content = read_within(flate2::bufread::ZlibDecoder::new(&mut body), limit)?;
    if body.is_empty() { Ok(content) } else { Err(undecodable()) }
}

fn brotli(mut body: &[u8], limit: u64) -> Result<Bytes, Refusal> {
    let mut decoder = brotli_decompressor::Decompressor::new(&mut body, 4096);
    let content = read_within(&mut decoder, limit)?;
    // Asked once more after the end, it says whether it has read any further.
    decoder.read(&mut [0]).map_err(|_| undecodable())?;
    drop(decoder);
    if body.is_empty() { Ok(content) } else { Err(undecodable()) }
}

/// Zstandard, frame after frame, with the window that RFC 8878 section 3.1.1.1.2 asks every decoder to have and none larger.
fn zstd(mut body: &[u8], limit: u64) -> Result<Bytes, Refusal> {
    const MAX_WINDOW_BYTES: u64 = 8 * 1024 * 1024;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW_BYTES);
    let mut content = Vec::new();
    for _ in 0..MAX_PARTS {
        match StreamingDecoder::new_with_decoder(&mut body, &mut decoder) {
            Ok(frame) => {
                append_within(frame, limit, &mut content)?;
                let told = decoder.get_checksum_from_data();
                if told.is_some() && told != decoder.get_calculated_checksum() {
                    return Err(undecodable());
                }
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let length = usize::try_from(length).map_err(|_| undecodable())?;
                body = body.get(length..).ok_or_else(undecodable)?;
            }
            Err(_) => return Err(undecodable()),
        }
        if body.is_empty() {
            return Ok(content.into());
        }
    }
    Err(undecodable())
}

fn read_within(decoder: impl Read, limit: u64) -> Result<Bytes, Refusal> {
    let mut content = Vec::new();
    append_within(decoder, limit, &mut content)?;
    Ok(content.into())
}

/// Appends what comes out to `content`, all of which is held to the limit.
fn append_within(decoder: impl Read, limit: u64, content: &mut Vec<u8>) -> Result<(), Refusal> {
    let left = limit - content.len() as u64;
    decoder.take(left + 1).read_to_end(content).map_err(|_| undecodable())?;
    check_length(content.len() as u64, limit)
}

fn undecodable() -> Refusal {
    Refusal::invalid(400, "invalid_encoding", "The body is not what its Content-Encoding says.")
}

fn unsupported() -> Refusal {
    Refusal::invalid(
        415,
        "unsupported_encoding",
        "Content-Encoding must be one of gzip, deflate, br and zstd, once; or leave the body uncompressed.",
    )
}
