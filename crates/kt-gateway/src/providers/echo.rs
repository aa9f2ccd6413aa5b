//! `echo`: a provider without a provider. It answers with what it was told, in the shapes of the real APIs, so that the
//! whole system can be tried without any key. Tokens are words here.

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::reply::{Refusal, X_SHOULD_RETRY};
use crate::stages::path::percent_decoded;
use crate::usage::Usage;

/// The model that echo lists as its own; it takes any name.
const MODEL: &str = "echo";

/// The last event of OpenAI's older streams.
const DONE: &[u8] = b"data: [DONE]\n\n";
/// How many inputs a request for embeddings or moderation may have, as many as OpenAI takes: what is answered of each is
/// hundreds of times as long as the shortest of them.
const MAX_INPUTS: usize = 2048;
/// Into how many pieces a text is cut in a stream, for the same reason.
const MAX_PIECES: usize = 2048;
/// What OpenAI's moderation looks for.
const MODERATED: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// What echo answers.
pub(crate) enum Echo {
    /// A JSON document.
    Whole(Bytes, Usage),
    /// An event stream, event by event.
    Stream(Vec<Vec<u8>>, Usage),
}

/// What is asked of echo.
pub(crate) struct Question<'a> {
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) model: Option<&'a str>,
    pub(crate) stream: bool,
    /// Makes the answer's identifier.
    pub(crate) request_id: &'a str,
    /// Seconds since the Unix epoch.
    pub(crate) created: i64,
}

/// The parts of a request that echo repeats.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    messages: Vec<Message>,
    prompt: Value,
    input: Value,
}

/// A part of a conversation. Of what stands twice in it, the last counts, as with most providers.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct Message {
    role: String,
    content: Value,
}

impl TryFrom<Value> for Message {
    type Error = &'static str;

    fn try_from(mut message: Value) -> Result<Self, Self::Error> {
        let role = message.get("role").and_then(Value::as_str).ok_or("it has no `role`")?.to_owned();
        let content = message.get_mut("content").map(Value::take).unwrap_or_default();
        Ok(Self { role, content })
    }
}

