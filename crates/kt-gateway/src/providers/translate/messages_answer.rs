//! An answer of Chat Completions in the words of Messages.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{items, text};

pub(super) fn from_chat(answer: &Value) -> Option<Value> {
    let choice = answer["choices"].as_array()?.first()?;
    let message = choice.get("message")?;
    let mut content = Vec::new();
    for said in [&message["content"], &message["refusal"]] {
        if !text(said).is_empty() {
            content.push(json!({ "type": "text", "text": said }));
        }
    }
    for call in items(&message["tool_calls"]) {
        content.push(json!({
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": arguments(text(&call["function"]["arguments"])),
        }));
    }
    Some(json!({
        "id": answer["id"],
        "type": "message",
        "role": "assistant",
        "model": answer["model"],
        "content": content,
        "stop_reason": stop_reason(choice["finish_reason"].as_str()),
        "stop_sequence": null,
        "usage": usage(&answer["usage"]),
    }))
}

/// A call's arguments as an object. A model may have written what is no JSON; it is passed on under a name of its own.
fn arguments(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => arguments.into(),
        _ if text.trim().is_empty() => json!({}),
        _ => json!({ "_unparsed": text }),
    }
}

/// Why an answer ended.
pub(super) fn stop_reason(finish_reason: Option<&str>) -> &'static str {
    match finish_reason {
        Some("length") => "max_tokens",
        Some("tool_calls" | "function_call") => "tool_use",
        Some("content_filter") => "refusal",
        _ => "end_turn",
    }
}

pub(super) fn usage(usage: &Value) -> Value {
    let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
    let prompt = usage["prompt_tokens"].as_u64().unwrap_or(0);
    json!({
        "input_tokens": prompt.saturating_sub(cached),
        "output_tokens": usage["completion_tokens"].as_u64().unwrap_or(0),
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    })
}

/// A refusal in Anthropic's shape. Statuses that its API does not name are of the kind that it has for all of 4xx.
pub(super) fn error(status: StatusCode, message: &str) -> Value {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": message } })
}

/// The models of OpenAI's list, as Anthropic's list has them: one page, and no other.
pub(crate) fn anthropic_models(models: &[Value]) -> Value {
    let id_of = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
    json!({
        "data": models.iter().map(anthropic_model).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": id_of(models.first()),
        "last_id": id_of(models.last()),
    })
}

/// A model of OpenAI's list, as Anthropic's API has it. What has no date was made at the beginning of time there too.
pub(crate) fn anthropic_model(model: &Value) -> Value {
    let created = Timestamp::from_second(model["created"].as_i64().unwrap_or(0)).unwrap_or_default();
    json!({
        "type": "model",
        "id": model["id"],
        "display_name": model["id"],
        "created_at": created.to_string(),
    })
}
