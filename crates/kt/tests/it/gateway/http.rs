//! As much of an HTTP client as these tests need.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;

/// What a chat completion is asked for with.
const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;

/// One connection.
pub(super) struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Http {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Asks for a chat completion and waits for it.
    pub(super) fn chat(&mut self) -> io::Result<Answer> {
        self.begin_chat()?;
        self.answer()
    }

    /// Asks for a chat completion.
    pub(super) fn begin_chat(&mut self) -> io::Result<()> {
        self.send("POST", "/v1/chat/completions", CHAT)
    }

    /// Asks for a chat completion, and waits until the gateway asks for its body, which is kept back.
    pub(super) fn announce_chat(&mut self) -> io::Result<()> {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nContent-Type: \
             application/json\r\nExpect: 100-continue\r\n\r\n",
            CHAT.len()
        );
        self.stream.write_all(head.as_bytes())?;
        self.wait_for("HTTP/1.1 100 Continue\r\n\r\n")
    }

    /// Sends the body that was kept back, and waits for the answer.
    pub(super) fn complete_chat(&mut self) -> io::Result<Answer> {
        self.stream.write_all(CHAT.as_bytes())?;
        self.answer()
    }

    pub(super) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, "")?;
        self.answer()
    }

    /// Sends a request with this bearer and waits for its answer.
    pub(super) fn ask(
        &mut self,
        method: &str,
        path: &str,
        bearer: Option<&str>,
        body: &str,
    ) -> io::Result<Answer> {
        let bearer = bearer.map(|bearer| format!("Authorization: Bearer {bearer}\r\n")).unwrap_or_default();
        self.send_with(method, path, &bearer, body)?;
        self.answer()
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<()> {
        self.send_with(method, path, "", body)
    }

    fn send_with(&mut self, method: &str, path: &str, lines: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{lines}");
        let request = format!("{head}Content-Type: application/json\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes())
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            self.fill()?;
        }
        answer.body = String::from_utf8_lossy(&self.buffer[..length]).into_owned();
        self.buffer.drain(..length);
        Ok(answer)
    }

    /// Waits for the head of an answer.
    pub(super) fn head(&mut self) -> io::Result<Answer> {
        let end = self.find("\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Answer { status: status.unwrap_or(0), head, body: String::new() })
    }

    /// Waits until `text` has come, and forgets everything up to its end.
    pub(super) fn wait_for(&mut self, text: &str) -> io::Result<()> {
        let at = self.find(text)?;
        self.buffer.drain(..at + text.len());
        Ok(())
    }

    fn find(&mut self, text: &str) -> io::Result<usize> {
        loop {
            let found = self.buffer.windows(text.len()).position(|window| window == text.as_bytes());
            match found {
                Some(at) => return Ok(at),
                None => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.buffer.extend_from_slice(&piece[..length]);
                Ok(())
            }
        }
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn request_id(&self) -> String {
        self.header("x-kt-request-id").unwrap().to_owned()
    }

    /// Whether the gateway closes the connection after this answer.
    pub(super) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The `code` of the error body.
    pub(super) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}