impl Question<'_> {
    pub(crate) fn answer(&self) -> Result<Echo, Refusal> {
        if !self.is_echoed() {
            return Err(not_echoed());
        }
        let said: Said = match self.body {
            [] => Said::default(),
            body => serde_json::from_slice(body).map_err(|_| {
                Refusal::invalid(
                    422,
                    "validation_error",
                    "`messages` must be an array of objects with a `role`.",
                )
                .with_param("messages")
            })?,
        };
        let usage =
            |text: &str| Usage { input: Some(said.words()), output: Some(words(text)), ..Usage::default() };
        let answer = match self.path {
            "/v1/chat/completions" => return Ok(self.chat(&said.last_words(), usage(&said.last_words()))),
            "/v1/messages" => return Ok(self.message(&said.last_words(), usage(&said.last_words()))),
            "/v1/completions" => {
                return Ok(self.completion(&text_of(&said.prompt), usage(&text_of(&said.prompt))));
            }
            "/v1/responses" => return Ok(self.response(&text_of(&said.input), usage(&text_of(&said.input)))),
            "/v1/embeddings" => self.embeddings(&said.input)?,
            "/v1/moderations" => self.moderation(&said.input)?,
            "/v1/models" => json!({ "object": "list", "data": [model_card(MODEL)] }),
            "/v1/messages/count_tokens" => json!({ "input_tokens": said.words() }),
            path => model_card(&percent_decoded(path.strip_prefix("/v1/models/").unwrap_or(path))),
        };
        let mut counted = Usage::default();
        let answer = answer.to_string();
        counted.read(answer.as_bytes());
        Ok(Echo::Whole(answer.into(), counted))
    }

    /// Whether echo does what is asked, told before the body is read, which need not be JSON.
    fn is_echoed(&self) -> bool {
        match self.path {
            "/v1/chat/completions" | "/v1/messages" | "/v1/completions" | "/v1/responses" => true,
            "/v1/embeddings" | "/v1/moderations" | "/v1/models" | "/v1/messages/count_tokens" => !self.stream,
            path => path.starts_with("/v1/models/") && !self.stream,
        }
    }

    fn model(&self) -> &str {
        self.model.unwrap_or(MODEL)
    }

    fn chat(&self, text: &str, usage: Usage) -> Echo {
        let id = format!("chatcmpl-{}", self.request_id);
        let counts = openai_usage(usage);
        if !self.stream {
            let message = json!({ "role": "assistant", "content": text, "refusal": null });
            let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" });
            let answer = json!({ "id": id, "object": "chat.completion", "created": self.created, "model": self.model(),
                "choices": [choice], "usage": counts });
            return Echo::Whole(answer.to_string().into(), usage);
        }
        let chunk = |delta: Value, finish: Value, counts: Value| {
            let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
            event(
                None,
                &json!({ "id": id, "object": "chat.completion.chunk", "created": self.created,
                "model": self.model(), "choices": [choice], "usage": counts }),
            )
        };
        let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), Value::Null, Value::Null)];
        events.extend(pieces(text).map(|piece| chunk(json!({ "content": piece }), Value::Null, Value::Null)));
        events.push(chunk(json!({}), json!("stop"), counts));
        events.push(DONE.to_vec());
        Echo::Stream(events, usage)
    }

    fn message(&self, text: &str, usage: Usage) -> Echo {
        let id = format!("msg_{}", self.request_id.replace('-', ""));
        let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
        let envelope = |content: Value, stop: Value, output: u64| {
            json!({ "id": id, "type": "message", "role": "assistant", "model": self.model(), "content": content,
                "stop_reason": stop, "stop_sequence": null,
                "usage": { "input_tokens": input, "output_tokens": output } })
        };
        if !self.stream {
            let answer = envelope(json!([{ "type": "text", "text": text }]), json!("end_turn"), output);
            return Echo::Whole(answer.to_string().into(), usage);
        }
        let named = |name: &str, mut fields: Value| {
            fields["type"] = json!(name);
            event(Some(name), &fields)
        };
        let start = envelope(json!([]), Value::Null, 0);
        let mut events = vec![
            named("message_start", json!({ "message": start })),
            named(
                "content_block_start",
                json!({ "index": 0, "content_block": { "type": "text", "text": "" } }),
            ),
        ];
        events.extend(pieces(text).map(|piece| {
            named(
                "content_block_delta",
                json!({ "index": 0, "delta": { "type": "text_delta", "text": piece } }),
            )
        }));
        events.push(named("content_block_stop", json!({ "index": 0 })));
        let delta = json!({ "stop_reason": "end_turn", "stop_sequence": null });
        events.push(named("message_delta", json!({ "delta": delta, "usage": { "output_tokens": output } })));
        events.push(named("message_stop", json!({})));
        Echo::Stream(events, usage)
    }

    fn completion(&self, text: &str, usage: Usage) -> Echo {
        let part = |text: &str, finish: Value, counts: Value| {
            let choice = json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": finish });
            json!({ "id": format!("cmpl-{}", self.request_id), "object": "text_completion", "created": self.created,
                "model": self.model(), "choices": [choice], "usage": counts })
        };
        let counts = openai_usage(usage);
        if !self.stream {
            return Echo::Whole(part(text, json!("stop"), counts).to_string().into(), usage);
        }
        let said = pieces(text).map(|piece| event(None, &part(piece, Value::Null, Value::Null)));
        let mut events: Vec<_> = said.collect();
        events.push(event(None, &part("", json!("stop"), counts)));
        events.push(DONE.to_vec());
        Echo::Stream(events, usage)
    }

    fn response(&self, text: &str, usage: Usage) -> Echo {
        let id = self.request_id.replace('-', "");
        let content = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
        let message = |status: &str, content: Value| {
            json!({ "type": "message", "id": format!("msg_{id}"), "status": status, "role": "assistant",
                "content": content })
        };
        let response = |status: &str, output: Value, counts: Value| {
            json!({ "id": format!("resp_{id}"), "object": "response", "created_at": self.created, "status": status,
                "model": self.model(), "output": output, "usage": counts })
        };
        let whole = message("completed", json!([content(text)]));
        let counts = json!({ "input_tokens": usage.input, "output_tokens": usage.output,
            "total_tokens": usage.input.unwrap_or(0) + usage.output.unwrap_or(0) });
        let completed = response("completed", json!([whole]), counts);
        if !self.stream {
            return Echo::Whole(completed.to_string().into(), usage);
        }
        let begun = response("in_progress", json!([]), Value::Null);
        let of_text = |name: &'static str, mut fields: Value| {
            fields["item_id"] = json!(format!("msg_{id}"));
            fields["output_index"] = json!(0);
            fields["content_index"] = json!(0);
            (name, fields)
        };
        let mut steps = vec![
            ("response.created", json!({ "response": begun })),
            ("response.in_progress", json!({ "response": begun })),
            (
                "response.output_item.added",
                json!({ "output_index": 0, "item": message("in_progress", json!([])) }),
            ),
            of_text("response.content_part.added", json!({ "part": content("") })),
        ];
        steps.extend(
            pieces(text).map(|piece| of_text("response.output_text.delta", json!({ "delta": piece }))),
        );
        steps.push(of_text("response.output_text.done", json!({ "text": text })));
        steps.push(of_text("response.content_part.done", json!({ "part": content(text) })));
        steps.push(("response.output_item.done", json!({ "output_index": 0, "item": whole })));
        steps.push(("response.completed", json!({ "response": completed })));
        let numbered = steps.into_iter().enumerate().map(|(number, (name, mut fields))| {
            fields["type"] = json!(name);
            fields["sequence_number"] = json!(number);
            event(Some(name), &fields)
        });
        Echo::Stream(numbered.collect(), usage)
    }

    /// Nothing is found in anything.
    fn moderation(&self, input: &Value) -> Result<Value, Refusal> {
        let is_text = |item: &Value| item.is_string();
        let inputs = match input {
            // The parts of one input, as a text and a picture, are judged together.
            Value::Array(items) if items.iter().all(is_text) => items.len(),
            _ => 1,
        };
        check_inputs(inputs)?;
        let each = |value: Value| {
            let found = MODERATED.iter().map(|category| ((*category).to_owned(), value.clone()));
            Value::Object(found.collect())
        };
        let result = json!({ "flagged": false, "categories": each(json!(false)), "category_scores": each(json!(0.0)) });
        Ok(
            json!({ "id": format!("modr-{}", self.request_id), "model": self.model(), "results": vec![result; inputs] }),
        )
    }

    /// A vector of letter counts: the same text gives the same vector, and no more is promised.
    fn embeddings(&self, input: &Value) -> Result<Value, Refusal> {
        let texts: Vec<String> = match input {
            // One input, as the tokens that it was taken apart into.
            Value::Array(items) if items.first().is_some_and(Value::is_number) => vec![String::new()],
            Value::Array(items) => items.iter().map(text_of).collect(),
            item => vec![text_of(item)],
        };
        check_inputs(texts.len())?;
        let embed = |(index, text): (usize, &String)| {
            let mut counts = [0_u32; 26];
            for letter in text.bytes().filter(u8::is_ascii_alphabetic) {
                counts[usize::from(letter.to_ascii_lowercase() - b'a')] += 1;
            }
            let total = f64::from(counts.iter().sum::<u32>().max(1));
            let vector: Vec<f64> = counts.iter().map(|count| f64::from(*count) / total).collect();
            json!({ "object": "embedding", "index": index, "embedding": vector })
        };
        let total: u64 = texts.iter().map(|text| words(text)).sum();
        Ok(json!({ "object": "list", "model": self.model(),
            "data": texts.iter().enumerate().map(embed).collect::<Vec<_>>(),
            "usage": { "prompt_tokens": total, "total_tokens": total } }))
    }
}

