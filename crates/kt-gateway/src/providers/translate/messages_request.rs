//! A request of Chat Completions in the words of Messages.

use serde_json::{Value, json};

use super::Towards;
use super::json::{Object, copy, items, text, unreadable, untranslatable};
use crate::reply::Refusal;

/// Messages asks for a limit; this is ours for clients that give none.
const DEFAULT_MAX_TOKENS: u32 = 4096;

pub(super) fn from_chat(chat: &Value, towards: Towards<'_>) -> Result<Value, Refusal> {
    refuse_what_cannot_be_said(chat)?;
    let mut request = Object::new();
    request.insert("model".into(), towards.model.into());
    let max_tokens = ["max_completion_tokens", "max_tokens"].iter().find_map(|name| chat[*name].as_u64());
    request.insert("max_tokens".into(), max_tokens.unwrap_or(DEFAULT_MAX_TOKENS.into()).into());
    let (system, messages) = conversation(&chat["messages"])?;
    if !system.is_empty() {
        request.insert("system".into(), system.into());
    }
    request.insert("messages".into(), messages.into());
    if let Some(temperature) = chat["temperature"].as_f64() {
        // Chat Completions goes up to 2, Messages to 1.
        request.insert("temperature".into(), temperature.min(1.0).into());
    }
    copy(chat, "top_p", &mut request, "top_p");
    copy(chat, "stream", &mut request, "stream");
    match &chat["stop"] {
        Value::String(stop) => drop(request.insert("stop_sequences".into(), json!([stop]))),
        Value::Array(stops) => drop(request.insert("stop_sequences".into(), stops.clone().into())),
        _ => {}
    }
    if let Some(user) = chat["user"].as_str() {
        request.insert("metadata".into(), json!({ "user_id": user }));
    }
    add_tools(chat, &mut request)?;
    Ok(request.into())
}

fn refuse_what_cannot_be_said(chat: &Value) -> Result<(), Refusal> {
    if chat["n"].as_u64().is_some_and(|n| n != 1) {
        return Err(untranslatable("n", "there is one answer to a request"));
    }
    if chat["logprobs"] == true {
        return Err(untranslatable("logprobs", "it tells no probabilities"));
    }
    if !matches!(chat["response_format"]["type"].as_str(), None | Some("text")) {
        return Err(untranslatable(
            "response_format",
            "it guarantees no format; ask for a tool call instead",
        ));
    }
    if items(&chat["modalities"]).iter().any(|modality| modality != "text") {
        return Err(untranslatable("modalities", "it answers in text"));
    }
    for older in ["functions", "function_call"] {
        if !chat[older].is_null() {
            return Err(untranslatable(older, "it knows functions as `tools`"));
        }
    }
    if !chat["web_search_options"].is_null() {
        return Err(untranslatable("web_search_options", "it knows no tools of another vendor"));
    }
    Ok(())
}

/// The system prompt's blocks, and the messages with no two of one role in a row: answers of tools belong to the user.
fn conversation(chat: &Value) -> Result<(Vec<Value>, Vec<Value>), Refusal> {
    let mut system = Vec::new();
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    for (index, message) in items(chat).iter().enumerate() {
        let path = format!("messages[{index}]");
        let (role, mut blocks) = match message["role"].as_str() {
            Some("system" | "developer") => {
                system.extend(content(&message["content"], &path)?);
                continue;
            }
            Some("user") => ("user", content(&message["content"], &path)?),
            Some("assistant") => ("assistant", said_and_called(message, &path)?),
            Some("tool") => ("user", vec![tool_result(message, &path)?]),
            _ => return Err(unreadable(&format!("{path}.role"))),
        };
        match messages.last_mut() {
            Some((last, earlier)) if *last == role => earlier.append(&mut blocks),
            _ => messages.push((role, blocks)),
        }
    }
    let messages = messages.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    Ok((system, messages.map(|(role, content)| json!({ "role": role, "content": content })).collect()))
}

