//! What a client got back.

use serde_json::Value;

/// The status of a refusal and the `code` of its body.
pub(crate) type Outcome = (u16, &'static str);

/// One final answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the order in which they came, with their names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How many `100 Continue` came before it.
    pub(crate) invitations: usize,
}

impl Answer {
    /// Reads the head of an answer, without its empty line.
    pub(super) fn parse_head(head: &[u8]) -> Self {
        let text = std::str::from_utf8(head).expect("an answer's head is text");
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a field has a name and a value");
                (name.to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        Self {
            status: status.unwrap_or_else(|| panic!("no status line: {status_line}")),
            headers,
            body: Vec::new(),
            invitations: 0,
        }
    }

    /// The only value of a header; `None` when it is missing. Two are a fault of the gateway.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} came twice");
        value
    }

    /// The headers whose name begins so, in the order in which they came.
    pub(crate) fn headers_like(&self, prefix: &str) -> Vec<(&str, &str)> {
        let named = self.headers.iter().filter(|(name, _)| name.starts_with(prefix));
        named.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    pub(crate) fn request_id(&self) -> &str {
        self.header("x-kt-request-id").expect("every answer names its request")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The `code` of the error body, once its shape was checked; an empty text for an answer that is no refusal.
    pub(crate) fn code(&self) -> String {
        if self.status < 400 {
            return String::new();
        }
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body = self.json();
        let error = &body["error"];
        let of = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("`{name}` is missing: {body}"));
        assert_eq!(of("request_id"), self.request_id(), "the body and the header name one request");
        assert!(!of("type").is_empty() && of("message").len() > 10, "{body}");
        of("code").to_owned()
    }

    /// Status and `code`, to be compared at once.
    pub(crate) fn outcome(&self) -> (u16, String) {
        (self.status, self.code())
    }
}
