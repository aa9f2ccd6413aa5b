//! The built-in `echo`, by which everything can be tried without a provider.

use serde_json::{Value, json};

use crate::harness::{Request, TestGateway};

const ECHO: &str = "providers: {targets: [{id: trial, provider: echo}]}\n";

#[test]
fn what_echo_answers_leaves_an_event_with_all_that_a_providers_answer_does() {
    let gateway = TestGateway::with(&format!(
        "{ECHO}auth: {{mode: static, keys: [{{id: app, secret_key_ref: {{env: CLIENT_KEY}}}}]}}"
    ));
    let answer = gateway.ask(&Request::chat().header("Authorization", "Bearer client-key"));
    assert_eq!(answer.status, 200);
    let event = serde_json::to_value(gateway.event_of(answer.request_id())).expect("it can be written");
    for field in [
        "id",
        "event_type",
        "timestamp",
        "request_id",
        "gateway_id",
        "source_ip",
        "request_path",
        "method",
        "verdict",
        "reason_code",
        "status",
        "provider",
        "target_id",
        "model",
        "stream",
        "input_tokens",
        "output_tokens",
        "duration_ms",
        "upstream_ms",
        "config_version",
        "key_id",
        "policies_evaluated",
    ] {
        assert!(!event[field].is_null(), "{field} is missing: {event}");
    }
    assert_eq!(event["upstream_ms"], 0);
    assert_eq!(gateway.upstream.connections(), 0);
}

