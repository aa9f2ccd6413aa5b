//! Handing the listening sockets to a new process, so that not one connection is refused while the gateway is replaced.
//!
//! The running process waits on a Unix socket. A new one connects to it and is sent the listening sockets themselves
//! (`SCM_RIGHTS`), so both processes share one queue of waiting connections. Once the new one accepts from it, it says
//! so, and the old one stops accepting and drains.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How long the new process may take to begin.
const PATIENCE: Duration = Duration::from_mins(1);
const GREETING: u8 = b'K';
const READY: u8 = b'R';

/// Sockets taken over from a running gateway: those it listens on, in the order in which it offered them.
pub struct Inherited {
    /// The listening sockets.
    pub listeners: Vec<TcpListener>,
    old: UnixStream,
}

impl Inherited {
    /// Asks the gateway that offers its sockets at `path` for them.
    pub fn take(path: &Path) -> io::Result<Self> {
        let old = UnixStream::connect(path)?;
        old.set_read_timeout(Some(PATIENCE))?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut greeting = [0_u8];
        let received =
            recvmsg(&old, &mut [IoSliceMut::new(&mut greeting)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes != 1 || greeting != [GREETING] || received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("the running gateway did not hand over its sockets"));
        }
        let mut listeners = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                listeners.extend(sockets.map(|socket: OwnedFd| TcpListener::from(socket)));
            }
        }
        Ok(Self { listeners, old })
    }

    /// Whether a running gateway offers its sockets at `path`.
    #[must_use]
    pub fn are_offered_at(path: &Path) -> bool {
        UnixStream::connect(path).is_ok()
    }

    /// Tells the old gateway that connections are accepted here now, and that it may drain.
    pub fn confirm(mut self) -> io::Result<()> {
        self.old.write_all(&[READY])
    }
}

/// The sockets that the next process may ask for.
pub(crate) struct Offer {
    path: PathBuf,
    listeners: Arc<Mutex<Vec<TcpListener>>>,
}

impl Offer {
    /// Offers `listeners` at `path` until a new process has taken them, then calls `taken`. Only the same user can ask.
    pub(crate) fn make(
        path: PathBuf,
        listeners: Vec<TcpListener>,
        taken: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let door = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let listeners = Arc::new(Mutex::new(listeners));
        let offered = Arc::clone(&listeners);
        thread::Builder::new().name("handover".into()).stack_size(64 * 1024).spawn(move || {
            for new in door.incoming() {
                match new.and_then(|new| hand_to(new, &offered)) {
                    Ok(()) => {
                        close(&offered);
                        return taken();
                    }
                    Err(error) if has_left(&error) => {
                        tracing::debug!("a process asked for the sockets and did not take them");
                    }
                    Err(error) => tracing::warn!(%error, "the sockets could not be handed over"),
                }
            }
        })?;
        Ok(Self { path, listeners })
    }

    /// Offers them no longer and closes them: while one process holds a listening socket, clients are let into a queue
    /// that nobody serves.
    pub(crate) fn withdraw(&self) {
        if close(&self.listeners) {
            // Where it stays, whoever comes is told that nobody is there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether there was anything to close: what was handed over is closed already.
fn close(listeners: &Mutex<Vec<TcpListener>>) -> bool {
    let closed = std::mem::take(&mut *listeners.lock().unwrap_or_else(PoisonError::into_inner));
    !closed.is_empty()
}

/// Whether the other process went away, as one does that only looks whether a gateway runs.
fn has_left(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | BrokenPipe | ConnectionReset)
}

fn hand_to(mut new: UnixStream, listeners: &Mutex<Vec<TcpListener>>) -> io::Result<()> {
    send_to(&new, &listeners.lock().unwrap_or_else(PoisonError::into_inner))?;
    new.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0_u8];
    new.read_exact(&mut answer)?;
    if answer == [READY] { Ok(()) } else { Err(io::Error::other("the new process gave up")) }
}

fn send_to(new: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    if listeners.is_empty() {
        return Err(io::Error::other("the gateway is ending already"));
    }
    let sockets: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("too many sockets"));
    }
    sendmsg(new, &[IoSlice::new(&[GREETING])], &mut ancillary, SendFlags::empty())?;
    Ok(())
}
