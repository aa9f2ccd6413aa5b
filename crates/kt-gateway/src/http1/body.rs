//! How a message's body is delimited, and taking it off the wire (RFC 9112 sections 6 and 7).

use bytes::{Buf, BytesMut};
use http::header::HeaderName;
use memchr::memchr;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All that comes until the connection ends. Answers only.
    UntilClose,
}

/// The body is not what its framing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadFraming;

/// The longest chunk header that is taken, extensions included, in bytes; also the longest trailer section.
const MAX_CHUNK_LINE: usize = 4 * 1024;
/// A chunk size has at most this many hexadecimal digits, so that it cannot overflow.
const MAX_SIZE_DIGITS: usize = 15;

/// Takes a body out of a read buffer, piece by piece, and forgets its framing.
#[derive(Debug)]
pub(crate) struct Decoder(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are still to come.
    Length(u64),
    /// The line with the next chunk's size is to come.
    ChunkSize,
    /// So many bytes of this chunk are still to come.
    ChunkData(u64),
    /// The CRLF after a chunk is to come.
    ChunkEnd,
    /// Trailer lines, then an empty one; so many bytes of them were seen.
    Trailers(usize),
    /// Everything until the connection ends.
    UntilClose,
    /// The body is whole.
    Done,
}

/// What one call to [`Decoder::step`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This many bytes at the front of the buffer belong to the body; the caller takes them off.
    Data(usize),
    /// Nothing more can be told before more bytes come.
    Starved,
    /// The body is whole; what is left in the buffer is not part of it.
    End,
}

impl Decoder {
    /// A decoder for a body delimited by `framing`.
    pub(crate) fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Whether the whole body was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// How many bytes are known to be still to come.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Whether the end of the connection ends the body too.
    pub(crate) fn may_end_here(&self) -> bool {
        matches!(self.0, State::Done | State::UntilClose)
    }

    /// Looks at `buffer`, removing framing from its front, until body bytes stand there or nothing more can be told.
    pub(crate) fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, BadFraming> {
        loop {
            match self.0 {
                State::Done => return Ok(Step::End),
                _ if buffer.is_empty() => return Ok(Step::Starved),
                State::UntilClose => return Ok(Step::Data(buffer.len())),
                State::Length(left) => {
                    let (taken, left) = take(buffer, left);
                    self.0 = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Step::Data(taken));
                }
                State::ChunkData(left) => {
                    let (taken, left) = take(buffer, left);
                    self.0 = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Ok(Step::Data(taken));
                }
                State::ChunkEnd => {
                    if !expect_crlf(buffer)? {
                        return Ok(Step::Starved);
                    }
                    self.0 = State::ChunkSize;
                }
                State::ChunkSize => {
                    let Some(line) = line_length(buffer)? else { return Ok(Step::Starved) };
                    let size = chunk_size(&buffer[..line])?;
                    buffer.advance(line + 2);
                    self.0 = if size == 0 { State::Trailers(0) } else { State::ChunkData(size) };
                }
                State::Trailers(seen) => {
                    // Trailers are read and dropped: nothing behind the gateway may depend on them.
                    let Some(line) = line_length(buffer)? else { return Ok(Step::Starved) };
                    if seen + line > MAX_CHUNK_LINE || (line > 0 && !is_field(&buffer[..line])) {
                        return Err(BadFraming);
                    }
                    buffer.advance(line + 2);
                    self.0 = if line == 0 { State::Done } else { State::Trailers(seen + line + 2) };
                }
            }
        }
    }
}

fn take(buffer: &BytesMut, left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    (taken, left - taken as u64)
}

/// Takes the CRLF at the front of `buffer`; false when it has not all come.
fn expect_crlf(buffer: &mut BytesMut) -> Result<bool, BadFraming> {
    match buffer.as_ref() {
        [b'\r', b'\n', ..] => {
            buffer.advance(2);
            Ok(true)
        }
        [b'\r'] => Ok(false),
        _ => Err(BadFraming),
    }
}

/// The length of the line at the front of `buffer`, its CRLF not counted; `None` while its end has not come. No line may hold
/// control characters but tabs.
fn line_length(buffer: &BytesMut) -> Result<Option<usize>, BadFraming> {
    match memchr(b'\n', &buffer[..buffer.len().min(MAX_CHUNK_LINE)]) {
        Some(at) if at > 0 && buffer[at - 1] == b'\r' => {
            let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
            if buffer[..at - 1].iter().any(is_control) { Err(BadFraming) } else { Ok(Some(at - 1)) }
        }
        Some(_) => Err(BadFraming),
        None if buffer.len() >= MAX_CHUNK_LINE => Err(BadFraming),
        None => Ok(None),
    }
}

/// Whether a line is a field: a token, a colon and a value (RFC 9112 section 5).
fn is_field(line: &[u8]) -> bool {
    memchr(b':', line).is_some_and(|colon| HeaderName::from_bytes(&line[..colon]).is_ok())
}

/// Reads a chunk's size: hexadecimal digits, then nothing or an extension, which is ignored.
fn chunk_size(line: &[u8]) -> Result<u64, BadFraming> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    if digits == 0 || digits > MAX_SIZE_DIGITS || !matches!(line.get(digits), None | Some(b';')) {
        return Err(BadFraming);
    }
    Ok(line[..digits].iter().fold(0, |size, digit| size * 16 + u64::from(hex_value(*digit))))
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
