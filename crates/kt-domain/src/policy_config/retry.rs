//! `retry`: what happens when a target gives no usable answer.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::rules::Review;
use crate::span::Span;

/// What happens when a target gives no usable answer. Nothing is tried again once a byte of an answer has reached the
/// client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How often a request is sent once more, to the same target or to another.
    #[schemars(range(min = 0, max = 10))]
    pub max_retries: u32,
    /// The longest wait before the first repetition at the same target; it doubles with each. The wait itself is drawn
    /// at random between nothing and this, so that clients do not come back all at once.
    pub base_delay: Span,
    /// The longest wait of all, and the longest `Retry-After` that is waited for.
    pub max_delay: Span,
    /// The faults after which the same target is asked again. In those given by default the provider has not begun to
    /// work on the request.
    pub on: Vec<FaultKind>,
    /// The faults after which another target is asked, at once.
    pub fallback_on: Vec<FaultKind>,
}

/// How a target can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No connection could be made.
    Connect,
    /// It answered 429.
    RateLimited,
    /// It answered 503 or 529: it is overloaded.
    Unavailable,
    /// It answered with another 5xx, or with something that cannot be read.
    Failed,
    /// It did not begin to answer in time.
    Timeout,
    /// It closed the connection without an answer.
    Reset,
    /// It refused the gateway's key.
    KeyRefused,
}

impl Default for Retry {
    fn default() -> Self {
        use FaultKind::{Connect, Failed, KeyRefused, RateLimited, Reset, Timeout, Unavailable};
        Self {
            max_retries: 2,
            base_delay: Span(Duration::from_millis(250)),
            max_delay: Span(Duration::from_secs(5)),
            on: vec![Connect, RateLimited, Unavailable],
            fallback_on: vec![Connect, RateLimited, Unavailable, Failed, Timeout, Reset, KeyRefused],
        }
    }
}

impl Retry {
    pub(super) fn review(&self, review: &mut Review) {
        if self.max_delay < self.base_delay {
            review.say(
                &codes::OUT_OF_RANGE,
                "retry.max_delay",
                format!(
                    "`retry.max_delay` ({}) is shorter than `retry.base_delay` ({})",
                    self.max_delay, self.base_delay
                ),
                "make it at least as long",
            );
        }
    }
}
