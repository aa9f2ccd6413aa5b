//! The doors through which fuzz targets reach this crate's parsers. No other build has them.

use bytes::{Bytes, BytesMut};

use crate::http1::body::{Decoder, Framing, Step};
use crate::http1::head;

/// Reads a request's head as a connection would, and gives how many bytes of it were taken; `None` when it is refused or
/// not whole.
#[must_use]
pub fn request_head(bytes: &[u8]) -> Option<usize> {
    let length = head::measure(bytes, 0).ok()??;
    head::parse(&Bytes::copy_from_slice(&bytes[..length])).ok().map(|_| length)
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
