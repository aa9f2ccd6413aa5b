//! Under which names this console is asked: no link, cookie or origin of it belongs to any other host (ATTACKS I52).

use axum::http::header;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use url::{Origin, Url};

use crate::Doors;

/// The names of this machine for itself. No name server can lead a stranger's page to them under a name of its own.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The port that browsers leave out of an address of http.
const USUAL_PORT: u16 = 80;

/// The origin under which the console was asked; put there where every other host is refused.
#[derive(Clone, Debug)]
pub(super) struct OwnOrigin(Origin);

impl OwnOrigin {
    /// The origin for which a request is meant, if that is one of this console.
    pub(super) fn of(doors: &Doors, parts: &Parts) -> Option<Self> {
        let authority = parts.uri.authority().map(Authority::as_str);
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let asked = authority.or(host)?;
        let own = own_authorities(doors).into_iter().find(|own| own.eq_ignore_ascii_case(asked))?;
        let address = format!("{}://{own}", doors.console.url().scheme());
        Url::parse(&address).ok().map(|address| Self(address.origin()))
    }

    /// Whether the page of this address is one of those that were asked.
    pub(super) fn holds(&self, address: &str) -> bool {
        Url::parse(address).is_ok_and(|address| address.origin() == self.0)
    }

    /// The origin that was found before.
    pub(super) fn found(parts: &Parts) -> Option<&Self> {
        parts.extensions.get()
    }
}

/// What browsers send as `Host` for this console: its public address. Where that is of http, and so of this machine, the
/// loopback names of the listener are its own as well.
fn own_authorities(doors: &Doors) -> Vec<String> {
    let (public, host) = (doors.console.url(), doors.console.host());
    if public.scheme() == "https" {
        return vec![public.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))];
    }
    let public_port = public.port().unwrap_or(USUAL_PORT);
    let of_port = |port| LOOPBACK.into_iter().chain([host]).map(move |host| authority(host, port));
    of_port(public_port).chain(of_port(doors.console_port)).collect()
}

fn authority(host: &str, port: u16) -> String {
    if port == USUAL_PORT { host.to_owned() } else { format!("{host}:{port}") }
}
