//! A client of HTTP/1.1 that writes what it is told and reads what comes, strictly.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Answer, PATIENCE, Request};

/// One connection to a gateway.
pub(crate) struct Client {
    stream: TcpStream,
    /// What was read and not used.
    buffer: Vec<u8>,
}

impl Client {
    /// Connects from `source`, an address of this machine.
    pub(crate) fn connect(gateway: SocketAddr, source: IpAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(gateway), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect(&gateway.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Writes bytes. A gateway that has refused already may take no more of them, which is no fault of a test.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        // What the gateway says is looked at, also when it did not take everything.
        let _ = self.send(request.bytes());
        if request.is_head() { self.head_answer() } else { self.answer() }
    }

    /// Waits for the next final answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head_answer();
        if answer.status == 204 || answer.status == 304 {
            return answer;
        }
        match (answer.header("content-length"), answer.header("transfer-encoding")) {
            (Some(length), None) => {
                let length: usize = length.parse().expect("a length is a number");
                answer.body = self.exactly(length);
            }
            (None, Some("chunked")) => {
                while let Some(chunk) = self.chunk() {
                    answer.body.extend_from_slice(&chunk);
                }
            }
            (None, None) => answer.body = self.rest(),
            framing => panic!("an answer is framed by {framing:?}"),
        }
        answer
    }

    /// Waits for the head of the next final answer; its body, if it has one, is still to be read.
    pub(crate) fn head_answer(&mut self) -> Answer {
        let mut invitations = 0;
        loop {
            let head = self.until(b"\r\n\r\n");
            let answer = Answer::parse_head(&head);
            match answer.status {
                100 => invitations += 1,
                101..=199 => panic!("an interim answer that nobody asked for: {answer:?}"),
                _ => return Answer { invitations, ..answer },
            }
        }
    }

    /// Waits for `100 Continue`, and nothing else.
    pub(crate) fn expect_invitation(&mut self) {
        let head = String::from_utf8(self.until(b"\r\n\r\n")).expect("an answer's head is text");
        assert_eq!(head, "HTTP/1.1 100 Continue");
    }

    /// Waits for the next chunk of a chunked body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = String::from_utf8(self.until(b"\r\n")).expect("a chunk's size is text");
        let size = usize::from_str_radix(&line, 16).expect("a chunk's size is a hexadecimal number");
        let chunk = self.exactly(size);
        assert_eq!(self.exactly(2), b"\r\n", "a chunk ends in CRLF");
        (size > 0).then_some(chunk)
    }

    /// Reads to the end of the connection, however the gateway ends it.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return rest,
                Ok(length) => rest.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return rest,
                Err(error) => panic!("the gateway keeps the connection open: {error}"),
            }
        }
    }

    /// Whether nothing more comes and the gateway leaves the connection open, as far as `moment` tells.
    pub(crate) fn is_left_open(&mut self, moment: Duration) -> bool {
        self.stream.set_read_timeout(Some(moment)).expect("a time limit can be set");
        let read = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The connection, for what only the operating system can say of it.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                let found = self.buffer[..at].to_vec();
                self.buffer.drain(..at + end.len());
                return found;
            }
            self.fill();
        }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            self.fill();
        }
        self.buffer.drain(..length).collect()
    }

    fn fill(&mut self) {
        let mut piece = [0; 16 * 1024];
        let length = self.stream.read(&mut piece).unwrap_or_else(|error| {
            panic!("no whole answer: {error}; so far {:?}", String::from_utf8_lossy(&self.buffer))
        });
        assert!(length > 0, "closed within an answer: {:?}", String::from_utf8_lossy(&self.buffer));
        self.buffer.extend_from_slice(&piece[..length]);
    }
}
