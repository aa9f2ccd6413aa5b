//! The spans of one request: its own, and one for each try at a target (OpenTelemetry's conventions for generative
//! AI, 1.41, and for HTTP).

use std::time::Duration;

use kt_domain::events::{Event, Verdict};

use super::protobuf::{Message, Value};
use super::{Answered, Attempt, Finished};

const SERVER: u64 = 2;
const CLIENT: u64 = 3;
const FAILED: u64 = 2;

/// Which operation of generative AI a path is; `None` for everything else.
pub(super) fn operation(path: &str) -> Option<&'static str> {
    let is = |surface: &str| path.ends_with(surface);
    if is("/v1/chat/completions") || is("/v1/messages") || is("/v1/responses") {
        Some("chat")
    } else if is("/v1/completions") {
        Some("text_completion")
    } else if is("/v1/embeddings") {
        Some("embeddings")
    } else {
        None
    }
}

/// A vendor, as the conventions call it.
pub(super) fn provider_name(vendor: &str) -> &str {
    match vendor {
        "azure" => "azure.ai.openai",
        "mistral" => "mistral_ai",
        other => other,
    }
}

/// Writes the spans of a request into `field` of their scope.
pub(super) fn write(finished: &Finished, field: u32, scope: &mut Message) {
    scope.message(field, |span| server(finished, span));
    let last = finished.attempts.len().saturating_sub(1);
    for (index, attempt) in finished.attempts.iter().enumerate() {
        scope.message(field, |span| client(finished, attempt, index == last, span));
    }
}

fn server(finished: &Finished, span: &mut Message) {
    let event = &finished.event;
    let path = event.request_path.as_deref().unwrap_or_default();
    let method = event.method.as_deref().unwrap_or("_OTHER");
    span.bytes(1, &finished.trace.id);
    span.bytes(2, &finished.trace.span_id);
    span.bytes(4, &finished.trace.parent_id.map_or(Vec::new(), |parent| parent.to_vec()));
    span.text(5, format!("{method} {}", if operation(path).is_some() { path } else { "" }).trim_end());
    span.number(6, SERVER);
    times(finished, Duration::ZERO, finished.took, span);
    let mut text = |key, value: Option<&str>| {
        if let Some(value) = value {
            span.attribute(9, key, &Value::Text(value));
        }
    };
    text("http.request.method", Some(method));
    text("url.path", event.request_path.as_deref());
    text("client.address", event.source_ip.map(|ip| ip.to_string()).as_deref());
    text("keeptrusts.request_id", event.request_id.as_deref());
    text("keeptrusts.reason_code", event.reason_code.as_deref());
    text("keeptrusts.key_id", event.key_id.as_deref());
    text("keeptrusts.user_id", event.user_id.as_deref());
    text("keeptrusts.target_id", event.target_id.as_deref());
    text("keeptrusts.route", event.route.as_deref());
    text("keeptrusts.consumer_group", event.consumer_group.as_deref());
    text("keeptrusts.verdict", event.verdict.map(Verdict::as_str));
    if let Some(status) = event.status {
        span.attribute(9, "http.response.status_code", &Value::Number(status.into()));
        if status >= 500 {
            span.attribute(9, "error.type", &Value::Text(event.reason_code.as_deref().unwrap_or("_OTHER")));
            span.message(15, |state| state.number(3, FAILED));
        }
    }
}

fn client(finished: &Finished, attempt: &Attempt, is_last: bool, span: &mut Message) {
    let event = &finished.event;
    let path = event.request_path.as_deref().unwrap_or_default();
    let model = attempt.target.model.as_deref().or(event.model.as_deref());
    let fault = attempt.fault.or_else(|| fault_of(event).filter(|_| is_last));
    span.bytes(1, &finished.trace.id);
    span.bytes(2, &attempt.span_id);
    span.bytes(4, &finished.trace.span_id);
    let name = operation(path).or(event.method.as_deref()).unwrap_or_default();
    span.text(5, [name, model.unwrap_or_default()].join(" ").trim_end());
    span.number(6, CLIENT);
    times(finished, attempt.began, attempt.ended.unwrap_or(finished.took), span);
    let mut text = |key, value: Option<&str>| {
        if let Some(value) = value {
            span.attribute(9, key, &Value::Text(value));
        }
    };
    text("gen_ai.operation.name", operation(path));
    text("gen_ai.provider.name", Some(provider_name(&attempt.target.vendor)));
    text("gen_ai.request.model", model);
    text("server.address", attempt.target.origin.as_ref().map(|origin| origin.bare_host()));
    text("keeptrusts.target_id", Some(&attempt.target.id));
    text("error.type", fault);
    if let Some(origin) = &attempt.target.origin {
        span.attribute(9, "server.port", &Value::Number(origin.port().into()));
    }
    if let Some(stream) = event.stream {
        span.attribute(9, "gen_ai.request.stream", &Value::Bool(stream));
    }
    let details = &finished.details;
    if let Some(most) = details.max_tokens {
        span.attribute(9, "gen_ai.request.max_tokens", &Value::Number(most.into()));
    }
    if let Some(temperature) = details.temperature {
        span.attribute(9, "gen_ai.request.temperature", &Value::Double(temperature));
    }
    if let Some(answered) = details.answered.as_ref().filter(|_| is_last) {
        response(answered, span);
    }
    if is_last {
        let tokens = [
            ("gen_ai.usage.input_tokens", event.input_tokens),
            ("gen_ai.usage.output_tokens", event.output_tokens),
        ];
        for (key, count) in tokens {
            if let Some(count) = count {
                span.attribute(9, key, &Value::Number(count));
            }
        }
    }
    if fault.is_some() {
        span.message(15, |state| state.number(3, FAILED));
    }
}

/// What the provider says of its answer.
fn response(Answered { id, model, finish_reasons }: &Answered, span: &mut Message) {
    for (key, value) in [("gen_ai.response.id", id), ("gen_ai.response.model", model)] {
        if let Some(value) = value {
            span.attribute(9, key, &Value::Text(value));
        }
    }
    if !finish_reasons.is_empty() {
        span.attribute(9, "gen_ai.response.finish_reasons", &Value::Texts(finish_reasons));
    }
}

/// What went wrong with a request that was forwarded.
pub(super) fn fault_of(event: &Event) -> Option<&str> {
    event.reason_code.as_deref().filter(|code| code.starts_with("upstream_") || *code == "response_too_large")
}

fn times(finished: &Finished, began: Duration, ended: Duration, span: &mut Message) {
    let start = u64::try_from(finished.began.as_nanosecond()).unwrap_or(0);
    let at = |offset: Duration| start.saturating_add(u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX));
    span.fixed(7, at(began));
    span.fixed(8, at(ended));
}
