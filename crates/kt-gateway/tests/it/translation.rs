//! Conversations with a target that speaks the other API; Azure's addresses; the list of all models.

use std::sync::Arc;

use kt_domain::clock::ManualClock;
use serde_json::{Value, json};

use crate::harness::{Answer, PROVIDER_KEY, Request, TestGateway, Then, Upstream};

const ANTHROPIC: &str = "providers: {targets: [{id: primary, provider: 'anthropic:chat:claude-x', serves: [m], base_url: 'http://UPSTREAM/v1', secret_key_ref: {env: PROVIDER_KEY}}]}";
const OPENAI: &str = "providers: {targets: [{id: primary, provider: 'openai:chat:gpt-x', serves: [m], base_url: 'http://UPSTREAM/v1', secret_key_ref: {env: PROVIDER_KEY}}]}";

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"Hello."}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":5}}"#;
const COMPLETION: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;

fn messages(body: &Value) -> Request {
    Request::new("POST", "/v1/messages?beta=true").json(body.to_string())
}

fn received(upstream: &Upstream) -> (String, Value) {
    let request = upstream.only_request();
    let body = serde_json::from_slice(&request.body).expect("it is JSON");
    (request.request_line().to_owned(), body)
}

#[test]
fn a_chat_completion_is_answered_by_a_target_that_speaks_messages() {
    let gateway = TestGateway::with(ANTHROPIC);
    gateway.upstream.answer_as("200 OK", "", MESSAGE);
    let answer = gateway.ask(&Request::chat());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello.");
    assert_eq!(answer.json()["usage"]["total_tokens"], 8);
    let (line, body) = received(&gateway.upstream);
    assert_eq!(line, "POST /v1/messages HTTP/1.1");
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("claude-x"), &json!(4096)));
    let request = gateway.upstream.only_request();
    assert_eq!(request.header("x-api-key").as_deref(), Some(PROVIDER_KEY));
    assert!(request.header("anthropic-version").is_some());
    let event = gateway.event_of(answer.request_id());
    assert_eq!(
        (event.input_tokens, event.output_tokens, event.model.as_deref()),
        (Some(3), Some(5), Some("m"))
    );
}

#[test]
fn messages_are_answered_by_a_target_that_speaks_chat_completions() {
    let gateway = TestGateway::with(OPENAI);
    gateway.upstream.answer_as("200 OK", "", COMPLETION);
    let body = json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    let answer = gateway.ask(&messages(&body));
    assert_eq!(answer.json()["content"], json!([{ "type": "text", "text": "Hello." }]));
    assert_eq!(answer.json()["usage"]["output_tokens"], 5);
    let (line, body) = received(&gateway.upstream);
    assert_eq!(line, "POST /v1/chat/completions HTTP/1.1", "a query of the other API stays behind");
    assert_eq!((&body["model"], &body["max_completion_tokens"]), (&json!("gpt-x"), &json!(9)));
}

fn stream(upstream: &Upstream, events: &'static str) {
    upstream.behave(move |_, client| {
        use std::io::Write;
        write!(
            client,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )?;
        for piece in events.as_bytes().chunks(11) {
            write!(client, "{:x}\r\n", piece.len())?;
            client.write_all(piece)?;
            client.write_all(b"\r\n")?;
        }
        client.write_all(b"0\r\n\r\n").map(|()| Then::KeepOpen)
    });
}

const MESSAGES_STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-x\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"lo.\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const CHAT_STREAM: &str = "data: {\"id\":\"c1\",\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"}}]}\n\ndata: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo.\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n";

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).expect("a stream is text")
}

