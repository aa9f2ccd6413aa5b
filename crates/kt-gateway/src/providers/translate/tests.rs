use std::fmt::Write;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const TOWARDS: Towards<'_> = Towards { model: "target-model", knows_max_completion_tokens: true };
const CONTEXT: Context = Context { created: 1_700_000_000, include_usage: true };

fn request(translation: Translation, body: &Value) -> Value {
    let translated = translation.request(body.to_string().as_bytes(), TOWARDS);
    serde_json::from_slice(&translated.unwrap_or_else(|refusal| panic!("{refusal:?}"))).unwrap()
}

fn refused(translation: Translation, body: &Value) -> String {
    let refusal = translation.request(body.to_string().as_bytes(), TOWARDS).expect_err("it was translated");
    assert_eq!(refusal.status().as_u16(), 422);
    refusal.param().unwrap_or_default().to_owned()
}

fn answer(translation: Translation, status: u16, body: &Value) -> Value {
    let status = StatusCode::from_u16(status).unwrap();
    let answer = translation.answer(status, body.to_string().as_bytes(), CONTEXT).expect("it can be read");
    serde_json::from_slice(&answer).unwrap()
}

/// A conversation with everything in it that both can say, in the words of Chat Completions and of Messages.
fn conversation() -> (Value, Value) {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let chat = json!({
        "model": "asked-model",
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "user": "u-1",
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [
                { "type": "text", "text": "What is this?" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBOR" } },
                { "type": "image_url", "image_url": { "url": "https://example.com/a.png" } },
            ] },
            { "role": "assistant", "content": "Let me look.", "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\":\"Bern\"}" } },
                { "id": "c2", "type": "function", "function": { "name": "weather", "arguments": "{\"city\":\"Rom\"}" } },
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "rain" },
            { "role": "tool", "tool_call_id": "c2", "content": "sun" },
            { "role": "user", "content": "And now?" },
        ],
        "tools": [{ "type": "function", "function": { "name": "weather", "description": "d", "parameters": schema } }],
        "tool_choice": { "type": "function", "function": { "name": "weather" } },
        "parallel_tool_calls": false,
    });
    let messages = json!({
        "model": "asked-model",
        "max_tokens": 100,
        "system": [{ "type": "text", "text": "Be brief." }],
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "What is this?" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBOR" } },
                { "type": "image", "source": { "type": "url", "url": "https://example.com/a.png" } },
            ] },
            { "role": "assistant", "content": [
                { "type": "text", "text": "Let me look." },
                { "type": "tool_use", "id": "c1", "name": "weather", "input": { "city": "Bern" } },
                { "type": "tool_use", "id": "c2", "name": "weather", "input": { "city": "Rom" } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "c1", "content": [{ "type": "text", "text": "rain" }] },
                { "type": "tool_result", "tool_use_id": "c2", "content": [{ "type": "text", "text": "sun" }] },
                { "type": "text", "text": "And now?" },
            ] },
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "metadata": { "user_id": "u-1" },
        "tools": [{ "name": "weather", "description": "d", "input_schema": schema }],
        "tool_choice": { "type": "tool", "name": "weather", "disable_parallel_tool_use": true },
    });
    (chat, messages)
}

#[test]
fn a_whole_conversation_is_said_in_the_others_words_both_ways() {
    let (mut chat, mut messages) = conversation();
    let to_messages = request(Translation::ChatToMessages, &chat);
    let to_chat = request(Translation::MessagesToChat, &messages);
    for own in [&mut chat, &mut messages] {
        own["model"] = "target-model".into();
    }
    assert_eq!(to_messages, messages);
    assert_eq!(to_chat, chat);
}

