//! Where events are read from: the files of a gateway on this machine, the admin listener of one that runs, or a control
//! plane to which gateways deliver theirs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use kt_store::event_log::{EventQuery, query};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DATA_DIR, events_in};
use crate::api::{Api, ApiAddress};
use crate::commands::reading::printable;
use crate::environment;
use crate::failure::Failure;
use crate::output;
use crate::refusal::Refusal;

/// How long an admin listener may take to connect, and for each part of its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than any page: 1,000 events.
const ANSWER_LIMIT: u64 = 64 << 20;

/// Where events are to be read from: the first of these that is named, else the data directory here, else the control
/// plane that the environment names or where somebody is signed in.
#[derive(Args, Clone)]
pub(super) struct Origin {
    /// Ask the admin listener of a running gateway, such as <http://127.0.0.1:41003>, with the token in
    /// `KEEPTRUSTS_ADMIN_TOKEN` if that is set
    #[arg(long, value_name = "URL")]
    admin_url: Option<AdminAddress>,
    /// A gateway's data directory. Default: `./keeptrusts-data`, where it holds events
    #[arg(long, value_name = "DIR", env = "KEEPTRUSTS_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    api: ApiAddress,
}

pub(super) enum Source {
    /// An event log, which exists.
    Directory(PathBuf),
    Admin(AdminAddress),
    ControlPlane(Box<Api>),
}

/// What is asked for, by the names that all of them know.
pub(super) type Query = Vec<(&'static str, String)>;

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

impl Origin {
    pub(super) fn open(self) -> Result<Source, Failure> {
        if let Some(address) = self.admin_url {
            return Ok(Source::Admin(address));
        }
        if let Some(data_dir) = self.data_dir {
            return events_in(&data_dir).map(Source::Directory);
        }
        if self.api.is_typed() {
            return Ok(Source::ControlPlane(Box::new(self.api.open()?)));
        }
        let here = events_in(Path::new(DATA_DIR));
        match here {
            Ok(events) => {
                if self.api.is_named() {
                    output::complain(format_args!(
                        "these are the events of the gateway in {DATA_DIR}; --api-url asks the control plane"
                    ));
                }
                Ok(Source::Directory(events))
            }
            Err(_) if self.api.is_named() => Ok(Source::ControlPlane(Box::new(self.api.open()?))),
            Err(nothing) => self.api.find()?.map(|api| Source::ControlPlane(Box::new(api))).ok_or(nothing),
        }
    }
}

impl Source {
    /// The events that are asked for, the newest first.
    pub(super) fn page(&self, wanted: &Query) -> Result<Page, Failure> {
        match self {
            Self::Directory(directory) => {
                let wanted: EventQuery =
                    query_string(wanted).parse().map_err(|problem| Failure::invalid(format!("{problem}")))?;
                parse(query(directory, &wanted)?.to_json().as_bytes())
            }
            Self::Admin(address) => {
                let answer =
                    address.get(&format!("/v1/events?{}", query_string(wanted))).map_err(|error| {
                        Failure::unreachable(format!(
                            "cannot reach the admin listener at {}: {error}",
                            address.authority
                        ))
                    })?;
                address.body(&answer).and_then(parse)
            }
            Self::ControlPlane(api) => api.json("/v1/events", wanted),
        }
    }
}

/// With everything written as `%XX`, which is right for any text.
fn query_string(query: &Query) -> String {
    let encoded = |value: &str| -> String {
        value.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).map(char::from).collect()
    };
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
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
            "GET {target} HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n{}\r\n",
            self.authority,
            authorization()
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
        let (authority, said) = (&self.authority, String::from_utf8_lossy(status));
        let message = printable(&format!("{authority} answered {said}: {}", reason(body)));
        Err(match status {
            b"400" | b"422" => Failure::invalid(message),
            b"401" | b"403" => Failure::not_allowed(message),
            _ => Failure::failed(message),
        })
    }
}

/// The line of a request that shows the token of the admin listener, where there is one.
fn authorization() -> String {
    let token = environment::variable("KEEPTRUSTS_ADMIN_TOKEN");
    let token = token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
}

/// What a refusal says; all of it where that is no refusal of ours.
fn reason(body: &[u8]) -> String {
    Refusal::read(body)
        .map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), |refusal| refusal.message)
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
