//! Translating a stream as it passes.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::json::{items, text};
use super::sse::{Events, TooLong};
use super::{Context, Translation, chat_answer, messages_answer};

/// A stream under way, from a target's words to the client's.
#[derive(Debug)]
pub(crate) struct StreamTranslator {
    events: Events,
    words: Words,
}

/// Why a stream is translated no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It cannot be read.
    Unreadable,
    /// The target said that it failed, and the client has been told in its own words.
    Failed,
}

#[derive(Debug)]
enum Words {
    ToChat(ToChat),
    ToMessages(ToMessages),
}

impl StreamTranslator {
    pub(crate) fn new(translation: Translation, context: Context) -> Self {
        let words = match translation {
            Translation::ChatToMessages => Words::ToChat(ToChat::new(context)),
            Translation::MessagesToChat => Words::ToMessages(ToMessages::default()),
        };
        Self { events: Events::default(), words }
    }

    /// Reads on, and appends what the client gets to `out`.
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Stopped> {
        let mut written = String::new();
        let mut outcome = Ok(());
        let words = &mut self.words;
        let read = self.events.feed(piece, |data| {
            if outcome.is_ok() {
                outcome = match words {
                    Words::ToChat(words) => words.event(data, &mut written),
                    Words::ToMessages(words) => words.event(data, &mut written),
                };
            }
        });
        out.extend_from_slice(written.as_bytes());
        read.map_err(|TooLong| Stopped::Unreadable).and(outcome)
    }

    /// The target's stream is over. Whether that is the end of a whole answer.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.words {
            Words::ToChat(words) => words.is_over,
            Words::ToMessages(words) => {
                let mut written = String::new();
                words.end(&mut written);
                out.extend_from_slice(written.as_bytes());
                words.is_over
            }
        }
    }
}

/// From Messages to Chat Completions.
#[derive(Debug)]
struct ToChat {
    context: Context,
    id: Value,
    model: Value,
    usage: Value,
    /// How many tools were called so far.
    calls: u64,
    is_over: bool,
}

impl ToChat {
    fn new(context: Context) -> Self {
        Self { context, id: Value::Null, model: Value::Null, usage: json!({}), calls: 0, is_over: false }
    }

    fn event(&mut self, data: &[u8], out: &mut String) -> Result<(), Stopped> {
        if self.is_over {
            return Ok(());
        }
        let event: Value = serde_json::from_slice(data).map_err(|_| Stopped::Unreadable)?;
        match event["type"].as_str() {
            Some("message_start") => {
                self.id = event["message"]["id"].clone();
                self.model = event["message"]["model"].clone();
                self.note_usage(&event["message"]["usage"]);
                self.delta(&json!({ "role": "assistant", "content": "" }), out);
            }
            Some("content_block_start") => self.block(&event["content_block"], out),
            Some("content_block_delta") => self.block_delta(&event["delta"], out),
            Some("message_delta") => {
                self.note_usage(&event["usage"]);
                let finish = chat_answer::finish_reason(event["delta"]["stop_reason"].as_str());
                self.chunk(&json!([{ "index": 0, "delta": {}, "finish_reason": finish }]), None, out);
            }
            Some("message_stop") => {
                if self.context.include_usage {
                    let usage = chat_answer::usage(&self.usage);
                    self.chunk(&json!([]), Some(&usage), out);
                }
                out.push_str("data: [DONE]\n\n");
                self.is_over = true;
            }
            Some("error") => {
                let error = &event["error"];
                let told = chat_answer::error(error["type"].as_str(), text(&error["message"]));
                write_data(&told, out);
                return Err(Stopped::Failed);
            }
            // `ping`, the end of a block, and what later versions may add.
            _ => {}
        }
        Ok(())
    }

    fn block(&mut self, block: &Value, out: &mut String) {
        match block["type"].as_str() {
            Some("text") if !text(&block["text"]).is_empty() => {
                self.delta(&json!({ "content": block["text"] }), out);
            }
            Some("tool_use") => {
                let function = json!({ "name": block["name"], "arguments": "" });
                let call = json!({ "index": self.calls, "id": block["id"], "type": "function", "function": function });
                self.calls += 1;
                self.delta(&json!({ "tool_calls": [call] }), out);
            }
            _ => {}
        }
    }

    fn block_delta(&mut self, delta: &Value, out: &mut String) {
        match delta["type"].as_str() {
            Some("text_delta") => self.delta(&json!({ "content": delta["text"] }), out),
            Some("input_json_delta") => {
                let arguments = json!({ "arguments": delta["partial_json"] });
                let call = json!({ "index": self.calls.saturating_sub(1), "function": arguments });
                self.delta(&json!({ "tool_calls": [call] }), out);
            }
            _ => {}
        }
    }

    fn note_usage(&mut self, usage: &Value) {
        for (name, count) in usage.as_object().into_iter().flatten().filter(|(_, count)| count.is_u64()) {
            self.usage[name.as_str()] = count.clone();
        }
    }

