//! The PROXY protocol, versions 1 and 2: a forwarding layer that is no HTTP proxy says here who the client is.

use std::net::SocketAddr;

use memchr::memchr;
use ppp::v2::PROTOCOL_PREFIX;
use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest header of version 2 that is taken: 16 bytes, addresses, and some type-length-values.
const MAX_BINARY: usize = 536;
/// The longest header of version 1, its CRLF included.
const MAX_TEXT: usize = 107;
/// What stands before the length in a header of version 2: signature, version and command, family and protocol.
const BEFORE_LENGTH: usize = 14;

/// Who may send a PROXY protocol header.
pub(crate) trait Proxies: Send + Sync {
    /// Whether every connection begins with one.
    fn is_expected(&self) -> bool;

    /// Whether `peer` may say who the client is.
    fn is_trusted(&self, peer: SocketAddr) -> bool;
}

/// Takes the header, and not one byte more, off the connection and gives the client's address; `LOCAL` and `UNKNOWN`
/// give the peer's.
///
/// Any fault, and any sender that is not trusted, is an error: the connection is to be closed.
pub(crate) async fn read(
    tcp: &mut TcpStream,
    peer: SocketAddr,
    proxies: &dyn Proxies,
) -> Result<SocketAddr, &'static str> {
    if !proxies.is_trusted(peer) {
        return Err("the sender is not in trusted_proxies");
    }
    let mut header = Vec::with_capacity(MAX_TEXT);
    // Both versions are longer than this signature.
    take(tcp, &mut header, PROTOCOL_PREFIX.len()).await?;
    if header == PROTOCOL_PREFIX {
        take_binary(tcp, &mut header).await?;
    } else {
        take_text(tcp, &mut header).await?;
    }
    client(&header, peer)
}

/// Takes the rest of a header of version 2, which says how long it is.
async fn take_binary(tcp: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), &'static str> {
    let before_content = BEFORE_LENGTH + size_of::<u16>();
    take(tcp, header, before_content - header.len()).await?;
    let length = usize::from(u16::from_be_bytes([header[BEFORE_LENGTH], header[BEFORE_LENGTH + 1]]));
    if before_content + length > MAX_BINARY {
        return Err("too long");
    }
    take(tcp, header, length).await
}

/// Takes the rest of a header of version 1, which ends with its line. What stands behind the line is looked at, but
/// left for TLS or HTTP.
async fn take_text(tcp: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), &'static str> {
    if !header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        return Err("missing");
    }
    let mut ahead = [0; MAX_TEXT];
    while header.last() != Some(&b'\n') {
        let room = MAX_TEXT - header.len();
        if room == 0 {
            return Err("too long");
        }
        let seen = tcp.peek(&mut ahead[..room]).await.map_err(|_| "closed")?;
        let line_end = memchr(b'\n', &ahead[..seen]);
        take(tcp, header, line_end.map_or(seen, |at| at + 1).max(1)).await?;
    }
    Ok(())
}

/// Waits for `count` bytes and appends them to `header`.
async fn take(tcp: &mut TcpStream, header: &mut Vec<u8>, count: usize) -> Result<(), &'static str> {
    let start = header.len();
    header.resize(start + count, 0);
    tcp.read_exact(&mut header[start..]).await.map(drop).map_err(|_| "closed")
}

/// The client that a complete header names.
pub(crate) fn client(header: &[u8], peer: SocketAddr) -> Result<SocketAddr, &'static str> {
    if header.starts_with(PROTOCOL_PREFIX) {
        let header = v2::Header::try_from(header).map_err(|_| "malformed")?;
        return client_v2(&header, peer);
    }
    let header = v1::Header::try_from(header).map_err(|_| "malformed")?;
    Ok(client_v1(&header, peer))
}

fn client_v1(header: &v1::Header<'_>, peer: SocketAddr) -> SocketAddr {
    match header.addresses {
        v1::Addresses::Tcp4(addresses) => SocketAddr::from((addresses.source_address, addresses.source_port)),
        v1::Addresses::Tcp6(addresses) => SocketAddr::from((addresses.source_address, addresses.source_port)),
        v1::Addresses::Unknown => peer,
    }
}

fn client_v2(header: &v2::Header<'_>, peer: SocketAddr) -> Result<SocketAddr, &'static str> {
    match (header.command, header.addresses) {
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified) => Ok(peer),
        (_, v2::Addresses::IPv4(addresses)) => Ok((addresses.source_address, addresses.source_port).into()),
        (_, v2::Addresses::IPv6(addresses)) => Ok((addresses.source_address, addresses.source_port).into()),
        (_, v2::Addresses::Unix(_)) => Err("not over TCP"),
    }
}
