//! `circuit_breaker`: leaving a target alone that fails again and again.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::rules::Review;
use crate::span::Span;

/// Leaves a target alone that fails again and again, each target by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Whether targets are ever left alone.
    pub enabled: bool,
    /// After how many failures in a row a target is left alone (the circuit opens). A refusal of a request, 429 among
    /// them, is no failure.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// For how long it is left alone before it is tried again (half open).
    pub open_for: Span,
    /// How many requests may try it at once then. The first that succeeds closes the circuit; one that fails opens it
    /// again.
    #[schemars(range(min = 1, max = 100))]
    pub probes: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { enabled: false, failures: 5, open_for: Span(Duration::from_secs(30)), probes: 1 }
    }
}

impl CircuitBreaker {
    pub(super) fn review(&self, review: &mut Review) {
        let is_set_up = *self != Self { enabled: self.enabled, ..Self::default() };
        if is_set_up && !review.gives("circuit_breaker", "enabled") {
            review.say(
                &codes::SWITCHED_OFF,
                "circuit_breaker",
                "`circuit_breaker` has settings and is off",
                "add `enabled: true`",
            );
        }
    }
}
