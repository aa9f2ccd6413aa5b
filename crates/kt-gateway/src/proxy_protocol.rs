//! The PROXY protocol, versions 1 and 2: a forwarding layer that is no HTTP proxy says here who the client is.

use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest header that is taken: 16 bytes, addresses, and some type-length-values.
const MAX_HEADER: usize = 536;

/// Who may send a PROXY protocol header.
pub(crate) trait Proxies: Send + Sync {
    /// Whether every connection begins with one.
    fn is_expected(&self) -> bool;

    /// Whether `peer` may say who the client is.
    fn is_trusted(&self, peer: SocketAddr) -> bool;
}

/// Takes the header off the connection and gives the client's address; `LOCAL` and `UNKNOWN` give the peer's.
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
    let mut seen = [0_u8; MAX_HEADER];
    loop {
        tcp.readable().await.map_err(|_| "closed")?;
        let length = match tcp.peek(&mut seen).await {
            Ok(0) | Err(_) => return Err("closed"),
            Ok(length) => length,
        };
        let parsed = HeaderResult::parse(&seen[..length]);
        if parsed.is_incomplete() && length < MAX_HEADER {
            // What was peeked at is taken only with the rest; wait for that without spinning.
            wait_for_more(tcp, length).await.map_err(|_| "closed")?;
            continue;
        }
        let (client, taken) = match parsed {
            HeaderResult::V1(Ok(header)) => (client_v1(&header, peer), header.header.len()),
            HeaderResult::V2(Ok(header)) => (client_v2(&header, peer)?, header.len()),
            HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err("malformed"),
        };
        tcp.read_exact(&mut seen[..taken]).await.map_err(|_| "closed")?;
        return Ok(client);
    }
}

async fn wait_for_more(tcp: &TcpStream, seen: usize) -> io::Result<()> {
    let mut buffer = [0_u8; MAX_HEADER];
    while tcp.peek(&mut buffer).await? <= seen {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
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
