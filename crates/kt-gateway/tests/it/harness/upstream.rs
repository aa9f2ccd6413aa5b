//! A provider of the tests' own, which counts and keeps every byte that it is sent.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

/// What the provider answers unless a test says otherwise.
const ANSWER: &str =
    r#"{"id":"c","object":"chat.completion","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    KeepOpen,
    Close,
}

type Behaviour = Arc<dyn Fn(&Received, &mut TcpStream) -> io::Result<Then> + Send + Sync>;

/// A provider, on a port of its own until the test is over.
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

struct Seen {
    requests: Mutex<Vec<Received>>,
    bytes: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    behaviour: RwLock<Behaviour>,
}

impl Received {
    pub(crate) fn request_line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }

    /// Name, in lower case, and value of each header field, in order.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers().into_iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Arc::new(Seen {
            requests: Mutex::default(),
            bytes: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            behaviour: RwLock::new(Arc::new(|_, client| answer(client, "200 OK", "", ANSWER))),
        });
        let accepting = Arc::clone(&seen);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&accepting);
                seen.connections.fetch_add(1, Ordering::SeqCst);
                seen.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // A connection that breaks off is over, like any other.
                    let _ = seen.serve(connection);
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every whole request that came.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The only request that came.
    pub(crate) fn only_request(&self) -> Received {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// How many bytes came, also of requests that did not come whole.
    pub(crate) fn bytes(&self) -> usize {
        self.seen.bytes.load(Ordering::SeqCst)
    }

    /// How many connections were ever made.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub(crate) fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Answers every request from now on by `behaviour`, which writes to the connection as it likes.
    pub(crate) fn behave(
        &self,
        behaviour: impl Fn(&Received, &mut TcpStream) -> io::Result<Then> + Send + Sync + 'static,
    ) {
        *self.seen.behaviour.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(behaviour);
    }

    /// Answers every request from now on with exactly these bytes, then closes or keeps the connection.
    pub(crate) fn answer_with(&self, bytes: impl Into<Vec<u8>>, then: Then) {
        let bytes = bytes.into();
        self.behave(move |_, client| client.write_all(&bytes).map(|()| then));
    }

    /// Answers every request from now on with a stream that goes on for as long as somebody takes it, `piece` after `piece`.
    pub(crate) fn stream_endlessly(&self, piece: impl Into<Vec<u8>>, pause: Duration) {
        let piece = piece.into();
        self.behave(move |_, client| {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")?;
            while client.write_all(&piece).is_ok() {
                thread::sleep(pause);
            }
            Ok(Then::Close)
        });
    }

    /// Answers every request from now on with this status, these further header lines (each with its CRLF) and body.
    pub(crate) fn answer_as(&self, status: &'static str, fields: &'static str, body: &'static str) {
        self.behave(move |_, client| answer(client, status, fields, body));
    }
}

impl Seen {
    fn serve(&self, mut connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut buffer = Vec::new();
        while let Some(received) = self.receive(&mut connection, &mut buffer)? {
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(received.clone());
            let behaviour = Arc::clone(&self.behaviour.read().unwrap_or_else(PoisonError::into_inner));
            if behaviour(&received, &mut connection)? == Then::Close {
                break;
            }
        }
        Ok(())
    }

    /// Waits for a whole request; `None` when the connection was closed.
    fn receive(&self, connection: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Received>> {
        loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
                let mut received = Received { head, body: Vec::new() };
                let length =
                    received.header("content-length").map_or(0, |length| length.parse().unwrap_or(0));
                if buffer.len() >= end + 4 + length {
                    received.body = buffer[end + 4..end + 4 + length].to_vec();
                    buffer.drain(..end + 4 + length);
                    return Ok(Some(received));
                }
            }
            let mut piece = [0; 16 * 1024];
            let length = connection.read(&mut piece)?;
            if length == 0 {
                return Ok(None);
            }
            self.bytes.fetch_add(length, Ordering::SeqCst);
            buffer.extend_from_slice(&piece[..length]);
        }
    }
}

fn answer(client: &mut TcpStream, status: &str, fields: &str, body: &str) -> io::Result<Then> {
    let length = body.len();
    let type_ = if fields.contains("Content-Type") { "" } else { "Content-Type: application/json\r\n" };
    client.write_all(
        format!("HTTP/1.1 {status}\r\n{type_}Content-Length: {length}\r\n{fields}\r\n{body}").as_bytes(),
    )?;
    Ok(Then::KeepOpen)
}