fn ask(gateway: &TestGateway, path: &str, body: &Value) -> Value {
    let answer = gateway.ask(&Request::new("POST", path).json(body.to_string()));
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// The events of a stream: the name of each, if it has one, and its data.
fn streamed(gateway: &TestGateway, path: &str, body: &Value) -> Vec<(Option<String>, Value)> {
    let answer = gateway.ask(&Request::new("POST", path).json(body.to_string()));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")), "{path}");
    let event = gateway.event_of(answer.request_id());
    assert_eq!(
        (event.stream, event.input_tokens, event.output_tokens),
        (Some(true), Some(3), Some(3)),
        "{path}"
    );
    let text = String::from_utf8(answer.body).expect("a stream is text");
    let read = |event: &str| {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = field("data: ").expect("an event has data");
        // The last event of OpenAI's older streams is no JSON.
        (field("event: "), serde_json::from_str(&data).unwrap_or(Value::String(data)))
    };
    text.split_terminator("\n\n").map(read).collect()
}

#[test]
fn every_api_that_streams_streams_what_it_says_as_a_whole() {
    const SAID: &str = "one two three";
    let gateway = TestGateway::with(ECHO);
    let with = |name: &str, value: Value| json!({ "model": "m", "stream": true, name: value });

    let chat = json!([{ "role": "user", "content": SAID }]);
    let chunks = streamed(&gateway, "/v1/chat/completions", &with("messages", chat));
    let said = chunks.iter().filter_map(|(_, chunk)| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(said.collect::<String>(), SAID);

    let parts = streamed(&gateway, "/v1/completions", &with("prompt", json!(SAID)));
    let (done, parts) = parts.split_last().expect("there are events");
    assert_eq!(done.1, "[DONE]");
    let said = parts.iter().map(|(_, part)| part["choices"][0]["text"].as_str().expect("a text"));
    assert_eq!(said.collect::<String>(), SAID);
    let last = &parts.last().expect("there are parts").1;
    assert_eq!(
        (&last["choices"][0]["finish_reason"], &last["usage"]["total_tokens"]),
        (&json!("stop"), &json!(6))
    );
    let whole = ask(&gateway, "/v1/completions", &json!({ "model": "m", "prompt": SAID }));
    assert_eq!(
        (&whole["choices"][0]["text"], &whole["usage"]),
        (&json!(SAID), &last["usage"]),
        "the control"
    );

    let steps = streamed(&gateway, "/v1/responses", &with("input", json!(SAID)));
    for (number, (name, step)) in steps.iter().enumerate() {
        assert_eq!((name.as_deref(), &step["sequence_number"]), (step["type"].as_str(), &json!(number)));
    }
    let names: Vec<_> =
        steps.iter().filter_map(|(name, _)| name.as_deref()?.strip_prefix("response.")).collect();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    let said = steps.iter().filter_map(|(_, step)| step["delta"].as_str());
    assert_eq!(said.collect::<String>(), SAID);
    let completed = &steps.last().expect("there are steps").1["response"];
    let whole = ask(&gateway, "/v1/responses", &json!({ "model": "m", "input": SAID }));
    for field in ["object", "status", "usage", "model"] {
        assert_eq!(completed[field], whole[field], "{field}");
    }
    assert_eq!(completed["output"][0]["content"], whole["output"][0]["content"]);
    assert_eq!(whole["output"][0]["content"][0]["text"], SAID);
}

#[test]
fn what_stands_twice_in_a_message_counts_as_it_stands_last() {
    let gateway = TestGateway::with(ECHO);
    let chat = |messages: &str| {
        let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
        gateway.ask(&Request::new("POST", "/v1/chat/completions").json(body))
    };
    let answer = chat(r#"[{"role":"system","role":"user","content":"one","content":"two"}]"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "two");
    for wrong in [r#"[{"content":"one"}]"#, r#"[{"role":1}]"#, r#"["one"]"#, r#"[["user","one"]]"#] {
        assert_eq!(chat(wrong).outcome(), (422, "validation_error".to_owned()), "{wrong}");
    }
    assert_eq!(chat(r#"[{"role":"user"}]"#).status, 200, "the control");
}

#[test]
fn moderation_finds_nothing_and_answers_each_text() {
    let gateway = TestGateway::with(ECHO);
    let parts =
        json!([{ "type": "text", "text": "a" }, { "type": "image_url", "image_url": { "url": "b" } }]);
    for (input, count) in [(json!("a"), 1), (json!(["a", "b"]), 2), (parts, 1)] {
        let answer = ask(&gateway, "/v1/moderations", &json!({ "input": input }));
        let results = answer["results"].as_array().expect("a list");
        assert_eq!(results.len(), count, "{input}");
        for result in results {
            assert_eq!(
                (&result["flagged"], &result["categories"]["violence"]),
                (&json!(false), &json!(false))
            );
            assert_eq!(result["category_scores"]["hate"], 0.0);
        }
    }
}

#[test]
fn what_echo_does_not_do_is_not_taken_for_a_path_that_is_not_there() {
    let gateway = TestGateway::with(ECHO);
    let post = |path: &str, body: Value| Request::new("POST", path).json(body.to_string());
    for request in [
        post("/v1/images/generations", json!({ "prompt": "a cat" })),
        post("/v1/audio/speech", json!({ "model": "m", "input": "hello" })),
        post("/v1/embeddings", json!({ "model": "m", "input": "hello", "stream": true })),
        Request::new("POST", "/v1/files")
            .header("Content-Type", "multipart/form-data; boundary=x")
            .body("--x--"),
        Request::new("GET", "/v1/files/f"),
        Request::new("GET", "/v1/responses/r"),
    ] {
        let answer = gateway.ask(&request);
        assert_eq!(answer.outcome(), (501, "surface_not_served".to_owned()), "{request:?}");
        assert_eq!(answer.header("x-should-retry"), Some("false"), "an SDK would try again");
    }
    assert_eq!(gateway.ask(&Request::new("GET", "/v1/nowhere")).outcome(), (404, "unknown_path".to_owned()));
}

#[test]
fn as_many_inputs_as_openai_takes_are_answered_and_no_more() {
    let gateway = TestGateway::with(ECHO);
    for path in ["/v1/moderations", "/v1/embeddings"] {
        let inputs = |count: usize| {
            Request::new("POST", path).json(json!({ "model": "m", "input": vec![""; count] }).to_string())
        };
        assert_eq!(gateway.ask(&inputs(2048)).status, 200, "{path}: the control");
        for count in [2049, 60_000] {
            let refused = gateway.ask(&inputs(count));
            assert_eq!(refused.outcome(), (400, "validation_error".to_owned()), "{path}");
            assert_eq!(refused.json()["error"]["param"], "input", "{path}");
        }
    }
    let tokens = json!({ "model": "m", "input": vec![7; 8192] });
    assert_eq!(ask(&gateway, "/v1/embeddings", &tokens)["data"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_long_text_is_streamed_in_a_bounded_number_of_pieces() {
    let gateway = TestGateway::with(ECHO);
    let text = "a ".repeat(100_000);
    let chat = json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": text }] });
    let of = |name: &str| json!({ "model": "m", "stream": true, name: text });
    for (path, body, delta) in [
        ("/v1/chat/completions", &chat, "/choices/0/delta/content"),
        ("/v1/messages", &chat, "/delta/text"),
        ("/v1/completions", &of("prompt"), "/choices/0/text"),
        ("/v1/responses", &of("input"), "/delta"),
    ] {
        let answer = gateway.ask(&Request::new("POST", path).json(body.to_string()));
        let streamed = String::from_utf8(answer.body).expect("a stream is text");
        let events: Vec<_> = streamed.split_terminator("\n\n").collect();
        assert!(events.len() < 2100, "{path}: {}", events.len());
        let data = events.iter().filter_map(|event| event.rsplit_once("data: "));
        let json = data.filter_map(|(_, data)| serde_json::from_str::<Value>(data).ok());
        let said: String = json.filter_map(|data| Some(data.pointer(delta)?.as_str()?.to_owned())).collect();
        assert_eq!(said.len(), text.len(), "{path}: it is all there");
    }
}