#[test]
fn streams_are_translated_on_their_way_and_counted() {
    let chat = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let gateway = TestGateway::with(ANTHROPIC);
    stream(&gateway.upstream, MESSAGES_STREAM);
    let answer = gateway.ask(&Request::chat().json(chat));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let told = text(&answer);
    assert!(
        told.contains(r#""content":"Hel""#)
            && told.contains(r#""finish_reason":"stop""#)
            && told.ends_with("data: [DONE]\n\n"),
        "{told}"
    );
    let event = gateway.event_of(answer.request_id());
    assert_eq!((event.reason_code.as_deref(), event.output_tokens), (Some("ok"), Some(5)));

    let body = json!({ "model": "m", "max_tokens": 9, "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    let gateway = TestGateway::with(OPENAI);
    stream(&gateway.upstream, CHAT_STREAM);
    let answer = gateway.ask(&messages(&body));
    let told = text(&answer);
    assert!(told.starts_with("event: message_start\n") && told.contains(r#""text":"Hel""#), "{told}");
    assert!(told.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{told}");
    assert_eq!(gateway.event_of(answer.request_id()).output_tokens, Some(5));
}

#[test]
fn a_translated_stream_that_breaks_off_is_never_taken_for_whole() {
    let gateway = TestGateway::with(ANTHROPIC);
    stream(&gateway.upstream, MESSAGES_STREAM.split_once("event: message_delta").expect("it is there").0);
    let mut client = gateway.connect();
    let chat = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    client.send(Request::chat().json(chat).bytes()).expect("the request is taken");
    let head = client.head_answer();
    let rest = String::from_utf8(client.rest()).expect("a stream is text");
    assert!(rest.contains("Hel") && !rest.contains("[DONE]") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(gateway.event_of(head.request_id()).reason_code.as_deref(), Some("upstream_incomplete"));
}

#[test]
fn a_targets_refusal_comes_in_the_clients_shape() {
    let gateway = TestGateway::with(ANTHROPIC);
    gateway.upstream.answer_as(
        "404 What",
        "",
        r#"{"type":"error","error":{"type":"not_found_error","message":"no such model"}}"#,
    );
    let answer = gateway.ask(&Request::chat());
    assert_eq!((answer.status, &answer.json()["error"]["message"]), (404, &json!("no such model")));
    assert_eq!(answer.json()["type"], Value::Null);
}

#[test]
fn a_translated_answer_is_not_described_as_the_targets_bytes_were() {
    const DESCRIBED: &str = "Content-Encoding: gzip\r\nETag: \"x\"\r\nContent-MD5: x\r\nX-Kept: 1\r\n";
    for (config, described) in [(ANTHROPIC, None), ("", Some("gzip"))] {
        let gateway = TestGateway::with(config);
        gateway.upstream.answer_as("400 Bad", DESCRIBED, "packed");
        let answer = gateway.ask(&Request::chat());
        assert_eq!((answer.status, answer.header("x-kept")), (400, Some("1")));
        assert_eq!(answer.header("content-encoding"), described);
        for name in ["etag", "content-md5"] {
            assert_eq!(answer.header(name).is_some(), described.is_some(), "{name}");
        }
        if described.is_none() {
            assert_eq!(answer.json()["error"]["message"], "The provider refused the request.");
        }
    }
}

#[test]
fn what_cannot_be_translated_is_refused_before_anything_is_forwarded() {
    let gateway = TestGateway::with(ANTHROPIC);
    let chat = r#"{"model":"m","n":2,"messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(gateway.ask(&Request::chat().json(chat)).outcome(), (422, "untranslatable".to_owned()));
    let choosing = |choice: Value| {
        let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
        let chat = json!({
            "model": "m", "messages": [{ "role": "user", "content": "hi" }], "tools": tools, "tool_choice": choice,
        });
        gateway.ask(&Request::chat().json(chat.to_string()))
    };
    for choice in [
        json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto", "tools": [] } }),
        json!({ "type": "custom", "custom": { "name": "f" } }),
        json!({ "type": "function" }),
        json!({}),
    ] {
        let refused = choosing(choice.clone());
        assert_eq!(refused.outcome(), (422, "untranslatable".to_owned()), "{choice}");
        assert_eq!(refused.json()["error"]["param"], "tool_choice", "{choice}");
    }
    assert_eq!(gateway.upstream.bytes(), 0);
    gateway.upstream.answer_as("200 OK", "", MESSAGE);
    assert_eq!(
        choosing(json!({ "type": "function", "function": { "name": "f" } })).status,
        200,
        "the control"
    );
    assert_eq!(received(&gateway.upstream).1["tool_choice"], json!({ "type": "tool", "name": "f" }));
}

#[test]
fn only_conversations_are_translated() {
    let gateway = TestGateway::with(ANTHROPIC);
    let embeddings = Request::new("POST", "/v1/embeddings").json(r#"{"model":"m","input":"x"}"#);
    assert_eq!(gateway.ask(&embeddings).outcome(), (404, "surface_not_served".to_owned()));
    let tokens = Request::new("POST", "/v1/messages/count_tokens").json(r#"{"model":"m","messages":[]}"#);
    assert_eq!(TestGateway::with(OPENAI).ask(&tokens).outcome(), (404, "surface_not_served".to_owned()));
}

#[test]
fn a_target_that_speaks_the_clients_api_comes_before_one_that_names_no_model() {
    let anthropic = Upstream::start();
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n    - {{id: a, provider: anthropic, base_url: 'http://{}/v1'}}\n    - {{id: o, provider: openai, base_url: 'http://UPSTREAM/v1', priority: 1}}\n",
        anthropic.address()
    ));
    assert_eq!(gateway.ask(&Request::chat()).status, 200);
    assert_eq!((gateway.upstream.requests().len(), anthropic.requests().len()), (1, 0));
    anthropic.answer_as("200 OK", "", MESSAGE);
    let body = json!({ "model": "m", "max_tokens": 9, "messages": [] });
    assert_eq!(gateway.ask(&messages(&body)).status, 200);
    assert_eq!((gateway.upstream.requests().len(), anthropic.requests().len()), (1, 1));
}

#[test]
fn another_vendors_model_can_stand_in() {
    let anthropic = Upstream::start();
    anthropic.answer_as("200 OK", "", MESSAGE);
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n    - {{id: o, provider: 'openai:chat:m', base_url: 'http://UPSTREAM/v1'}}\n    - {{id: a, provider: 'anthropic:chat:claude-x', serves: [m], base_url: 'http://{}/v1', priority: 1}}\n",
        anthropic.address()
    ));
    gateway.upstream.answer_as("500 Oh", "", "{}");
    let answer = gateway.ask(&Request::chat());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello.");
    assert_eq!(gateway.event_of(answer.request_id()).target_id.as_deref(), Some("a"));
}

#[test]
fn azure_is_addressed_by_deployment_and_version() {
    let target = |more: &str| {
        format!(
            "providers: {{targets: [{{id: a, provider: 'azure:chat:my gpt', serves: [m], secret_key_ref: {{env: PROVIDER_KEY}}, {more}}}]}}"
        )
    };
    let line = |more: &str, request: &Request| {
        let gateway = TestGateway::with(&target(more));
        assert_eq!(gateway.ask(request).status, 200);
        let request = gateway.upstream.only_request();
        assert_eq!(request.header("api-key").as_deref(), Some(PROVIDER_KEY));
        assert_eq!(request.header("authorization"), None);
        request.request_line().to_owned()
    };
    let versioned = "base_url: 'http://UPSTREAM', api_version: 2024-10-21";
    assert_eq!(
        line(versioned, &Request::chat()),
        "POST /openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21 HTTP/1.1"
    );
    let files = Request::new("GET", "/v1/files?limit=3");
    assert_eq!(line(versioned, &files), "GET /openai/files?api-version=2024-10-21&limit=3 HTTP/1.1");
    for own in ["api-version=1&limit=3", "limit=3&API-Version=1", "api%2Dversion=1&limit=3&api-version"] {
        let files = Request::new("GET", &format!("/v1/files?{own}"));
        assert_eq!(
            line(versioned, &files),
            "GET /openai/files?api-version=2024-10-21&limit=3 HTTP/1.1",
            "{own}"
        );
    }
    let unversioned = Request::new("GET", "/v1/files?api-version=preview&limit=3");
    assert_eq!(
        line("base_url: 'http://UPSTREAM/openai/v1'", &unversioned),
        "GET /openai/v1/files?api-version=preview&limit=3 HTTP/1.1"
    );
    assert_eq!(
        line("base_url: 'http://UPSTREAM/openai/v1'", &Request::chat()),
        "POST /openai/v1/chat/completions HTTP/1.1"
    );
}

#[test]
fn models_of_all_targets_are_listed_together() {
    let (anthropic, broken) = (Upstream::start(), Upstream::start());
    anthropic.answer_as("200 OK", "", r#"{"data":[{"type":"model","id":"claude-x","display_name":"X"}]}"#);
    broken.answer_as("500 Oh", "", "{}");
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n    - {{id: o, provider: openai, base_url: 'http://UPSTREAM/v1'}}\n    - {{id: a, provider: anthropic, base_url: 'http://{}/v1'}}\n    - {{id: b, provider: openai, base_url: 'http://{}/v1'}}\n    - {{id: g, provider: 'groq:chat:llama', serves: [gpt-a, small]}}\n    - {{id: e, provider: echo}}\n",
        anthropic.address(),
        broken.address()
    ));
    gateway.upstream.answer_as(
        "200 OK",
        "",
        r#"{"object":"list","data":[{"id":"gpt-a","object":"model","created":5,"owned_by":"openai"}]}"#,
    );
    let answer = gateway.ask(&Request::new("GET", "/v1/models"));
    let list = answer.json();
    let ids: Vec<_> =
        list["data"].as_array().expect("a list").iter().filter_map(|model| model["id"].as_str()).collect();
    assert_eq!(ids, ["gpt-a", "claude-x", "llama", "small", "echo"]);
    assert_eq!(list["data"][0]["created"], 5);
    assert_eq!(anthropic.only_request().request_line(), "GET /v1/models?limit=1000 HTTP/1.1");
}

const CLAUDES: &str = r#"{"data":[{"type":"model","id":"claude-x","display_name":"X","created_at":"2025-02-19T00:00:00Z"}],"has_more":false}"#;

fn model_of(answer: &Answer) -> (Value, Value) {
    let body = answer.json();
    (body["id"].clone(), body["object"].clone())
}

#[test]
fn one_target_that_speaks_another_api_or_names_its_model_lists_models_too() {
    let only = |target: &str| TestGateway::with(&format!("providers: {{targets: [{target}]}}"));
    let anthropic = only("{id: a, provider: anthropic, base_url: 'http://UPSTREAM/v1'}");
    anthropic.upstream.answer_as("200 OK", "", CLAUDES);
    let list = |gateway: &TestGateway, path: &str| gateway.ask(&Request::new("GET", path));
    assert_eq!(
        list(&anthropic, "/v1/models").json(),
        json!({ "object": "list", "data": [
            { "id": "claude-x", "object": "model", "created": 1_739_923_200, "owned_by": "anthropic" },
        ] })
    );
    let named = only(
        "{id: g, provider: 'groq:chat:llama', base_url: 'http://UPSTREAM/v1', serves: [small, 'llama3:8b']}",
    );
    for (gateway, path, id) in [
        (&anthropic, "/v1/models/claude-x", "claude-x"),
        (&named, "/v1/models/llama", "llama"),
        (&named, "/v1/models/small", "small"),
        (&named, "/v1/models/llama3:8b", "llama3:8b"),
        (&named, "/v1/models/llama3%3A8b", "llama3:8b"),
    ] {
        assert_eq!(model_of(&list(gateway, path)), (json!(id), json!("model")), "{path}");
        let none = list(gateway, "/v1/models/none");
        assert_eq!(none.outcome(), (404, "unknown_model".to_owned()));
        assert_eq!(gateway.event_of(none.request_id()).request_path.as_deref(), Some("/v1/models/none"));
    }
    assert_eq!(named.upstream.requests().len(), 0, "what a target names is known without asking it");
}

#[test]
fn models_are_listed_as_anthropics_sdk_reads_them_if_it_asks() {
    let gateway = TestGateway::with(
        "providers: {targets: [{id: a, provider: anthropic, base_url: 'http://UPSTREAM/v1'}, {id: e, provider: echo}]}",
    );
    gateway.upstream.answer_as("200 OK", "", CLAUDES);
    let ask =
        |path: &str| gateway.ask(&Request::new("GET", path).header("anthropic-version", "2023-06-01")).json();
    let claude = json!({ "type": "model", "id": "claude-x", "display_name": "claude-x", "created_at": "2025-02-19T00:00:00Z" });
    let echo = json!({ "type": "model", "id": "echo", "display_name": "echo", "created_at": "1970-01-01T00:00:00Z" });
    assert_eq!(
        ask("/v1/models"),
        json!({ "data": [claude, echo], "has_more": false, "first_id": "claude-x", "last_id": "echo" })
    );
    assert_eq!(ask("/v1/models/claude-x"), claude);
}

#[test]
fn models_that_nobody_can_be_asked_for_are_no_empty_list() {
    let gateway = TestGateway::with(
        "providers: {targets: [{id: a, provider: anthropic, base_url: 'http://UPSTREAM/v1', secret_key_ref: {env: A_KEY}}]}",
    );
    let list = || gateway.ask(&Request::new("GET", "/v1/models")).outcome();
    assert_eq!(list(), (503, "target_unavailable".to_owned()));
    let gateway = TestGateway::with(
        "providers: {targets: [{id: a, provider: anthropic, base_url: 'http://UPSTREAM/v1'}]}",
    );
    gateway.upstream.answer_as("500 Oh", "", "{}");
    let answer = gateway.ask(&Request::new("GET", "/v1/models"));
    assert_eq!(answer.outcome(), (502, "upstream_failed".to_owned()));
}

const TWICE: &str = r#"{"model":"m","n":2,"messages":[{"role":"user","content":"hello"}]}"#;

/// An OpenAI target and an Anthropic one for the same model, in this order, and the Anthropic one's upstream.
fn of_both_apis(first: &str) -> (TestGateway, Upstream) {
    let anthropic = Upstream::start();
    anthropic.answer_as("200 OK", "", MESSAGE);
    let (o, a) = if first == "openai" { (0, 1) } else { (1, 0) };
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n    - {{id: o, provider: 'openai:chat:m', base_url: 'http://UPSTREAM/v1', priority: {o}}}\n    - {{id: a, provider: 'anthropic:chat:m', base_url: 'http://{}/v1', priority: {a}}}\n",
        anthropic.address()
    ));
    (gateway, anthropic)
}

#[test]
fn a_target_that_has_no_words_for_a_request_is_passed_over() {
    let twice = Request::new("POST", "/v1/chat/completions").json(TWICE);
    let (gateway, anthropic) = of_both_apis("anthropic");
    assert_eq!((gateway.ask(&twice).status, anthropic.requests().len()), (200, 0));
    assert_eq!((gateway.ask(&Request::chat()).status, anthropic.requests().len()), (200, 1), "the control");

    let (gateway, anthropic) = of_both_apis("openai");
    gateway.upstream.answer_as("500 Oh", "", "{}");
    let answer = gateway.ask(&twice);
    assert_eq!(answer.outcome(), (502, "upstream_failed".to_owned()), "the outage is not the client's fault");
    assert_eq!(gateway.event_of(answer.request_id()).target_id.as_deref(), Some("o"));
    assert_eq!((gateway.ask(&Request::chat()).status, anthropic.requests().len()), (200, 1), "the control");

    let alone = TestGateway::with(
        "providers: {targets: [{id: a, provider: anthropic, base_url: 'http://UPSTREAM/v1'}]}",
    );
    assert_eq!(alone.ask(&twice).outcome(), (422, "untranslatable".to_owned()), "nothing else is left");
}

#[test]
fn what_no_target_has_words_for_is_refused_for_that_and_what_one_has_waits_for_that_one() {
    let anthropic = Upstream::start();
    anthropic.answer_as("200 OK", "", MESSAGE);
    let yaml = format!(
        "retry: {{max_retries: 0}}\ncircuit_breaker: {{enabled: true, failures: 1, open_for: 30s}}\nproviders:\n  targets:\n    - {{id: o, provider: 'openai:chat:gpt', base_url: 'http://UPSTREAM/v1', priority: 1}}\n    - {{id: a, provider: 'anthropic:chat:claude', serves: [gpt], base_url: 'http://{}/v1'}}\n",
        anthropic.address()
    );
    let gateway = TestGateway::with_options(&yaml, |options| {
        let now = "2026-03-15T12:00:00Z".parse().expect("it is a moment");
        options.clock = Arc::new(ManualClock::starting_at(now));
    });
    let ask = |model: &str, n: u8| {
        let messages = json!([{"role": "user", "content": "hello"}]);
        let chat = json!({"model": model, "n": n, "messages": messages}).to_string();
        gateway.ask(&Request::new("POST", "/v1/chat/completions").json(chat))
    };
    let left_alone = (503, "circuit_open".to_owned());
    gateway.upstream.answer_as("500 Oh", "", "{}");
    assert_eq!(ask("gpt", 2).status, 502, "it is left alone from here on");
    assert_eq!(ask("gpt", 1).status, 200, "the control: the other one is well");
    let later = ask("gpt", 2);
    assert_eq!(later.outcome(), left_alone, "it could say this");
    assert_eq!(later.header("retry-after"), Some("30"));

    anthropic.answer_as("500 Oh", "", "{}");
    assert_eq!(ask("claude", 1).status, 502, "this one too");
    assert_eq!(ask("claude", 1).outcome(), left_alone, "the control");
    assert_eq!(ask("claude", 2).outcome(), (422, "untranslatable".to_owned()), "later would be in vain");
    assert_eq!(ask("gpt", 2).outcome(), left_alone);
}
