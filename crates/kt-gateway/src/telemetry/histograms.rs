//! How long operations took and how many tokens they used, counted since the start (OpenTelemetry's conventions for
//! generative AI, 1.41).

use std::collections::HashMap;
use std::sync::Arc;

use kt_domain::events::Event;

use super::Finished;
use super::protobuf::{Message, Value};
use super::spans::{fault_of, operation, provider_name};

/// How many sets of attributes each histogram keeps apart. Clients choose the names of models, so there must be an end.
const MOST: usize = 500;

/// Bounds in seconds.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The histograms.
pub(crate) struct Histograms {
    duration: Histogram,
    first_chunk: Histogram,
    tokens: Histogram,
    is_empty: bool,
}

struct Histogram {
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    bounds: &'static [f64; 14],
    points: HashMap<Attributes, Point>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Attributes {
    operation: &'static str,
    provider: String,
    model: String,
    error: Option<String>,
    token_type: Option<&'static str>,
}

#[derive(Default)]
struct Point {
    counts: [u64; 15],
    sum: f64,
}

impl Default for Histograms {
    fn default() -> Self {
        let histogram = |name, description, unit, bounds| Histogram {
            name,
            description,
            unit,
            bounds,
            points: HashMap::new(),
        };
        Self {
            duration: histogram(
                "gen_ai.client.operation.duration",
                "How long an operation took at its provider, its stream included",
                "s",
                &SECONDS,
            ),
            first_chunk: histogram(
                "gen_ai.client.operation.time_to_first_chunk",
                "How long the head of an answer took",
                "s",
                &SECONDS,
            ),
            tokens: histogram("gen_ai.client.token.usage", "How many tokens were used", "{token}", &TOKENS),
            is_empty: true,
        }
    }
}

/// What of an event is counted, without the rest.
pub(crate) fn counted_of(event: &Event) -> Event {
    let bare = Event::new(event.event_type, String::new(), String::new(), Arc::clone(&event.gateway_id));
    Event {
        request_path: event.request_path.clone(),
        model: event.model.clone(),
        reason_code: event.reason_code.clone(),
        upstream_ms: event.upstream_ms,
        stream: event.stream,
        input_tokens: event.input_tokens,
        output_tokens: event.output_tokens,
        ..bare
    }
}

impl Histograms {
    /// Counts a request by what [`counted_of`] leaves of its event, if it was an operation of generative AI that a target was asked for.
    pub(super) fn count(&mut self, finished: &Finished) {
        let event = &finished.event;
        let Some(operation) = operation(event.request_path.as_deref().unwrap_or_default()) else { return };
        let Some(attempt) = finished.attempts.last() else { return };
        let model = attempt.target.model.as_deref().or(event.model.as_deref());
        let attributes = Attributes {
            operation,
            provider: provider_name(&attempt.target.vendor).to_owned(),
            model: model.unwrap_or_default().to_owned(),
            error: fault_of(event).map(str::to_owned),
            token_type: None,
        };
        self.is_empty = false;
        let took = finished.took.saturating_sub(attempt.began).as_secs_f64();
        self.duration.observe(attributes.clone(), took);
        if let Some(millis) = event.upstream_ms.filter(|_| event.stream == Some(true)) {
            self.first_chunk
                .observe(attributes.clone(), std::time::Duration::from_millis(millis).as_secs_f64());
        }
        for (token_type, count) in [("input", event.input_tokens), ("output", event.output_tokens)] {
            if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
                let attributes =
                    Attributes { token_type: Some(token_type), error: None, ..attributes.clone() };
                self.tokens.observe(attributes, count.into());
            }
        }
    }

    /// Name, unit and description of each.
    #[cfg(test)]
    pub(crate) fn described(&self) -> [[&'static str; 3]; 3] {
        [&self.duration, &self.first_chunk, &self.tokens].map(|own| [own.name, own.unit, own.description])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Writes all of them into `field` of their scope.
    pub(super) fn write(&self, field: u32, scope: &mut Message, [start, now]: [u64; 2]) {
        for histogram in [&self.duration, &self.first_chunk, &self.tokens] {
            if !histogram.points.is_empty() {
                scope.message(field, |metric| histogram.write(metric, [start, now]));
            }
        }
    }
}

impl Histogram {
    fn observe(&mut self, mut attributes: Attributes, value: f64) {
        if self.points.len() >= MOST && !self.points.contains_key(&attributes) {
            "_OTHER".clone_into(&mut attributes.model);
        }
        let point = self.points.entry(attributes).or_default();
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        point.counts[bucket] += 1;
        point.sum += value;
    }

    fn write(&self, metric: &mut Message, [start, now]: [u64; 2]) {
        const CUMULATIVE: u64 = 2;
        metric.text(1, self.name);
        metric.text(2, self.description);
        metric.text(3, self.unit);
        metric.message(9, |histogram| {
            for (attributes, point) in &self.points {
                histogram.message(1, |data| {
                    data.fixed(2, start);
                    data.fixed(3, now);
                    data.fixed(4, point.counts.iter().sum());
                    data.double(5, point.sum);
                    data.packed(6, point.counts.iter().copied());
                    data.packed(7, self.bounds.iter().map(|bound| bound.to_bits()));
                    attributes.write(9, data);
                });
            }
            histogram.number(2, CUMULATIVE);
        });
    }
}

impl Attributes {
    fn write(&self, field: u32, data: &mut Message) {
        let Self { operation, provider, model, error, token_type } = self;
        let known = [
            ("gen_ai.operation.name", Some(*operation)),
            ("gen_ai.provider.name", Some(provider.as_str())),
            ("gen_ai.request.model", Some(model.as_str()).filter(|model| !model.is_empty())),
            ("error.type", error.as_deref()),
            ("gen_ai.token.type", *token_type),
        ];
        for (key, value) in known {
            if let Some(value) = value {
                data.attribute(field, key, &Value::Text(value));
            }
        }
    }
}
