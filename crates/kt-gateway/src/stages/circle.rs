//! Requests that come round in a circle.

use http::header::{self, HeaderMap};

use crate::exchange::Exchange;
use crate::reply::Refusal;

/// Refuses a request that this gateway has forwarded before.
pub(crate) fn check(exchange: &Exchange<'_>) -> Result<(), Refusal> {
    if !has_passed(&exchange.head.headers, &exchange.worker.shared.gateway_id) {
        return Ok(());
    }
    let message = "The request has been here before: a provider of this gateway leads back to the gateway.";
    Err(Refusal::upstream(508, "loop_detected", message))
}

/// Whether `Via` names the gateway among those who passed the request on (RFC 9110 section 7.6.3). What others say there,
/// of any bytes, hides it not.
pub(crate) fn has_passed(headers: &HeaderMap, gateway_id: &str) -> bool {
    let lines = headers.get_all(header::VIA).iter();
    let mut hops = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    hops.any(|hop| name(hop) == Some(gateway_id.as_bytes()))
}

/// Who passed a request on: what follows the protocol.
fn name(hop: &[u8]) -> Option<&[u8]> {
    hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1)
}
