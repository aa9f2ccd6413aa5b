//! Reading the head of a request, strictly.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, StatusCode};

use super::body::Framing;
use super::lines::{Block, find_end};

/// The longest request target that is taken, in bytes; RFC 9110 section 4.1 asks for 8000 at least.
pub(crate) const MAX_TARGET_BYTES: usize = 16 * 1024;
/// The longest header field that is taken, in bytes.
pub(crate) const MAX_FIELD_BYTES: usize = 16 * 1024;
/// The longest header block that is taken, in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most header fields that are taken.
pub(crate) const MAX_FIELDS: usize = 100;

/// A request's head, checked.
#[derive(Debug)]
pub(crate) struct Head {
    /// The method.
    pub(crate) method: Method,
    /// The path as it was sent, still to be normalised; `*` for `OPTIONS *`.
    pub(crate) path: String,
    /// What follows the `?`, as it was sent.
    pub(crate) query: Option<String>,
    /// The name under which the gateway was addressed, if it was.
    pub(crate) authority: Option<Authority>,
    /// The fields, without those whose name holds an underscore: some readers take `X_Real_IP` for `X-Real-IP`.
    pub(crate) headers: HeaderMap,
}

/// What a head says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    /// How the body that follows is delimited.
    pub(crate) framing: Framing,
    /// Whether the client waits for `100 Continue` before it sends its body.
    pub(crate) expects_continue: bool,
    /// Whether the connection may carry another request.
    pub(crate) keep_alive: bool,
    /// Whether the client speaks HTTP/1.1, and so understands chunks.
    pub(crate) speaks_1_1: bool,
}

/// Why a head is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadFault {
    /// The status it is answered with.
    pub(crate) status: StatusCode,
    /// The `code` of the error body.
    pub(crate) code: &'static str,
    /// What is wrong.
    pub(crate) message: &'static str,
}

impl HeadFault {
    pub(crate) const fn malformed(message: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "malformed_request", message }
    }

    pub(crate) const NO_PATH: Self = Self::malformed("The request target is no path.");

    const NO_AUTHORITY: Self =
        Self::malformed("The host that the request names is no authority (`host` or `host:port`).");

    pub(crate) const TARGET_TOO_LONG: Self = Self {
        status: StatusCode::URI_TOO_LONG,
        code: "uri_too_long",
        message: "The request target is longer than 16 KiB. Send parameters in the body.",
    };

    pub(crate) const FIELDS_TOO_LARGE: Self = Self {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        code: "headers_too_large",
        message: "The header fields are too large: at most 100 fields, 16 KiB each, 64 KiB together.",
    };
}

/// Looks for a whole head at the start of `bytes`; gives its length, or `None` while it is incomplete.
///
/// `seen` is how many bytes an earlier call has looked at.
pub(crate) fn measure(bytes: &[u8], seen: usize) -> Result<Option<usize>, HeadFault> {
    let end = match find_end(bytes, seen) {
        Block::Complete(end) => Some(end),
        Block::Partial => None,
        Block::BareLineFeed => return Err(HeadFault::malformed("A line does not end in CRLF.")),
    };
    let length = end.unwrap_or(bytes.len());
    if length > MAX_TARGET_BYTES && !bytes[..MAX_TARGET_BYTES.min(length)].contains(&b'\n') {
        return Err(HeadFault::TARGET_TOO_LONG);
    }
    if length > MAX_HEAD_BYTES {
        return Err(HeadFault::FIELDS_TOO_LARGE);
    }
    Ok(end)
}

/// Parses a whole head, its final empty line included.
pub(crate) fn parse(bytes: &Bytes) -> Result<(Head, Wire), HeadFault> {
    if memchr::memchr_iter(b'\r', bytes).any(|at| bytes.get(at + 1) != Some(&b'\n')) {
        return Err(HeadFault::malformed("A carriage return stands alone."));
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(HeadFault::malformed("The header block ends too early.")),
        Err(httparse::Error::Version) if has_blank_in_target(bytes) => {
            return Err(HeadFault::malformed("The request target holds a blank."));
        }
        Err(error) => return Err(fault_of(error)),
    }
    let minor = request.version.unwrap_or(1);
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes())
        .map_err(|_| HeadFault::malformed("The method is no token."))?;
    let headers = collect_fields(bytes, request.headers)?;
    let (path, query, target_authority) = split_target(&method, request.path.unwrap_or_default())?;
    let host = single_host(&headers)?;
    if host.is_none() && minor > 0 {
        return Err(HeadFault::malformed("The Host field is missing."));
    }
    if target_authority.is_some() && target_authority != host {
        return Err(HeadFault::malformed("The request target and the Host field name different hosts."));
    }
    let framing = framing_of(&headers, minor)?;
    if framing == Framing::Chunked && memchr::memchr(b'\t', bytes).is_some() {
        // Some readers take a tab around `chunked` for a part of the value, and so see another framing.
        return Err(HeadFault::malformed("A request with chunks must not have tabs in its header fields."));
    }
    let wire = Wire {
        framing,
        // A client of HTTP/1.0 cannot wait for it (RFC 9110 section 10.1.1).
        expects_continue: expectation(&headers)? && minor == 1,
        keep_alive: keeps_alive(&headers, minor),
        speaks_1_1: minor == 1,
    };
    Ok((Head { method, path, query, authority: host, headers }, wire))
}

/// Whether the request line has more than the two blanks that belong there: the parser then takes what stands behind the
/// second for the version.
fn has_blank_in_target(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    memchr::memchr_iter(b' ', line).nth(2).is_some()
}