/// The blocks of a content: a text, or a list of parts. Messages takes no empty text.
fn content(content: &Value, path: &str) -> Result<Vec<Value>, Refusal> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text_block(text).into_iter().collect()),
        Value::Array(parts) => {
            let mut blocks = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                blocks.extend(block(part, &format!("{path}.content[{index}]"))?);
            }
            Ok(blocks)
        }
        _ => Err(unreadable(&format!("{path}.content"))),
    }
}

fn text_block(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({ "type": "text", "text": text }))
}

fn block(part: &Value, path: &str) -> Result<Option<Value>, Refusal> {
    match part["type"].as_str() {
        Some("text") => Ok(text_block(text(&part["text"]))),
        Some("refusal") => Ok(text_block(text(&part["refusal"]))),
        Some("image_url") => {
            let url =
                part["image_url"]["url"].as_str().ok_or_else(|| unreadable(&format!("{path}.image_url")))?;
            Ok(Some(json!({ "type": "image", "source": source(url) })))
        }
        Some("file") if part["file"]["file_data"].is_string() => {
            let source = source(text(&part["file"]["file_data"]));
            Ok(Some(json!({ "type": "document", "source": source })))
        }
        _ => Err(untranslatable(
            path,
            "it takes texts, pictures and documents whose content is in the request",
        )),
    }
}

/// A picture or document by its `data:` URL (RFC 2397), or by its address.
fn source(url: &str) -> Value {
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match data {
        Some((media_type, data)) => json!({ "type": "base64", "media_type": media_type, "data": data }),
        None => json!({ "type": "url", "url": url }),
    }
}

fn said_and_called(message: &Value, path: &str) -> Result<Vec<Value>, Refusal> {
    if !message["function_call"].is_null() {
        return Err(untranslatable(format!("{path}.function_call"), "it knows functions as `tool_calls`"));
    }
    let mut blocks = content(&message["content"], path)?;
    for (index, call) in items(&message["tool_calls"]).iter().enumerate() {
        let arguments = text(&call["function"]["arguments"]);
        let input: Value = match arguments.trim() {
            "" => json!({}),
            arguments => serde_json::from_str(arguments)
                .map_err(|_| unreadable(&format!("{path}.tool_calls[{index}].function.arguments")))?,
        };
        blocks.push(json!({
            "type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": input
        }));
    }
    Ok(blocks)
}

fn tool_result(message: &Value, path: &str) -> Result<Value, Refusal> {
    let content = content(&message["content"], path)?;
    Ok(json!({ "type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content }))
}

fn add_tools(chat: &Value, request: &mut Object) -> Result<(), Refusal> {
    let mut tools = Vec::new();
    for (index, tool) in items(&chat["tools"]).iter().enumerate() {
        if tool["type"] != "function" {
            return Err(untranslatable(format!("tools[{index}]"), "it takes functions"));
        }
        let mut translated = Object::new();
        copy(&tool["function"], "name", &mut translated, "name");
        copy(&tool["function"], "description", &mut translated, "description");
        translated.insert("input_schema".into(), json!({ "type": "object" }));
        copy(&tool["function"], "parameters", &mut translated, "input_schema");
        tools.push(Value::from(translated));
    }
    if tools.is_empty() {
        return Ok(());
    }
    request.insert("tools".into(), tools.into());
    let asked = &chat["tool_choice"];
    let mut choice = match (asked, asked["type"].as_str()) {
        (Value::String(choice), _) if choice == "none" => json!({ "type": "none" }),
        (Value::String(choice), _) if choice == "required" => json!({ "type": "any" }),
        (Value::Object(_), Some("function")) if asked["function"]["name"].is_string() => {
            json!({ "type": "tool", "name": asked["function"]["name"] })
        }
        (Value::Object(_), _) => {
            return Err(untranslatable(
                "tool_choice",
                "of the tools it takes any, or one function by its name",
            ));
        }
        _ => json!({ "type": "auto" }),
    };
    if chat["parallel_tool_calls"] == false && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    request.insert("tool_choice".into(), choice);
    Ok(())
}
