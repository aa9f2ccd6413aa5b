//! Counters, for Prometheus.

use std::collections::BTreeSet;
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
    /// How many requests' traces were dropped before they reached the collector.
    pub(crate) telemetry_dropped: u64,
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
        registry.register(
            "unrecorded_events",
            "Events that were lost, and those of refusals that were answered before they were on disk and are recorded late",
            unrecorded.clone(),
        );
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
            (_, Some(Verdict::Block | Verdict::Escalate)) => "blocked",
            // No policy was asked: malformed, given up by its client, or come while the gateway takes none.
            (_, None) => "unserved",
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

    /// All of it in the text format of OpenMetrics, with the given moment's figures beside.
    pub(crate) fn render(&self, moment: &Moment<'_>) -> String {
        let Moment { connections, in_flight, targets, telemetry_dropped, now } = moment;
        let mut text = format!(
            "# HELP keeptrusts_gateway_connections Connections that are open.\n\
             # TYPE keeptrusts_gateway_connections gauge\n\
             keeptrusts_gateway_connections {connections}\n\
             # HELP keeptrusts_gateway_requests_in_flight Requests under way.\n\
             # TYPE keeptrusts_gateway_requests_in_flight gauge\n\
             keeptrusts_gateway_requests_in_flight {in_flight}\n\
             # HELP keeptrusts_gateway_telemetry_dropped Requests whose traces were dropped before they reached the collector.\n\
             # TYPE keeptrusts_gateway_telemetry_dropped counter\n\
             keeptrusts_gateway_telemetry_dropped_total {telemetry_dropped}\n"
        );
        targets.render_states(*now, &mut text);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The same in the text format that Prometheus had before OpenMetrics (0.0.4), where a counter is described by the name of its
/// values.
pub(crate) fn in_older_format(text: &str) -> String {
    let counters: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = String::with_capacity(text.len() + counters.len() * 16);
    for line in text.lines().filter(|line| *line != "# EOF") {
        let name = line.strip_prefix("# ").and_then(|comment| comment.split(' ').nth(1));
        match name.filter(|name| counters.contains(name)) {
            Some(name) => older.push_str(&line.replacen(name, &format!("{name}_total"), 1)),
            None => older.push_str(line),
        }
        older.push('\n');
    }
    older
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;
    use std::sync::Arc;

    use kt_domain::policy_config::CircuitBreaker;

    use super::*;
    use crate::breaker::Pass;
    use crate::providers::health::Fault;
    use crate::telemetry::Histograms;

    const INTRODUCTION: &str = "<!-- Made from the code; `KEEPTRUSTS_WRITE_REFERENCE=1 cargo test -p kt-gateway reference` writes it anew. -->

# Metrics of the gateway

## For Prometheus

`GET /metrics` on the admin listener, in the text format 0.0.4, or in that of OpenMetrics for whoever asks for it by `Accept`.

| name | kind | labels | what it is |
|---|---|---|---|
";
    const FOR_OPENTELEMETRY: &str = "
## For OpenTelemetry

Histograms, sent where `telemetry.otlp_endpoint` says, by operation, provider, model and error; tokens by `gen_ai.token.type`
(`input`, `output`).

| name | unit | what it is |
|---|---|---|
";

    /// Everything that can be counted, counted once.
    fn rendered() -> String {
        let targets = HealthOfTargets::default();
        let metrics = Metrics::new(&targets);
        let health = targets.of("t", &CircuitBreaker::default());
        health.succeeded(Pass::Closed);
        health.failed(Pass::Closed, Fault { code: "c", at: jiff::Timestamp::UNIX_EPOCH }, true);
        let event = Event::new(EventType::Decision, "e".into(), "t".into(), Arc::from("g"));
        metrics.count(&event, Duration::ZERO);
        metrics.count_upstream_fault("c");
        metrics.count_reload(true);
        metrics.render(&Moment {
            connections: 0,
            in_flight: 0,
            targets: &targets,
            telemetry_dropped: 0,
            now: 0,
        })
    }

    /// The labels of the first line of a metric's values.
    fn labels(text: &str, name: &str) -> String {
        let is_value = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        let line = text.lines().find(is_value);
        let inner = line.and_then(|line| line.split_once('{')?.1.split_once('}')).map(|(inner, _)| inner);
        let names =
            inner.into_iter().flat_map(|inner| inner.split(',')).filter_map(|pair| pair.split('=').next());
        let names: Vec<_> = names.filter(|name| *name != "le").map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }

    #[test]
    fn the_reference_page_is_the_one_in_the_docs() {
        let text = in_older_format(&rendered());
        let mut page = INTRODUCTION.to_owned();
        let described = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
        for (name, help) in described {
            let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.unwrap_or_else(|| panic!("{name} has no type"));
            let help = help.trim_end_matches('.');
            writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels(&text, name)).unwrap();
        }
        page += FOR_OPENTELEMETRY;
        for [name, unit, description] in Histograms::default().described() {
            writeln!(page, "| `{name}` | `{unit}` | {description} |").unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
        if std::env::var_os("KEEPTRUSTS_WRITE_REFERENCE").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "metrics.md is out of date: set KEEPTRUSTS_WRITE_REFERENCE=1 to write it");
    }
}
