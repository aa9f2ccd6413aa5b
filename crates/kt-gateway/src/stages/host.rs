//! By which name the gateway is addressed.

use std::net::IpAddr;

use http::uri::Authority;

use crate::exchange::Exchange;
use crate::reply::Refusal;
use crate::snapshot::AuthRules;

/// Lets a request pass that names the gateway as `listener.hosts` has it. Without such a list any name will do, unless the
/// gateway asks for no key and listens on this machine alone: then a page could get here, past its browser's rules, by a
/// name of its own that it made point here (DNS rebinding), so the name must be a local one.
pub(crate) fn check(exchange: &Exchange<'_>) -> Result<(), Refusal> {
    let snapshot = &exchange.snapshot;
    let named = exchange.head.authority.as_ref();
    if !snapshot.hosts.is_empty() {
        let is_ours = named.is_some_and(|named| snapshot.hosts.iter().any(|host| is_named(host, named)));
        return if is_ours {
            Ok(())
        } else {
            Err(misdirected("The gateway is not known by the name in the Host field."))
        };
    }
    let is_local_only = exchange.worker.is_local && matches!(snapshot.auth, AuthRules::Open(_));
    if is_local_only && !named.is_none_or(is_local) {
        return Err(misdirected(
            "Address the gateway as localhost or by its address, or have its administrator list the name in \
             `listener.hosts`.",
        ));
    }
    Ok(())
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
