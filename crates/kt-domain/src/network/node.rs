//! An address as proxies write it: bare, in brackets, with a port.
//!
//! The standard library's readers are strict where it matters here: no short forms, no leading zeros, no zone ids.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads an entry of `X-Forwarded-For` or the value of a header like `X-Real-IP`: `1.2.3.4`, `1.2.3.4:80`,
/// `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:443`.
pub(super) fn written_freely(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| with_port(text, is_port))
}

/// Reads a `node` of RFC 7239 section 6, if it is an address: IPv6 in brackets only, the port a number or an
/// obfuscated identifier.
pub(super) fn of_rfc7239(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    with_port(text, |port| is_port(port) || is_obfuscated(port))
}

/// Reads an IPv4 address or an IPv6 address in brackets, either with or without a port that `accepts`.
fn with_port(text: &str, accepts: impl Fn(&str) -> bool) -> Option<IpAddr> {
    let (address, rest) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        (IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), rest)
    } else {
        let (address, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), rest)
    };
    (rest.is_empty() || rest.strip_prefix(':').is_some_and(accepts)).then_some(address)
}

/// Whether `text` is a port: one to five digits, at most 65535.
fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Whether `text` is an obfuscated identifier (RFC 7239 section 6.3).
fn is_obfuscated(text: &str) -> bool {
    text.strip_prefix('_').is_some_and(|name| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    })
}