#[test]
fn what_has_no_counterpart_gets_a_sound_default() {
    let chat = json!({ "messages": [{ "role": "user", "content": "hi" }], "temperature": 1.7, "stop": "X", "seed": 1 });
    let expected = json!({
        "model": "target-model",
        "max_tokens": 4096,
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }],
        "temperature": 1.0,
        "stop_sequences": ["X"],
    });
    assert_eq!(request(Translation::ChatToMessages, &chat), expected);
    let older = Towards { knows_max_completion_tokens: false, ..TOWARDS };
    let body = br#"{"max_tokens":7,"messages":[{"role":"user","content":"hi"}],"stream":true,"top_k":3}"#;
    let translated = Translation::MessagesToChat.request(body, older).unwrap();
    let expected = json!({
        "model": "target-model",
        "messages": [{ "role": "user", "content": "hi" }],
        "max_tokens": 7,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    assert_eq!(serde_json::from_slice::<Value>(&translated).unwrap(), expected);
}

#[test]
fn what_would_change_the_meaning_is_refused_by_name() {
    let chat = |more: Value| {
        let mut chat = json!({ "messages": [{ "role": "user", "content": "hi" }] });
        chat.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refused(Translation::ChatToMessages, &chat)
    };
    assert_eq!(chat(json!({ "n": 2 })), "n");
    assert_eq!(chat(json!({ "logprobs": true })), "logprobs");
    assert_eq!(chat(json!({ "response_format": { "type": "json_object" } })), "response_format");
    assert_eq!(chat(json!({ "modalities": ["audio"] })), "modalities");
    assert_eq!(chat(json!({ "tools": [{ "type": "custom" }] })), "tools[0]");
    assert_eq!(chat(json!({ "messages": [{ "role": "robot" }] })), "messages[0].role");
    assert_eq!(chat(json!({ "functions": [{ "name": "f" }] })), "functions");
    assert_eq!(chat(json!({ "function_call": { "name": "f" } })), "function_call");
    assert_eq!(chat(json!({ "web_search_options": {} })), "web_search_options");
    let called = json!([{ "role": "assistant", "function_call": { "name": "f", "arguments": "{}" } }]);
    assert_eq!(chat(json!({ "messages": called })), "messages[0].function_call");
    let audio = json!([{ "role": "user", "content": [{ "type": "input_audio" }] }]);
    assert_eq!(chat(json!({ "messages": audio })), "messages[0].content[0]");
    let broken = json!([{ "role": "assistant", "tool_calls": [{ "function": { "arguments": "{" } }] }]);
    assert_eq!(chat(json!({ "messages": broken })), "messages[0].tool_calls[0].function.arguments");
    let search = json!({ "messages": [], "tools": [{ "type": "web_search_20250305", "name": "s" }] });
    assert_eq!(refused(Translation::MessagesToChat, &search), "tools[0]");
    let format = json!({ "type": "json_schema", "schema": {} });
    for (param, more) in [
        ("output_format", json!({ "output_format": format })),
        ("output_config.format", json!({ "output_config": { "format": format } })),
        (
            "mcp_servers",
            json!({ "mcp_servers": [{ "type": "url", "url": "https://a.example", "name": "a" }] }),
        ),
        ("container", json!({ "container": "c1" })),
    ] {
        let mut messages = json!({ "messages": [{ "role": "user", "content": "hi" }] });
        messages.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(refused(Translation::MessagesToChat, &messages), param);
    }
    let hints = json!({
        "messages": [{ "role": "user", "content": "hi" }], "output_config": { "effort": "low" }, "mcp_servers": [],
    });
    assert_eq!(request(Translation::MessagesToChat, &hints)["messages"][0]["content"], "hi", "the control");
}

#[test]
fn that_a_tool_failed_is_said_in_words() {
    for (is_error, said) in [(true, "Error: no such city"), (false, "no such city")] {
        let result = json!({ "type": "tool_result", "tool_use_id": "t1", "content": "no such city", "is_error": is_error });
        let body = json!({ "messages": [{ "role": "user", "content": [result] }] });
        assert_eq!(request(Translation::MessagesToChat, &body)["messages"][0]["content"], said);
    }
}

/// What a stream with these tool calls becomes: the blocks that begin, and whether it is whole.
fn blocks_of_calls(calls: &[Value]) -> (Vec<Value>, bool) {
    let mut stream = String::new();
    for call in calls {
        let chunk = json!({ "id": "c", "choices": [{ "delta": { "tool_calls": [call] } }] });
        write!(stream, "data: {chunk}\n\n").unwrap();
    }
    stream += "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    let (out, whole) = streamed(Translation::MessagesToChat, stream.as_bytes(), &[usize::MAX]);
    let begun = data(&out).into_iter().filter(|event| event["type"] == "content_block_start");
    (begun.map(|event| event["content_block"]["id"].clone()).collect(), whole)
}

#[test]
fn calls_are_told_apart_by_their_ids_where_all_have_one_index() {
    let call = |index: u64, id: Option<&str>, arguments: &str| {
        let name = id.map(|_| "weather");
        json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments } })
    };
    let (begun, whole) =
        blocks_of_calls(&[call(0, Some("a"), "{}"), call(0, Some("b"), "{"), call(0, None, "}")]);
    assert!(whole);
    assert_eq!(begun, ["a", "b"]);
    let again =
        [call(0, Some("a"), "{"), call(0, Some("a"), "}"), call(1, Some("b"), "{}"), call(0, None, "")];
    assert_eq!(blocks_of_calls(&again), (vec!["a".into(), "b".into()], true), "one id is one call");
    let mixed = [call(0, Some("a"), "{"), call(1, Some("b"), "{"), call(0, None, "}")];
    assert!(!blocks_of_calls(&mixed).1, "a piece of a call that is over has no place");
}

