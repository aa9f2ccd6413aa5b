//! A request of Messages in the words of Chat Completions.

use serde_json::{Value, json};

use super::Towards;
use super::json::{Object, copy, items, text, unreadable, untranslatable};
use crate::reply::Refusal;

pub(super) fn from_messages(messages: &Value, towards: Towards<'_>) -> Result<Value, Refusal> {
    refuse_what_cannot_be_said(messages)?;
    let mut request = Object::new();
    request.insert("model".into(), towards.model.into());
    request.insert("messages".into(), conversation(messages)?.into());
    let limit = if towards.knows_max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    copy(messages, "max_tokens", &mut request, limit);
    copy(messages, "temperature", &mut request, "temperature");
    copy(messages, "top_p", &mut request, "top_p");
    copy(messages, "stop_sequences", &mut request, "stop");
    copy(&messages["metadata"], "user_id", &mut request, "user");
    if messages["stream"] == true {
        request.insert("stream".into(), true.into());
        request.insert("stream_options".into(), json!({ "include_usage": true }));
    }
    add_tools(messages, &mut request)?;
    Ok(request.into())
}

fn refuse_what_cannot_be_said(messages: &Value) -> Result<(), Refusal> {
    let formats = [
        ("output_format", &messages["output_format"]),
        ("output_config.format", &messages["output_config"]["format"]),
    ];
    for (name, format) in formats {
        if !format.is_null() {
            return Err(untranslatable(
                name,
                "not every model guarantees a format; ask for a tool call instead",
            ));
        }
    }
    if !items(&messages["mcp_servers"]).is_empty() {
        return Err(untranslatable("mcp_servers", "it asks no servers for tools"));
    }
    if !messages["container"].is_null() {
        return Err(untranslatable("container", "it runs nothing"));
    }
    Ok(())
}

fn conversation(request: &Value) -> Result<Vec<Value>, Refusal> {
    let mut messages = Vec::new();
    let system = plain_text(&request["system"]);
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system }));
    }
    for (index, message) in items(&request["messages"]).iter().enumerate() {
        let path = format!("messages[{index}]");
        let blocks = blocks(&message["content"]).ok_or_else(|| unreadable(&format!("{path}.content")))?;
        match message["role"].as_str() {
            Some("user") => add_user(&blocks, &path, &mut messages)?,
            Some("assistant") => messages.push(assistant(&blocks, &path)?),
            _ => return Err(unreadable(&format!("{path}.role"))),
        }
    }
    Ok(messages)
}

/// A content's blocks; a text is one.
fn blocks(content: &Value) -> Option<Vec<Value>> {
    match content {
        Value::String(text) => Some(vec![json!({ "type": "text", "text": text })]),
        Value::Array(blocks) => Some(blocks.clone()),
        _ => None,
    }
}

/// The texts of a content, without anything else.
fn plain_text(content: &Value) -> String {
    let blocks = blocks(content).unwrap_or_default();
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    texts.join("\n\n")
}

/// What the user says; answers of tools come first, as messages of their own.
fn add_user(blocks: &[Value], path: &str, messages: &mut Vec<Value>) -> Result<(), Refusal> {
    let mut parts = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let path = format!("{path}.content[{index}]");
        if block["type"] == "tool_result" {
            let answer = self::blocks(&block["content"]).unwrap_or_default();
            // Chat Completions has no other way to say that a tool failed.
            let failed = if block["is_error"] == true { "Error: " } else { "" };
            let said = format!("{failed}{}", plain_text(&block["content"]));
            messages.push(json!({ "role": "tool", "tool_call_id": block["tool_use_id"], "content": said }));
            // A tool can answer with a picture; in Chat Completions only the user can show one.
            for shown in answer.iter().filter(|block| block["type"] != "text") {
                parts.push(part(shown, &path)?);
            }
        } else {
            parts.push(part(block, &path)?);
        }
    }
    if let [only] = &parts[..]
        && only["type"] == "text"
    {
        messages.push(json!({ "role": "user", "content": only["text"] }));
    } else if !parts.is_empty() {
        messages.push(json!({ "role": "user", "content": parts }));
    }
    Ok(())
}

fn part(block: &Value, path: &str) -> Result<Value, Refusal> {
    let source = &block["source"];
    match (block["type"].as_str(), source["type"].as_str()) {
        (Some("text"), _) => Ok(json!({ "type": "text", "text": text(&block["text"]) })),
        (Some("image"), Some("base64")) => {
            Ok(json!({ "type": "image_url", "image_url": { "url": data_url(source) } }))
        }
        (Some("image"), Some("url")) => {
            Ok(json!({ "type": "image_url", "image_url": { "url": source["url"] } }))
        }
        (Some("document"), Some("base64")) => {
            let name = block["title"].as_str().unwrap_or("document.pdf");
            Ok(json!({ "type": "file", "file": { "filename": name, "file_data": data_url(source) } }))
        }
        (Some("document"), Some("text")) => Ok(json!({ "type": "text", "text": text(&source["data"]) })),
        _ => Err(untranslatable(
            path,
            "it takes texts, pictures and documents whose content is in the request",
        )),
    }
}

fn data_url(source: &Value) -> String {
    format!("data:{};base64,{}", text(&source["media_type"]), text(&source["data"]))
}

fn assistant(blocks: &[Value], path: &str) -> Result<Value, Refusal> {
    let mut said = String::new();
    let mut calls = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        match block["type"].as_str() {
            Some("text") => said += text(&block["text"]),
            Some("tool_use") => calls.push(json!({
                "id": block["id"],
                "type": "function",
                "function": { "name": block["name"], "arguments": block["input"].to_string() },
            })),
            // What a model thought is signed by its own vendor and of no use to another.
            Some("thinking" | "redacted_thinking") => {}
            _ => {
                return Err(untranslatable(
                    format!("{path}.content[{index}]"),
                    "it knows texts and tool calls",
                ));
            }
        }
    }
    let mut message = Object::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), if said.is_empty() { Value::Null } else { said.into() });
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Ok(message.into())
}

fn add_tools(messages: &Value, request: &mut Object) -> Result<(), Refusal> {
    let mut tools = Vec::new();
    for (index, tool) in items(&messages["tools"]).iter().enumerate() {
        if !matches!(tool["type"].as_str(), None | Some("custom")) {
            return Err(untranslatable(format!("tools[{index}]"), "it knows no tools of another vendor"));
        }
        let mut function = Object::new();
        copy(tool, "name", &mut function, "name");
        copy(tool, "description", &mut function, "description");
        copy(tool, "input_schema", &mut function, "parameters");
        tools.push(json!({ "type": "function", "function": function }));
    }
    if tools.is_empty() {
        return Ok(());
    }
    request.insert("tools".into(), tools.into());
    let choice = &messages["tool_choice"];
    let translated = match choice["type"].as_str() {
        Some("none") => json!("none"),
        Some("any") => json!("required"),
        Some("tool") => json!({ "type": "function", "function": { "name": choice["name"] } }),
        _ => json!("auto"),
    };
    request.insert("tool_choice".into(), translated);
    if choice["disable_parallel_tool_use"] == true {
        request.insert("parallel_tool_calls".into(), false.into());
    }
    Ok(())
}
