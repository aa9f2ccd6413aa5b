//! By which name the API is asked. Where a name that somebody else owns was made to lead here, a page under that name would be
//! of the same origin as what it asks, and could read the answers of a server that only its visitor reaches (DNS rebinding).

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use kt_domain::error::{Error, ErrorKind};

/// The names that the API answers to, besides those of this machine itself, which nobody can make lead elsewhere or here.
#[derive(Debug)]
pub struct Hosts {
    named: Vec<Authority>,
    /// Whether any other name will do too.
    is_open: bool,
}

impl Hosts {
    /// Those that are named; where none is, any name on a listener that other machines reach, and no other on the rest. What is
    /// no name counts for none.
    pub fn new<'a>(named: impl IntoIterator<Item = &'a str>, listener: IpAddr) -> Self {
        let named: Vec<Authority> = named.into_iter().filter_map(|name| name.parse().ok()).collect();
        let is_open = named.is_empty() && !listener.to_canonical().is_loopback();
        Self { named, is_open }
    }

    /// Refuses what is asked of another name.
    pub(crate) fn require(&self, parts: &Parts) -> Result<(), Error> {
        if self.are_asked(&asked(parts)?) {
            return Ok(());
        }
        let message = "The API is not known by this name. Address it as `localhost`, or have its operator list the name in \
                       `server.hosts`.";
        Err(Error::new(ErrorKind::Misdirected, "unknown_host", message))
    }

    fn are_asked(&self, asked: &Authority) -> bool {
        self.is_open || is_of_this_machine(asked) || self.named.iter().any(|own| is_named(own, asked))
    }
}

/// Whether `asked` is this name; one without a port is itself on every port.
fn is_named(own: &Authority, asked: &Authority) -> bool {
    own == asked || (own.port().is_none() && own.host().eq_ignore_ascii_case(asked.host()))
}

fn is_of_this_machine(asked: &Authority) -> bool {
    let host = asked.host().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Refuses a request that names two hosts: whoever stands in front may have gone by the other one.
pub(crate) fn require_one_name(headers: &HeaderMap) -> Result<(), Error> {
    if headers.get_all(HOST).iter().nth(1).is_some() { Err(invalid_host()) } else { Ok(()) }
}

/// The one name that is asked: the whole address comes before the header (RFC 9112 section 3.2.2).
fn asked(parts: &Parts) -> Result<Authority, Error> {
    let host = || parts.headers.get(HOST)?.to_str().ok()?.parse().ok();
    let asked = parts.uri.authority().cloned().or_else(host);
    asked.filter(|asked| !asked.as_str().contains('@')).ok_or_else(invalid_host)
}

fn invalid_host() -> Error {
    let message = "Send one `Host` with the name of this server.";
    Error::new(ErrorKind::Malformed, "invalid_host", message)
}
