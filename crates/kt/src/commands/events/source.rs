//! Where events are read from: the files of a gateway on this machine, or the admin listener of one that runs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use kt_store::event_log::{EventQuery, query};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::commands::reading::printable;
use crate::failure::Failure;

/// How long an admin listener may take to connect, and for each part of its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than any page: 1,000 events.
const ANSWER_LIMIT: u64 = 64 << 20;

pub(super) enum Source {
    Directory(PathBuf),
    Admin(AdminAddress),
}

/// `http://host:port`, as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AdminAddress {
    authority: String,
}

/// The answer of `GET /v1/events`.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) events: Vec<Box<RawValue>>,
    pub(super) next_cursor: Option<String>,
}

impl std::str::FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "expected the address of an admin listener, such as http://127.0.0.1:41003".to_owned();
        let authority = text.strip_prefix("http://").ok_or_else(expected)?.trim_end_matches('/');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
        let (host, port) = authority.rsplit_once(':').ok_or_else(expected)?;
        let is_right = authority.chars().all(is_plain) && !host.is_empty() && port.parse::<u16>().is_ok();
        if is_right { Ok(Self { authority: authority.to_owned() }) } else { Err(expected()) }
    }
}

impl Source {
    /// The events that the query string `query` asks for.
    pub(super) fn page(&self, text: &str) -> Result<Page, Failure> {
        match self {
            Self::Directory(directory) => {
                let wanted: EventQuery =
                    text.parse().map_err(|problem| Failure::invalid(format!("{problem}")))?;
                parse(query(directory, &wanted)?.to_json().as_bytes())
            }
            Self::Admin(address) => {
                let answer = address.get(&format!("/v1/events?{text}")).map_err(|error| {
                    Failure::unreachable(format!(
                        "cannot reach the admin listener at {}: {error}",
                        address.authority
                    ))
                })?;
                address.body(&answer).and_then(parse)
            }
        }
    }
}

fn parse(body: &[u8]) -> Result<Page, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::failed(format!("the answer is no list of events: {error}")))
}

impl AdminAddress {
    /// One request on a connection of its own. HTTP/1.0: the answer ends with the connection, in one piece.
    fn get(&self, target: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.authority)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {target} HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n\r\n",
            self.authority
        )?;
        let mut answer = Vec::new();
        stream.take(ANSWER_LIMIT).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn body<'a>(&self, answer: &'a [u8]) -> Result<&'a [u8], Failure> {
        let split = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = split else {
            return Err(Failure::failed(format!("what answers at {} does not speak HTTP", self.authority)));
        };
        let (head, body) = (&answer[..end], &answer[end + 4..]);
        let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if status == b"200" {
            return Ok(body);
        }
        Err(Failure::failed(format!(
            "{} answered {}: {}",
            self.authority,
            String::from_utf8_lossy(status),
            printable(String::from_utf8_lossy(body).trim())
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_a_plain_origin() {
        for text in ["http://127.0.0.1:41003", "http://localhost:41003/", "http://[::1]:80"] {
            assert!(text.parse::<AdminAddress>().is_ok(), "{text}");
        }
        for text in
            ["127.0.0.1:41003", "https://127.0.0.1:41003", "http://:80", "http://host", "http://a:80/x\r\n"]
        {
            assert!(text.parse::<AdminAddress>().is_err(), "{text}");
        }
    }
}
