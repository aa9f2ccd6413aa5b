//! `timeouts`: how long each phase of a request may take.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::span::Span;

/// How long each phase of a request may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a request's line and headers to arrive.
    pub request_header: Span,
    /// Between two pieces of a request's body.
    pub request_body_idle: Span,
    /// For all of a request's body, however steadily it comes.
    pub request_body: Span,
    /// For the next request on an open connection.
    pub keep_alive: Span,
    /// For the connection to a provider, TLS included.
    pub connect: Span,
    /// For the head of a provider's answer.
    pub first_byte: Span,
    /// Between two pieces of a provider's answer.
    pub upstream_idle: Span,
    /// For everything that providers do for one request, repetitions and streams included; without it, as long as the
    /// limits above allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_total: Option<Span>,
    /// For a client to take the next piece of its answer.
    pub response_idle: Span,
    /// For live requests to finish after a termination signal.
    pub drain: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |n| Span(Duration::from_secs(n));
        Self {
            request_header: seconds(10),
            request_body_idle: seconds(30),
            request_body: seconds(120),
            keep_alive: seconds(75),
            connect: seconds(5),
            first_byte: seconds(300),
            upstream_idle: seconds(120),
            upstream_total: None,
            response_idle: seconds(60),
            drain: seconds(30),
        }
    }
}