fn fault_of(error: httparse::Error) -> HeadFault {
    match error {
        httparse::Error::TooManyHeaders => HeadFault::FIELDS_TOO_LARGE,
        httparse::Error::Version => HeadFault {
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            code: "http_version_not_supported",
            message: "Only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here.",
        },
        httparse::Error::HeaderName => {
            HeadFault::malformed("A header field's name is no token, is followed by a space, or is folded.")
        }
        httparse::Error::HeaderValue => {
            HeadFault::malformed("A header field's value holds a control character.")
        }
        _ => HeadFault::malformed("The request line cannot be read."),
    }
}

fn collect_fields(bytes: &Bytes, fields: &[httparse::Header<'_>]) -> Result<HeaderMap, HeadFault> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        if field.name.len() + field.value.len() > MAX_FIELD_BYTES {
            return Err(HeadFault::FIELDS_TOO_LARGE);
        }
        if field.name.contains('_') {
            continue;
        }
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| HeadFault::malformed("A header field's name is no token."))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .map_err(|_| HeadFault::malformed("A header field's value holds a control character."))?;
        headers.append(name, value);
    }
    Ok(headers)
}

type Target = (String, Option<String>, Option<Authority>);

/// Lets a request target pass that holds only characters that may stand in one as they are.
pub(crate) fn check_characters(target: &str) -> Result<(), HeadFault> {
    if target.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#') {
        return Ok(());
    }
    Err(HeadFault::malformed("The request target holds a character that must be percent-encoded."))
}

/// Splits a request target in origin-form, absolute-form or asterisk-form (RFC 9112 section 3.2).
fn split_target(method: &Method, target: &str) -> Result<Target, HeadFault> {
    check_characters(target)?;
    if target == "*" && method == Method::OPTIONS {
        return Ok(("*".to_owned(), None, None));
    }
    let (authority, rest) = match target.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority_of(authority.as_bytes())?), path)
        }
        _ => (None, target),
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (rest, None),
    };
    match (path.starts_with('/'), authority.is_some() && path.is_empty()) {
        (true, _) => Ok((path.to_owned(), query, authority)),
        (false, true) => Ok(("/".to_owned(), query, authority)),
        (false, false) => Err(HeadFault::NO_PATH),
    }
}

/// What the `Host` field says, which may be there once (RFC 9112 section 3.2).
pub(crate) fn single_host(headers: &HeaderMap) -> Result<Option<Authority>, HeadFault> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => authority_of(host.as_bytes()).map(Some),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(HeadFault::malformed("The Host field is repeated.")),
    }
}

/// Reads `host[:port]`.
fn authority_of(bytes: &[u8]) -> Result<Authority, HeadFault> {
    sound(Authority::try_from(bytes).map_err(|_| HeadFault::NO_AUTHORITY)?)
}

/// Lets an authority pass that is `host[:port]`, in brackets an address of IPv6; user information, which would hide the true
/// host, is refused.
pub(crate) fn sound(authority: Authority) -> Result<Authority, HeadFault> {
    let text = authority.as_str();
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host_is_sound, port) = if let Some((address, port)) = in_brackets {
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        (!host.is_empty() && !host.contains('['), port)
    };
    let port_is_sound = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    if text.contains('@') || !host_is_sound || !port_is_sound {
        return Err(HeadFault::NO_AUTHORITY);
    }
    Ok(authority)
}

fn is_port(digits: &str) -> bool {
    decimal(digits.as_bytes()).is_some_and(|port| u16::try_from(port).is_ok())
}

/// How the body is delimited (RFC 9112 section 6): by one `Content-Length`, by `chunked` alone, or not there.
fn framing_of(headers: &HeaderMap, minor: u8) -> Result<Framing, HeadFault> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(_), Some(_)) => {
            Err(HeadFault::malformed("Content-Length and Transfer-Encoding must not be sent together."))
        }
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err(HeadFault::malformed("Content-Length is repeated."));
            }
            decimal(length.as_bytes())
                .map(Framing::Length)
                .ok_or(HeadFault::malformed("Content-Length is no plain decimal number."))
        }
        (None, Some(coding)) => {
            if minor == 0 || codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(HeadFault::malformed(
                    "Transfer-Encoding must be `chunked` alone, once, and only in HTTP/1.1.",
                ));
            }
            Ok(Framing::Chunked)
        }
    }
}

/// Reads one or more digits and nothing else; `None` also when the number does not fit.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Whether the client waits for `100 Continue`; it can expect nothing else, however often it says so.
pub(crate) fn expectation(headers: &HeaderMap) -> Result<bool, HeadFault> {
    let mut lines = headers.get_all(header::EXPECT).iter().peekable();
    let waits = lines.peek().is_some();
    if lines.all(|line| line.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Ok(waits);
    }
    Err(HeadFault {
        status: StatusCode::EXPECTATION_FAILED,
        code: "expectation_failed",
        message: "The only expectation that is met here is `100-continue`.",
    })
}

/// Whether the connection outlives this request (RFC 9112 section 9.3).
fn keeps_alive(headers: &HeaderMap, minor: u8) -> bool {
    let mut keep = minor == 1;
    for token in connection_options(headers) {
        if token.eq_ignore_ascii_case("close") {
            return false;
        }
        keep |= token.eq_ignore_ascii_case("keep-alive");
    }
    keep
}

/// The options that the `Connection` fields list.
pub(crate) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}