#[test]
fn answers_are_said_in_the_others_words() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [
            { "type": "thinking", "thinking": "hm", "signature": "s" },
            { "type": "text", "text": "It rains." },
            { "type": "tool_use", "id": "t1", "name": "weather", "input": { "city": "Bern" } },
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": { "input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 7 },
    });
    let completion = answer(Translation::ChatToMessages, 200, &message);
    let choice = &completion["choices"][0];
    assert_eq!(choice["message"]["content"], "It rains.");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Bern\"}");
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(
        (&completion["object"], &completion["created"]),
        (&json!("chat.completion"), &json!(1_700_000_000))
    );
    assert_eq!([&completion["usage"]["prompt_tokens"], &completion["usage"]["total_tokens"]], [17, 24]);

    let back = answer(Translation::MessagesToChat, 200, &completion);
    assert_eq!(back["content"], json!([message["content"][1], message["content"][2]]));
    assert_eq!(back["stop_reason"], "tool_use");
    assert_eq!([&back["usage"]["input_tokens"], &back["usage"]["output_tokens"]], [12, 7]);
}

#[test]
fn reasons_to_end_are_told_apart() {
    for (stop, finish) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ] {
        assert_eq!(chat_answer::finish_reason(Some(stop)), finish);
        if stop != "stop_sequence" {
            assert_eq!(messages_answer::stop_reason(Some(finish)), stop);
        }
    }
}

#[test]
fn refusals_have_the_shape_that_the_clients_sdk_reads() {
    let anthropic =
        json!({ "type": "error", "error": { "type": "not_found_error", "message": "no such model" } });
    let told = answer(Translation::ChatToMessages, 404, &anthropic);
    assert_eq!(told["error"]["message"], "no such model");
    assert_eq!(told["error"]["type"], "not_found_error");
    let openai = json!({ "error": { "message": "too long", "type": "invalid_request_error", "code": "x" } });
    let told = answer(Translation::MessagesToChat, 400, &openai);
    assert_eq!(
        told,
        json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "too long" } })
    );
}

#[test]
fn what_is_no_answer_is_none() {
    for body in ["", "[]", "{}", "{\"choices\":[]}", "<html>"] {
        for translation in [Translation::ChatToMessages, Translation::MessagesToChat] {
            assert_eq!(translation.answer(StatusCode::OK, body.as_bytes(), CONTEXT), None, "{body}");
        }
    }
}