impl Said {
    /// What the user said last.
    fn last_words(&self) -> String {
        let last = self.messages.iter().rev().find(|message| message.role == "user").or(self.messages.last());
        last.map(|message| text_of(&message.content)).unwrap_or_default()
    }

    fn words(&self) -> u64 {
        let messages: u64 = self.messages.iter().map(|message| words(&text_of(&message.content))).sum();
        messages + words(&text_of(&self.prompt)) + words(&text_of(&self.input))
    }
}

/// The path is served and echo has nothing for it. Unlike after other failures of a server, trying again is no use.
fn not_echoed() -> Refusal {
    let message = "The echo provider answers chat, messages, completions, responses, embeddings, moderations and models; \
                   only the first four as streams. Configure another target for the rest.";
    Refusal::unavailable(501, "surface_not_served", message)
        .with_header(X_SHOULD_RETRY, HeaderValue::from_static("false"))
}

fn check_inputs(count: usize) -> Result<(), Refusal> {
    if count <= MAX_INPUTS {
        return Ok(());
    }
    let message = format!("`input` holds {count} texts, and {MAX_INPUTS} at most may be sent at once.");
    Err(Refusal::invalid(400, "validation_error", message).with_param("input"))
}

fn model_card(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "keeptrusts" })
}

fn openai_usage(usage: Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}

/// The text in a value that is a string, or an array of strings, content parts or messages.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(text_of).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
        }
        Value::Object(part) => part.get("text").or(part.get("content")).map(text_of).unwrap_or_default(),
        _ => String::new(),
    }
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// The text word by word, each with the space behind it; the rest of a long one is the last piece.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split_inclusive(char::is_whitespace);
    let (first, rest) = text.split_at(words.take(MAX_PIECES - 1).map(str::len).sum());
    first.split_inclusive(char::is_whitespace).chain(Some(rest).filter(|rest| !rest.is_empty()))
}

fn event(name: Option<&str>, data: &Value) -> Vec<u8> {
    let name = name.map(|name| format!("event: {name}\n")).unwrap_or_default();
    format!("{name}data: {data}\n\n").into_bytes()
}
