//! A connection and the bytes that were read from it but not used yet.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsStream;

/// How much room an empty buffer is made with, in bytes: most heads, and most small messages, fit.
const FIRST_ROOM: usize = 4 * 1024;
/// How much room is made for what did not fit, in bytes.
const READ_ROOM: usize = 16 * 1024;
/// How much room a read is given at least, in bytes.
const MIN_READ_ROOM: usize = 1024;
/// How many bytes may wait unread while an answer is under way; a client that pipelines more has to wait.
const MAX_PIPELINED: usize = 64 * 1024;

/// A TCP connection, encrypted or not.
#[derive(Debug)]
pub(crate) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with its read buffer.
#[derive(Debug)]
pub(crate) struct Transport {
    io: Io,
    /// Bytes that were read and not used.
    pub(crate) buffer: BytesMut,
    /// Whether the last read filled all the room it had, so that more is likely to be there.
    is_flowing: bool,
}

impl Transport {
    pub(crate) fn new(io: Io) -> Self {
        Self { io, buffer: BytesMut::new(), is_flowing: false }
    }

    /// Reads once; makes room for `room` bytes when there is little left; gives how many came, 0 at the end of the connection.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if let Io::Plain(tcp) = &self.io
            && self.buffer.is_empty()
            && tcp.poll_read_ready(cx)?.is_pending()
        {
            // An idle connection holds no buffer.
            self.buffer = BytesMut::new();
            return Poll::Pending;
        }
        if self.buffer.capacity() - self.buffer.len() < MIN_READ_ROOM {
            let usual = if self.is_flowing { READ_ROOM } else { FIRST_ROOM };
            self.buffer.reserve(room.max(usual));
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        let read = ready!(pin!(self.io.read_buf(&mut self.buffer)).poll(cx))?;
        self.is_flowing = read == spare;
        Poll::Ready(Ok(read))
    }

    /// Is ready once the other end has closed the connection. Bytes that come instead are kept.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.buffer.len() < MAX_PIPELINED {
            match ready!(self.poll_fill(cx, READ_ROOM)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Whether an unused connection is still good: nothing came, and its end is not known to be closed.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.buffer.is_empty()
            && match &self.io {
                Io::Plain(tcp) => is_blocked(&tcp.try_read(&mut [0])),
                Io::Tls(tls) => is_blocked(&tls.get_ref().0.try_read(&mut [0])),
            }
    }

    /// Writes `parts` one after the other, completely. `timer` bounds the wait for each piece to be taken; over TLS also for
    /// what was taken to be on its way, up to 64 KiB that are encrypted and not yet sent.
    pub(crate) async fn write_all(
        &mut self,
        parts: &[&[u8]],
        timer: &mut Timer,
        idle: Duration,
    ) -> io::Result<()> {
        let mut slices: [IoSlice<'_>; 4] = std::array::from_fn(|_| IoSlice::new(&[]));
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let mut left = &mut slices[..parts.len()];
        IoSlice::advance_slices(&mut left, 0);
        let mut armed = false;
        std::future::poll_fn(|cx| {
            loop {
                let io = Pin::new(&mut self.io);
                let step = if left.is_empty() {
                    io.poll_flush(cx).map_ok(|()| None)
                } else {
                    io.poll_write_vectored(cx, left).map_ok(Some)
                };
                match step {
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(Some(0))) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(Some(written))) => {
                        IoSlice::advance_slices(&mut left, written);
                        armed = false;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        if !armed {
                            timer.arm(idle);
                            armed = true;
                        }
                        ready!(timer.poll(cx));
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
        })
        .await
    }

    /// Says that nothing more will be written, then waits, at most `limit`, until the other end closes too, so that it
    /// can read the last answer before the connection is reset. With `discard` what still comes is read and dropped,
    /// else it is left where it is.
    pub(crate) async fn linger(mut self, discard: bool, limit: Duration) {
        let closing = async {
            std::future::poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
            if discard {
                while std::future::poll_fn(|cx| self.poll_discard(cx)).await? > 0 {}
                return Ok::<(), io::Error>(());
            }
            let tcp = match &self.io {
                Io::Plain(tcp) => tcp,
                Io::Tls(tls) => tls.get_ref().0,
            };
            while !tcp.ready(Interest::READABLE).await?.is_read_closed() {
                // Forgets that bytes can be read, without reading them.
                let _ = tcp.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
            Ok(())
        };
        // Whichever way it ends, the connection is closed.
        let _ = tokio::time::timeout(limit, closing).await;
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.clear();
        self.poll_fill(cx, MAX_PIPELINED)
    }

    /// Writes once; gives how many bytes were taken.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    /// The connection and what was read from it, for another protocol to go on with.
    pub(crate) fn into_parts(self) -> (Io, BytesMut) {
        (self.io, self.buffer)
    }
}

fn is_blocked(read: &io::Result<usize>) -> bool {
    matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// A timer that is set again and again without being made again.
#[derive(Debug)]
pub(crate) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub(crate) fn new() -> Self {
        Self(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    /// Sets it to expire `after` from now.
    pub(crate) fn arm(&mut self, after: Duration) {
        self.0.as_mut().reset(Instant::now() + after);
    }

    /// Is ready once it has expired.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
