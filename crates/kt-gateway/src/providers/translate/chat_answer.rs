//! An answer of Messages in the words of Chat Completions.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::json::{items, text};

pub(super) fn from_messages(answer: &Value, context: Context) -> Option<Value> {
    let blocks = answer["content"].as_array()?;
    let mut said = String::new();
    let mut calls = Vec::new();
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => said += text(&block["text"]),
            Some("tool_use") => calls.push(json!({
                "id": block["id"],
                "type": "function",
                "function": { "name": block["name"], "arguments": block["input"].to_string() },
            })),
            _ => {}
        }
    }
    let mut message = json!({ "role": "assistant", "content": null, "refusal": null });
    if !said.is_empty() || calls.is_empty() {
        message["content"] = said.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Some(json!({
        "id": answer["id"],
        "object": "chat.completion",
        "created": context.created,
        "model": answer["model"],
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish_reason(answer["stop_reason"].as_str()),
        }],
        "usage": usage(&answer["usage"]),
    }))
}

/// Why an answer ended.
pub(super) fn finish_reason(stop_reason: Option<&str>) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        _ => "stop",
    }
}

/// Messages counts apart what was read from a cache and written to it; Chat Completions counts all of the prompt.
pub(super) fn usage(usage: &Value) -> Value {
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let cached = count("cache_read_input_tokens");
    let written = count("cache_creation_input_tokens");
    let prompt = count("input_tokens").saturating_add(written).saturating_add(cached);
    let completion = count("output_tokens");
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "prompt_tokens_details": { "cached_tokens": cached },
    })
}

/// A refusal in OpenAI's shape.
pub(super) fn error(kind: Option<&str>, message: &str) -> Value {
    json!({ "error": { "message": message, "type": kind.unwrap_or("api_error"), "param": null, "code": kind } })
}

/// The models of Anthropic's list, as OpenAI's list has them.
pub(crate) fn models(list: &Value) -> Vec<Value> {
    let model = |model: &Value| {
        let created = text(&model["created_at"]).parse().map_or(0, Timestamp::as_second);
        json!({ "id": model["id"], "object": "model", "created": created, "owned_by": "anthropic" })
    };
    items(&list["data"]).iter().map(model).collect()
}