#[test]
fn a_refusal_that_is_no_json_is_told_by_its_status() {
    for body in ["", "<html>", "[]", "slow down"] {
        let answer = |translation: Translation| {
            let told = translation.answer(StatusCode::TOO_MANY_REQUESTS, body.as_bytes(), CONTEXT).unwrap();
            serde_json::from_slice::<Value>(&told).unwrap()
        };
        let message = "The provider refused the request.";
        assert_eq!(answer(Translation::ChatToMessages)["error"]["message"], message, "{body}");
        let expected =
            json!({ "type": "error", "error": { "type": "rate_limit_error", "message": message } });
        assert_eq!(answer(Translation::MessagesToChat), expected, "{body}");
    }
}

const MESSAGES_STREAM: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\r\n\r\n: comment\nevent: ping\ndata: {\"type\":\"ping\"}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Grüezi \"}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\u{1f600}\"}}\n\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"weather\",\"input\":{}}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"city\\\":\"}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\\\"Bern\\\"}\"}}\n\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":21}}\n\ndata: {\"type\":\"message_stop\"}\n\n";

/// What a stream becomes when it comes in pieces of these lengths, and whether it is whole.
fn streamed(translation: Translation, stream: &[u8], cuts: &[usize]) -> (String, bool) {
    let mut translator = StreamTranslator::new(translation, CONTEXT);
    let mut out = Vec::new();
    let (mut rest, mut cuts) = (stream, cuts.iter().cycle());
    while !rest.is_empty() {
        let length = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(length);
        if translator.feed(piece, &mut out).is_err() {
            return (String::from_utf8(out).unwrap(), false);
        }
        rest = behind;
    }
    let whole = translator.finish(&mut out);
    (String::from_utf8(out).unwrap(), whole)
}

fn data(stream: &str) -> Vec<Value> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into())).collect()
}

#[test]
fn a_stream_is_said_in_the_others_words_and_back() {
    let (chat, whole) = streamed(Translation::ChatToMessages, MESSAGES_STREAM.as_bytes(), &[usize::MAX]);
    assert!(whole);
    let chunks = data(&chat);
    let delta = |index: usize| &chunks[index]["choices"][0]["delta"];
    assert_eq!(delta(0), &json!({ "role": "assistant", "content": "" }));
    assert_eq!([&delta(1)["content"], &delta(2)["content"]], ["Grüezi ", "\u{1f600}"]);
    assert_eq!(delta(3)["tool_calls"][0]["function"], json!({ "name": "weather", "arguments": "" }));
    assert_eq!(delta(5)["tool_calls"][0], json!({ "index": 0, "function": { "arguments": "\"Bern\"}" } }));
    assert_eq!(chunks[6]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chunks[7]["usage"]["total_tokens"], 30);
    assert_eq!(chunks[8], "[DONE]");
    assert_eq!(chunks.len(), 9);

    let (messages, whole) = streamed(Translation::MessagesToChat, chat.as_bytes(), &[usize::MAX]);
    assert!(whole);
    let kinds: Vec<_> =
        data(&messages).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    let expected = "message_start content_block_start content_block_delta content_block_delta content_block_stop \
                    content_block_start content_block_delta content_block_delta content_block_stop message_delta \
                    message_stop";
    assert_eq!(kinds.join(" "), expected);
    let events = data(&messages);
    assert_eq!(events[9]["delta"]["stop_reason"], "tool_use");
    assert_eq!([&events[9]["usage"]["input_tokens"], &events[9]["usage"]["output_tokens"]], [9, 21]);
    for event in messages.split("\n\n").filter(|event| !event.is_empty()) {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "SDKs go by the event's name");
    }
}

#[test]
fn a_stream_that_ends_early_or_fails_is_not_whole() {
    for end in [MESSAGES_STREAM.len() / 3, MESSAGES_STREAM.len() - 40] {
        let end = MESSAGES_STREAM.floor_char_boundary(end);
        let (out, whole) = streamed(Translation::ChatToMessages, &MESSAGES_STREAM.as_bytes()[..end], &[7]);
        assert!(!whole && !out.contains("[DONE]"));
    }
    let error =
        b"data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    let (out, whole) = streamed(Translation::ChatToMessages, error, &[7]);
    assert!(!whole && data(&out)[0]["error"]["message"] == "busy");
    let half = b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let (out, whole) = streamed(Translation::MessagesToChat, half, &[7]);
    assert!(!whole && !out.contains("message_stop"));
    let (_, whole) = streamed(Translation::MessagesToChat, b"data: nonsense\n\n", &[7]);
    assert!(!whole);
    let (out, _) = streamed(Translation::ChatToMessages, MESSAGES_STREAM.as_bytes(), &[7]);
    for more in [
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
        "data: nonsense\n\n",
    ] {
        let stream = [MESSAGES_STREAM, more].concat();
        let behind = streamed(Translation::ChatToMessages, stream.as_bytes(), &[7]);
        assert_eq!(behind, (out.clone(), true), "nothing is said behind the end");
    }
}

