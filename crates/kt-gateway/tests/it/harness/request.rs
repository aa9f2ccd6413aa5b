//! Requests, made up header by header.

/// The body of a small chat request.
pub(crate) const CHAT: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;

/// One HTTP/1.1 request, written exactly as it is put together.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let request = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
        };
        request.header("Host", "localhost")
    }

    /// A chat completion that every gateway of these tests accepts.
    pub(crate) fn chat() -> Self {
        Self::new("POST", "/v1/chat/completions").json(CHAT)
    }

    /// A preflight for a chat completion.
    pub(crate) fn preflight(origin: &str) -> Self {
        Self::new("OPTIONS", "/v1/chat/completions")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
    }

    /// Adds a line to the header fields.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Takes all lines of a header field away.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self
    }

    /// Sends `body` as JSON.
    pub(crate) fn json(self, body: impl AsRef<[u8]>) -> Self {
        self.without("Content-Type").header("Content-Type", "application/json").body(body)
    }

    /// Sends `body`, with its length.
    pub(crate) fn body(self, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut request = self.without("Content-Length").header("Content-Length", body.len().to_string());
        body.clone_into(&mut request.body);
        request
    }

    /// Sends `body` in chunks of at most `size` bytes.
    pub(crate) fn chunked(self, body: impl AsRef<[u8]>, size: usize) -> Self {
        let mut request = self.without("Content-Length").header("Transfer-Encoding", "chunked");
        request.body = chunks(body.as_ref(), size);
        request
    }

    /// The request's line and header fields, the empty line included.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The whole request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut framed = Vec::with_capacity(body.len() + 64);
    for chunk in body.chunks(size) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}
