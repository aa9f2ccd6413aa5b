//! Where a gateway listens: new sockets, or those of the process whose place it takes.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::StartError;
use crate::handover::Inherited;
use crate::listener;

/// The listening sockets, new or taken over.
pub(super) struct Sockets {
    pub(super) main: TcpListener,
    pub(super) admin: Option<TcpListener>,
    pub(super) old: Option<Inherited>,
}

impl Sockets {
    pub(super) fn open(
        main: SocketAddr,
        admin: Option<SocketAddr>,
        inherited: Option<Inherited>,
    ) -> Result<Self, StartError> {
        let bind = |address| listener::bind(address).map_err(|source| StartError::Listen { address, source });
        let Some(mut old) = inherited else {
            return Ok(Self { main: bind(main)?, admin: admin.map(bind).transpose()?, old: None });
        };
        let mut taken = std::mem::take(&mut old.listeners).into_iter();
        let taken_main =
            taken.next().ok_or_else(|| io::Error::other("the running gateway handed over no socket"))?;
        let main = at_address(taken_main, main)?;
        let admin = match (admin, taken.next()) {
            (Some(address), Some(socket)) => Some(at_address(socket, address)?),
            (Some(address), None) => Some(bind(address)?),
            (None, _) => None,
        };
        Ok(Self { main, admin, old: Some(old) })
    }
}

/// The socket, if it listens on the address that was asked for: what is open to whom was judged by that.
fn at_address(socket: TcpListener, asked: SocketAddr) -> Result<TcpListener, StartError> {
    let inherited = socket.local_addr()?;
    let is_it = inherited.ip() == asked.ip() && [0, inherited.port()].contains(&asked.port());
    if is_it { Ok(socket) } else { Err(StartError::OtherAddress { asked, inherited }) }
}