#[test]
fn what_marks_the_byte_order_before_a_stream_is_no_part_of_it() {
    let whole = streamed(Translation::ChatToMessages, MESSAGES_STREAM.as_bytes(), &[usize::MAX]);
    assert!(whole.0.contains("\"role\":\"assistant\""), "the control: {}", whole.0);
    let data_first = MESSAGES_STREAM.split_once("\r\n").unwrap().1;
    for stream in [MESSAGES_STREAM, data_first] {
        let marked = format!("\u{feff}{stream}");
        assert_eq!(streamed(Translation::ChatToMessages, marked.as_bytes(), &[1]), whole);
    }
}

#[test]
fn any_number_of_tokens_can_be_told() {
    let usage = json!({ "input_tokens": u64::MAX, "cache_read_input_tokens": 7, "output_tokens": u64::MAX });
    let message = json!({ "content": [], "usage": usage });
    let told = answer(Translation::ChatToMessages, 200, &message);
    assert_eq!(told["usage"]["total_tokens"], u64::MAX);
}

#[test]
fn the_seeds_of_fuzzing_are_translated_as_a_whole() {
    let seed = |name: &str| {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds");
        std::fs::read(format!("{seeds}/{name}")).expect("there is such a seed")
    };
    for (translation, name) in
        [(Translation::ChatToMessages, "chat"), (Translation::MessagesToChat, "messages")]
    {
        let there = translation.request(&seed(&format!("translated_request/{name}")), TOWARDS);
        assert!(there.is_ok(), "{name}: {there:?}");
    }
    for (translation, name) in
        [(Translation::ChatToMessages, "messages"), (Translation::MessagesToChat, "chat")]
    {
        // The first byte says how the stream is cut.
        let stream = seed(&format!("translated_stream/{name}"));
        assert!(streamed(translation, &stream[1..], &[5]).1, "{name}");
    }
}

#[test]
fn an_event_without_end_takes_bounded_memory() {
    let mut translator = StreamTranslator::new(Translation::ChatToMessages, CONTEXT);
    let mut out = Vec::new();
    let refused = (0..10_000).find(|_| translator.feed(&[b'x'; 1024], &mut out).is_err());
    assert_eq!((refused, out.len()), (Some(4096), 0));
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_it_becomes_the_same(cuts in proptest::collection::vec(1_usize..80, 1..40)) {
        let whole = streamed(Translation::ChatToMessages, MESSAGES_STREAM.as_bytes(), &[usize::MAX]);
        prop_assert_eq!(&streamed(Translation::ChatToMessages, MESSAGES_STREAM.as_bytes(), &cuts), &whole);
        let back = streamed(Translation::MessagesToChat, whole.0.as_bytes(), &[usize::MAX]);
        prop_assert_eq!(streamed(Translation::MessagesToChat, whole.0.as_bytes(), &cuts), back);
    }

    #[test]
    fn no_bytes_bring_a_translation_down(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), fields in "[\\x20-\\x7e\n\r]{0,200}",
    ) {
        for translation in [Translation::ChatToMessages, Translation::MessagesToChat] {
            for text in [&bytes[..], fields.as_bytes()] {
                let _ = translation.request(text, TOWARDS);
                let _ = translation.answer(StatusCode::OK, text, CONTEXT);
                let _ = streamed(translation, &[b"data: ", text, b"\n\n"].concat(), &[3]);
            }
        }
    }
}
