//! What is claimed for a request, and how a budget bounds an answer that nobody else does.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::{hold, plain, spent, text_of};
use crate::budgets::{chat, clocked, used_up};
use crate::harness::{OwnRedis, Request, wait_for};

/// A token may be as little as a byte of text, and what a request only names is nobody's to measure.
#[test]
fn a_prompt_claims_a_token_for_each_byte_and_more_for_what_it_only_names() {
    let picture =
        r#""messages":[{"content":[{"type":"image_url","image_url":{"url":"https://a.example/b"}}]}]"#;
    for (path, fields, named) in [
        ("/v1/chat/completions", r#""messages":[]"#, 0),
        ("/v1/chat/completions", picture, 300),
        ("/v1/responses", r#""input":"go on","previous_response_id":"resp_1","conversation":"conv_1""#, 600),
    ] {
        let redis = OwnRedis::start();
        let yaml = "rate_limits: {assumed_reference_tokens: 300}\nbudgets: [{id: b, per: total, period: day, tokens: 100000, max_output_tokens: 30}]";
        let gateway = clocked(yaml, |options| options.redis_url = Some(redis.url.clone())).0;
        let go_on = hold(&gateway);
        let body = format!("{:500}", format!(r#"{{"model":"m",{fields}}}"#));
        let mut client = gateway.connect();
        client.send(Request::new("POST", path).json(body).bytes()).expect("the request is taken");
        wait_for("it to be under way", || (gateway.upstream.requests().len() == 1).then_some(()));
        assert_eq!(spent(&redis), 500 + 30 + named, "{fields}");
        go_on.store(true, Ordering::SeqCst);
        assert_eq!(client.answer().status, 200);
        wait_for("it to be settled", || (spent(&redis) == 8).then_some(()));
    }
}

/// The provider is told so much in the words that the client's API and the target know, unless the client says something
/// itself; other paths know no such bound.
#[test]
fn a_budget_bounds_answers_that_nobody_else_does() {
    let yaml = "
providers:
  targets:
    - {id: openai, provider: openai, base_url: 'http://UPSTREAM/v1', secret_key_ref: {env: PROVIDER_KEY}}
    - {id: groq, provider: groq, base_url: 'http://UPSTREAM/v1', secret_key_ref: {env: PROVIDER_KEY}}
    - {id: anthropic, provider: anthropic, base_url: 'http://UPSTREAM/v1', secret_key_ref: {env: PROVIDER_KEY}}
routes:
  - {id: openai, path: /openai, targets: [openai]}
  - {id: groq, path: /groq, targets: [groq]}
  - {id: anthropic, path: /anthropic, targets: [anthropic]}
budgets:
  - {id: wide, per: total, period: day, tokens: 1000000, max_output_tokens: 40}
  - {id: narrow, per: total, period: day, tokens: 1000000, max_output_tokens: 30}
";
    let (gateway, _) = clocked(yaml, |_| {});
    let messages = r#""model":"m","messages":[{"role":"user","content":"hi"}]"#;
    let prompt = r#""model":"m","prompt":"hi","input":"hi""#;
    for (path, own, bounded) in [
        ("/openai/v1/chat/completions", "", r#""max_completion_tokens":30"#),
        ("/openai/v1/chat/completions", r#","max_completion_tokens":null"#, r#""max_completion_tokens":30"#),
        ("/openai/v1/chat/completions", r#","max_completion_tokens":1e9"#, r#""max_completion_tokens":30"#),
        ("/openai/v1/chat/completions", r#","max_output_tokens":5"#, r#""max_completion_tokens":30"#),
        ("/openai/v1/chat/completions", r#","max_tokens":500"#, r#""max_tokens":500"#),
        ("/openai/v1/chat/completions", r#","stream":true"#, r#""max_completion_tokens":30"#),
        ("/groq/v1/chat/completions", "", r#""max_tokens":30"#),
        ("/anthropic/v1/chat/completions", "", r#""max_tokens":30"#),
        ("/anthropic/v1/messages", "", r#""max_tokens":30"#),
        ("/openai/v1/completions", "", r#""max_tokens":30"#),
        ("/openai/v1/responses", "", r#""max_output_tokens":30"#),
        ("/openai/v1/responses", r#","max_tokens":5"#, r#""max_output_tokens":30"#),
        ("/openai/v1/responses/compact", "", ""),
        ("/openai/v1/embeddings", "", ""),
    ] {
        let is_conversation = path.ends_with("/chat/completions") || path.ends_with("/messages");
        let body = format!("{{{}{own}}}", if is_conversation { messages } else { prompt });
        gateway.ask(&Request::new("POST", path).json(&body));
        let received = gateway.upstream.requests().pop().expect("the provider was asked");
        let sent = text_of(&received.body);
        let named: Vec<&str> = sent.split(',').filter(|field| field.contains("\"max_")).collect();
        let is_whole = bounded.is_empty() && named.is_empty() && sent == body;
        let is_bounded = named.iter().any(|field| field.trim_matches(['{', '}']) == bounded);
        assert!(is_whole || is_bounded && !sent.contains("null"), "{path} {own}: {sent}");
    }
}

#[test]
fn what_a_budget_bounds_is_what_is_claimed() {
    let (gateway, _) =
        clocked("budgets: [{id: b, per: total, period: day, tokens: 220, max_output_tokens: 30}]", |_| {});
    let go_on = hold(&gateway);
    let body = format!("{:80}", r#"{"model":"m","messages":[]}"#);
    let mut held = [gateway.connect(), gateway.connect()];
    for (index, client) in held.iter_mut().enumerate() {
        client.send(Request::chat().json(&body).bytes()).expect("the request is taken");
        wait_for("it to be under way", || (gateway.upstream.requests().len() == index + 1).then_some(()));
    }
    assert_eq!(gateway.ask(&chat("m")).outcome(), used_up(), "110 and 110 are claimed");
    go_on.store(true, Ordering::SeqCst);
    assert_eq!(held.each_mut().map(|client| client.answer().status), [200, 200]);
}

#[test]
fn an_answer_is_bounded_where_a_budget_concerns_it_unless_that_is_switched_off() {
    for (budget, bound) in [
        ("{id: b, per: total, period: day, tokens: 1000000}", Some(4096)),
        ("{id: b, per: model, only: ['m'], period: day, tokens: 1000000}", Some(4096)),
        ("{id: b, per: model, only: ['other'], period: day, tokens: 1000000}", None),
        ("{id: b, per: total, period: day, tokens: 1000000, unbounded_answers: true}", None),
    ] {
        let prices =
            "prices: {models: [{model: m, input: 1, output: 1}, {model: other, input: 1, output: 1}]}";
        let (gateway, _) = clocked(&format!("{prices}\nbudgets: [{budget}]"), |_| {});
        assert_eq!(gateway.ask(&plain()).status, 200, "{budget}");
        let sent: Value = serde_json::from_slice(&gateway.upstream.only_request().body).expect("it is JSON");
        assert_eq!(sent["max_completion_tokens"].as_u64(), bound, "{budget}");
    }
}
