//! `rate_limits`: how much may be asked for, by whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much may be asked for. A request has to keep within every limit that concerns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// For all clients together.
    pub total: Rates,
    /// For each key by itself.
    pub per_key: Rates,
    /// For each source address by itself, as `ip_allowlist` sees it; an IPv6 network of 64 bits counts as one address.
    pub per_address: Rates,
    /// How many tokens an answer is taken to have before it is there, when the request does not limit it.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub assumed_output_tokens: u32,
    /// How many tokens each thing is taken to have that a request names and does not hold, as budgets are claimed: a picture or
    /// file elsewhere, a conversation that the provider keeps.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub assumed_reference_tokens: u32,
    /// What happens while the Redis in which several gateways count together does not answer. Without Redis a gateway
    /// counts in its own memory.
    pub on_failure: OnCountingFailure,
}

/// How much may be asked for by one of those who are counted. What is not given is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Requests a minute. They may come all at once, and then at the rate at which a minute's worth is spread evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, of prompts and answers together. They are estimated before a request is forwarded and settled
    /// once the provider has told how many there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub tokens_per_minute: Option<u32>,
    /// Requests under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent: Option<u32>,
}

/// What happens while gateways cannot count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCountingFailure {
    /// Each counts for itself, so that all together let through at most as many times the limit as there are gateways.
    Local,
    /// Requests that a limit concerns are answered 503 `limits_unavailable`.
    Refuse,
    /// Nothing is limited.
    Allow,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            total: Rates::default(),
            per_key: Rates::default(),
            per_address: Rates::default(),
            assumed_output_tokens: 1024,
            assumed_reference_tokens: 20_000,
            on_failure: OnCountingFailure::Local,
        }
    }
}

impl Rates {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
