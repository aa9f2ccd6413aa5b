//! HTTP/1.1 as RFC 9112 wants it and no laxer: one request in gives at most one out.
//!
//! The header block is parsed by `httparse`; what surrounds it (framing, deadlines, answers to what is malformed) is
//! here, because a library that answers for itself, or forgives, cannot give the promises of a security gateway. Both
//! sides of the proxy share it: [`connection`] serves clients, [`client`] asks providers.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod connection;
mod date;
pub(crate) mod head;
mod lines;
pub(crate) mod transport;

#[cfg(test)]
mod tests;
