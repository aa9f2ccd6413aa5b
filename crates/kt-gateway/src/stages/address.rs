//! Where a request comes from, and whether that is allowed.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use kt_domain::events::MatchedRule;
use kt_domain::network::gateway_rules::Decision;

use crate::exchange::Exchange;
use crate::reply::Refusal;
use crate::scopes::Scope;

/// Lets the request pass, with its source address settled, or refuses it without a look at its body.
pub(crate) fn check(exchange: &mut Exchange<'_>) -> Result<(), Refusal> {
    let peer = exchange.peer.address.ip();
    let snapshot = &exchange.snapshot;
    let decision = match &snapshot.ip_header {
        None => snapshot.ip.decide(peer, std::iter::empty()),
        Some(name) => {
            let lines = exchange.head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
            snapshot.ip.decide(peer, lines)
        }
    };
    match decision {
        Decision::Allowed { source } => {
            exchange.settle_source(source);
            Ok(())
        }
        Decision::Denied { source, rule, range } => Err(deny(exchange, peer, source, rule, range)),
    }
}

/// Lets the request pass the rules of its route, which it has to keep beside those for all.
pub(crate) fn check_route(exchange: &mut Exchange<'_>, route: &Scope) -> Result<(), Refusal> {
    let peer = exchange.peer.address.ip();
    let source = exchange.source;
    match route.edge.denies(source.or(Some(peer))) {
        None => Ok(()),
        Some((rule, range)) => Err(deny(exchange, peer, source, rule, range)),
    }
}

fn deny(
    exchange: &mut Exchange<'_>,
    peer: IpAddr,
    source: Option<IpAddr>,
    rule: MatchedRule,
    range: Option<Arc<str>>,
) -> Refusal {
    exchange.settle_source(source);
    let event = exchange.record.event();
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
