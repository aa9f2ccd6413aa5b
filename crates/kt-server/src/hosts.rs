//! By which name the API is asked. Where a name that somebody else owns was made to lead here, a page under that name would be
//! of the same origin as what it asks, and could read the answers of a server that only its visitor reaches (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kt_domain::error::{Error, ErrorKind};

use crate::failure::Failure;
use crate::layers::ASKED_BY_MACHINES;

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

/// Refuses what is asked of another name. Machines that ask how this one is use whatever they know it by.
pub(crate) async fn own_name(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    if ASKED_BY_MACHINES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match asked(&request) {
        Ok(asked) if hosts.are_asked(&asked) => next.run(request).await,
        Ok(_) => {
            let message = "The API is not known by this name. Address it as `localhost`, or have its operator list the name in \
                           `server.hosts`.";
            let error = Error::new(ErrorKind::Malformed, "unknown_host", message);
            let mut response = Failure(error).into_response();
            *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
            response
        }
        Err(error) => Failure(error).into_response(),
    }
}

/// Refuses a request that names two hosts: whoever stands in front may have gone by the other one.
pub(crate) async fn one_name(request: Request, next: Next) -> Response {
    if request.headers().get_all(HOST).iter().nth(1).is_some() {
        return Failure(invalid_host()).into_response();
    }
    next.run(request).await
}

/// The one name that is asked: the whole address comes before the header (RFC 9112 section 3.2.2).
fn asked(request: &Request) -> Result<Authority, Error> {
    let host = || request.headers().get(HOST)?.to_str().ok()?.parse().ok();
    let asked = request.uri().authority().cloned().or_else(host);
    asked.filter(|asked| !asked.as_str().contains('@')).ok_or_else(invalid_host)
}

fn invalid_host() -> Error {
    let message = "Send one `Host` with the name of this server.";
    Error::new(ErrorKind::Malformed, "invalid_host", message)
}