    fn delta(&self, delta: &Value, out: &mut String) {
        self.chunk(&json!([{ "index": 0, "delta": delta, "finish_reason": null }]), None, out);
    }

    fn chunk(&self, choices: &Value, usage: Option<&Value>, out: &mut String) {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.context.created,
            "model": self.model,
            "choices": choices,
        });
        if self.context.include_usage {
            chunk["usage"] = usage.cloned().unwrap_or_default();
        }
        write_data(&chunk, out);
    }
}

/// From Chat Completions to Messages.
#[derive(Debug, Default)]
struct ToMessages {
    has_begun: bool,
    /// How many blocks have begun.
    blocks: u64,
    open: Option<Open>,
    stop_reason: Option<&'static str>,
    usage: Value,
    is_over: bool,
}

/// The block that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Text,
    /// The call with this index and this id in Chat Completions.
    Call(u64, String),
}

impl ToMessages {
    fn event(&mut self, data: &[u8], out: &mut String) -> Result<(), Stopped> {
        if self.is_over {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.end(out);
            return Ok(());
        }
        let chunk: Value = serde_json::from_slice(data).map_err(|_| Stopped::Unreadable)?;
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            let status = http::StatusCode::INTERNAL_SERVER_ERROR;
            write_event("error", &messages_answer::error(status, text(&error["message"])), out);
            return Err(Stopped::Failed);
        }
        self.begin(&chunk, out);
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        let Some(choice) = items(&chunk["choices"]).first() else { return Ok(()) };
        let delta = &choice["delta"];
        for said in [&delta["content"], &delta["refusal"]] {
            if !text(said).is_empty() {
                self.open(Open::Text, &json!({ "type": "text", "text": "" }), out);
                self.block_delta(&json!({ "type": "text_delta", "text": said }), out);
            }
        }
        for call in items(&delta["tool_calls"]) {
            self.call(call, out)?;
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.stop_reason = Some(messages_answer::stop_reason(Some(reason)));
        }
        Ok(())
    }

    fn begin(&mut self, chunk: &Value, out: &mut String) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        let message = json!({
            "id": chunk["id"],
            "type": "message",
            "role": "assistant",
            "model": chunk["model"],
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": { "input_tokens": 0, "output_tokens": 0 },
        });
        write_event("message_start", &json!({ "type": "message_start", "message": message }), out);
    }

    /// A call, or a piece of the one under way. Some providers count no calls: then the id tells them apart.
    fn call(&mut self, call: &Value, out: &mut String) -> Result<(), Stopped> {
        let index = call["index"].as_u64().unwrap_or(0);
        let (id, function) = (text(&call["id"]), &call["function"]);
        let (name, partial) = (text(&function["name"]), text(&function["arguments"]));
        let goes_on = matches!(&self.open, Some(Open::Call(own, own_id))
            if *own == index && (id.is_empty() || id == own_id));
        if !goes_on {
            if id.is_empty() && name.is_empty() {
                // A piece of a call that is over has no place any more.
                return if partial.is_empty() { Ok(()) } else { Err(Stopped::Unreadable) };
            }
            let block =
                json!({ "type": "tool_use", "id": call["id"], "name": function["name"], "input": {} });
            self.open(Open::Call(index, id.to_owned()), &block, out);
        }
        if !partial.is_empty() {
            self.block_delta(&json!({ "type": "input_json_delta", "partial_json": partial }), out);
        }
        Ok(())
    }

    /// Opens a block unless it is open; the one before ends.
    fn open(&mut self, open: Open, block: &Value, out: &mut String) {
        if self.open.as_ref() == Some(&open) {
            return;
        }
        self.close(out);
        let start = json!({ "type": "content_block_start", "index": self.blocks, "content_block": block });
        write_event("content_block_start", &start, out);
        self.open = Some(open);
        self.blocks += 1;
    }

    fn block_delta(&self, delta: &Value, out: &mut String) {
        let event =
            json!({ "type": "content_block_delta", "index": self.blocks.saturating_sub(1), "delta": delta });
        write_event("content_block_delta", &event, out);
    }

    fn close(&mut self, out: &mut String) {
        if self.open.take().is_some() {
            let stop = json!({ "type": "content_block_stop", "index": self.blocks.saturating_sub(1) });
            write_event("content_block_stop", &stop, out);
        }
    }

    /// Ends the message, if its end was told: the usage comes after the reason, so the reason has waited for it.
    fn end(&mut self, out: &mut String) {
        let Some(reason) = self.stop_reason.filter(|_| !self.is_over) else { return };
        self.close(out);
        let delta = json!({ "stop_reason": reason, "stop_sequence": null });
        let usage = messages_answer::usage(&self.usage);
        write_event(
            "message_delta",
            &json!({ "type": "message_delta", "delta": delta, "usage": usage }),
            out,
        );
        write_event("message_stop", &json!({ "type": "message_stop" }), out);
        self.is_over = true;
    }
}

fn write_data(data: &Value, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "data: {data}\n\n");
}

fn write_event(name: &str, data: &Value, out: &mut String) {
    let _ = write!(out, "event: {name}\ndata: {data}\n\n");
}
