//! Counters, for Prometheus.

use std::time::Duration;

use kt_domain::events::{Event, EventType, Verdict};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::providers::health::HealthOfTargets;

/// Upper bounds of the latency histogram, in seconds.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// What the gateway counts.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    duration: Histogram,
    upstream_faults: Family<Fault, Counter>,
    pub(crate) unrecorded: Counter,
    reloads: Family<Reload, Counter>,
}

/// What is true at one moment and not counted.
pub(crate) struct Moment<'a> {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) targets: &'a HealthOfTargets,
    /// In microseconds.
    pub(crate) now: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fault {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    accepted: bool,
}

impl Metrics {
    pub(crate) fn new(targets: &HealthOfTargets) -> Self {
        let mut registry = Registry::with_prefix("keeptrusts_gateway");
        let requests = Family::default();
        registry.register("requests", "Requests that were answered, by what was decided", requests.clone());
        let duration = Histogram::new(SECONDS);
        registry.register(
            "request_duration_seconds",
            "From a request's head to its whole answer",
            duration.clone(),
        );
        let upstream_faults = Family::default();
        registry.register(
            "upstream_faults",
            "Answers that a provider failed to give",
            upstream_faults.clone(),
        );
        let unrecorded = Counter::default();
        registry.register("unrecorded_events", "Events that the store did not take", unrecorded.clone());
        let reloads = Family::default();
        registry.register("reloads", "Attempts to change the configuration", reloads.clone());
        targets.register(&mut registry);
        Self { registry, requests, duration, upstream_faults, unrecorded, reloads }
    }

    /// Counts a request that is over.
    pub(crate) fn count(&self, event: &Event, took: Duration) {
        let outcome = match (event.event_type, event.verdict) {
            (EventType::IpDenied, _) => "ip_denied",
            (EventType::AuthFailed, _) => "auth_failed",
            (EventType::RequestTooLarge, _) => "too_large",
            (EventType::RateLimited, _) => "rate_limited",
            (_, Some(Verdict::Allow | Verdict::Redact)) => "allowed",
            _ => "blocked",
        };
        self.requests.get_or_create(&Outcome { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts an answer that a provider failed to give, by the `code` of what the client got instead.
    pub(crate) fn count_upstream_fault(&self, code: &'static str) {
        self.upstream_faults.get_or_create(&Fault { code }).inc();
    }

    /// Counts an attempt to change the configuration.
    pub(crate) fn count_reload(&self, accepted: bool) {
        self.reloads.get_or_create(&Reload { accepted }).inc();
    }

    /// All of it in the text format that Prometheus reads, with the given moment's figures beside.
    pub(crate) fn render(&self, moment: &Moment<'_>) -> String {
        let Moment { connections, in_flight, targets, now } = moment;
        let mut text = format!(
            "# HELP keeptrusts_gateway_connections Connections that are open.\n\
             # TYPE keeptrusts_gateway_connections gauge\n\
             keeptrusts_gateway_connections {connections}\n\
             # HELP keeptrusts_gateway_requests_in_flight Requests under way.\n\
             # TYPE keeptrusts_gateway_requests_in_flight gauge\n\
             keeptrusts_gateway_requests_in_flight {in_flight}\n"
        );
        targets.render_states(*now, &mut text);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
