//! Where a request comes from, and whether that is allowed.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use kt_domain::events::{Event, MatchedRule};
use kt_domain::network::gateway_rules::Decision;

use crate::exchange::Exchange;
use crate::reply::Refusal;
use crate::scopes::Scope;
use crate::snapshot::Snapshot;

/// Lets the request pass, with its source address settled, or refuses it without a look at its body.
pub(crate) fn check(exchange: &mut Exchange<'_>) -> Result<(), Refusal> {
    let peer = exchange.peer.address.ip();
    match decide(&exchange.snapshot, peer, &exchange.head.headers) {
        Decision::Allowed { source } => {
            exchange.settle_source(source);
            Ok(())
        }
        Decision::Denied { source, rule, range } => {
            exchange.settle_source(source);
            Err(deny(exchange.record.event(), peer, rule, range))
        }
    }
}

/// Lets the request pass the rules of its route, which it has to keep beside those for all.
pub(crate) fn check_route(exchange: &mut Exchange<'_>, route: &Scope) -> Result<(), Refusal> {
    let peer = exchange.peer.address.ip();
    match route.edge.denies(exchange.source) {
        None => Ok(()),
        Some((rule, range)) => Err(deny(exchange.record.event(), peer, rule, range)),
    }
}

/// The address that the request is counted for, or a refusal: under its peer's, a client could use up what others may, or
/// get around what it may itself.
pub(crate) fn counted(exchange: &mut Exchange<'_>) -> Result<IpAddr, Refusal> {
    let peer = exchange.peer.address.ip();
    let source = exchange.source;
    source.ok_or_else(|| deny(exchange.record.event(), peer, MatchedRule::UnresolvedSource, None))
}

/// Lets what comes from there pass to be refused for another reason than its address. Without `headers` it could not be read
/// as a request, and its address is judged if no header has a say in that.
pub(crate) fn check_unserved(
    snapshot: &Snapshot,
    peer: IpAddr,
    headers: Option<&HeaderMap>,
    event: &mut Event,
) -> Result<(), Refusal> {
    let decision = match headers {
        Some(headers) => Some(decide(snapshot, peer, headers)),
        None => snapshot.ip.decide_unread(peer),
    };
    let Some(Decision::Denied { source, rule, range }) = decision else { return Ok(()) };
    event.source_ip = source;
    Err(deny(event, peer, rule, range))
}

fn decide(snapshot: &Snapshot, peer: IpAddr, headers: &HeaderMap) -> Decision {
    match &snapshot.ip_header {
        None => snapshot.ip.decide(peer, std::iter::empty()),
        Some(name) => snapshot.ip.decide(peer, headers.get_all(name).iter().map(HeaderValue::as_bytes)),
    }
}

fn deny(event: &mut Event, peer: IpAddr, rule: MatchedRule, range: Option<Arc<str>>) -> Refusal {
    event.peer_ip = Some(kt_domain::network::cidr::canonical(peer));
    event.matched_rule = Some(rule);
    event.deny_range = range;
    Refusal::permission(
        403,
        "ip_denied",
        "Requests from your address are not allowed. Ask the gateway's administrator to allow it.",
    )
    .leaving_body_unread()
}
