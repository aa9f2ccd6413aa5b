//! By which name the gateway is addressed.

use std::net::IpAddr;

use http::uri::Authority;

use crate::exchange::Exchange;
use crate::reply::Refusal;
use crate::snapshot::AuthRules;
use crate::stages::page;

/// Lets a request pass that names the gateway as `listener.hosts` has it; without such a list any name will do.
pub(crate) fn check(exchange: &Exchange<'_>) -> Result<(), Refusal> {
    let hosts = &exchange.snapshot.hosts;
    let is_listed = |named| hosts.iter().any(|host| is_named(host, named));
    if hosts.is_empty() || exchange.head.authority.as_ref().is_some_and(is_listed) {
        return Ok(());
    }
    Err(misdirected("The gateway is not known by the name in the Host field."))
}

/// Refuses a page that gets here, past its browser's rules, by a name of its own that it made point here (DNS rebinding).
/// Where no names are listed, a gateway that asks for no key and listens on this machine alone answers what a page may
/// have sent under a local name only.
pub(crate) fn check_page(exchange: &Exchange<'_>) -> Result<(), Refusal> {
    let snapshot = &exchange.snapshot;
    let is_guarded = !exchange.worker.is_local
        || !matches!(snapshot.auth, AuthRules::Open(_))
        || !snapshot.hosts.is_empty();
    let head = &exchange.head;
    if is_guarded || head.authority.as_ref().is_none_or(is_local) || !page::may_have_sent(head) {
        return Ok(());
    }
    Err(misdirected(
        "Address the gateway as localhost or by its address, or have its administrator list the name in \
         `listener.hosts`.",
    ))
}

/// Whether `named` is this host; one without a port is itself on every port.
fn is_named(host: &Authority, named: &Authority) -> bool {
    host == named || (host.port().is_none() && host.host().eq_ignore_ascii_case(named.host()))
}

/// Whether this is a name or an address of this machine itself, which nobody can make point elsewhere or here.
pub(crate) fn is_local(named: &Authority) -> bool {
    let host = named.host().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(crate) fn misdirected(message: &'static str) -> Refusal {
    Refusal::invalid(421, "misdirected_request", message)
}
