//! `telemetry`: traces and metrics for OpenTelemetry.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::base_url;
use super::codes;
use super::providers::SecretRef;
use super::rules::Review;

/// Traces and metrics, sent to an OpenTelemetry collector. No prompt and no answer is ever among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where the collector takes OTLP over HTTP with protobuf, such as `http://127.0.0.1:4318`; `/v1/traces` and
    /// `/v1/metrics` are appended. Without it nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Where the collector's key is read from; it is sent as `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretRef>,
    /// What the gateway is called in traces and metrics (`service.name`).
    #[schemars(length(min = 1, max = 200))]
    pub service_name: String,
    /// Of how many requests in a hundred the trace is sent. A trace that is joined keeps to what its beginner decided.
    #[schemars(range(min = 0, max = 100))]
    pub sample_percent: u32,
    /// The ranges (CIDR) whose `traceparent` is joined (W3C Trace Context); others begin a new trace.
    pub trusted_callers: Vec<String>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            secret_key_ref: None,
            service_name: "keeptrusts-gateway".into(),
            sample_percent: 100,
            trusted_callers: Vec::new(),
        }
    }
}

impl Telemetry {
    pub(super) fn review(&self, review: &mut Review) {
        review.ranges("telemetry.trusted_callers", &self.trusted_callers);
        if let Some(endpoint) = &self.otlp_endpoint {
            base_url::review("telemetry.otlp_endpoint", endpoint, review);
        } else if review.keys_of("telemetry").next().is_some() {
            review.say(
                &codes::SWITCHED_OFF,
                "telemetry",
                "`telemetry` has settings and no `otlp_endpoint`: nothing is sent",
                "add `otlp_endpoint`, such as `http://127.0.0.1:4318`",
            );
        }
        if let Some(secret) = &self.secret_key_ref {
            secret.review("telemetry.secret_key_ref", review);
        }
    }
}
