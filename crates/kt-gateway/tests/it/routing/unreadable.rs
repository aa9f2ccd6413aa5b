//! Answers that break off or cannot be read, of which the client has nothing yet: another target stands in.

use super::{failed, two_targets};
use crate::harness::{Request, TestGateway, Then, Upstream};

const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"id\":";

#[test]
fn an_answer_that_breaks_off_is_asked_of_the_next_target() {
    let (gateway, second) = two_targets("circuit_breaker: {enabled: true, failures: 1}\n");
    gateway.upstream.answer_with(CUT, Then::Close);
    for (asked, expected) in [(1, &[("primary", "upstream_incomplete")][..]), (1, &[])] {
        let answer = gateway.ask(&Request::chat());
        assert_eq!(answer.status, 200);
        let event = gateway.event_of(answer.request_id());
        assert_eq!((event.target_id.as_deref(), &failed(&event)[..]), (Some("second"), expected));
        assert_eq!(gateway.upstream.requests().len(), asked, "its circuit is open");
    }
    assert_eq!(second.requests().len(), 2);
}

#[test]
fn an_answer_that_breaks_off_is_the_last_word_where_no_other_target_is_to_be_asked() {
    let (gateway, second) = two_targets("  fallback_on: [connect]\n");
    gateway.upstream.answer_with(CUT, Then::Close);
    assert_eq!(gateway.ask(&Request::chat()).outcome(), (502, "upstream_incomplete".to_owned()));
    assert_eq!(second.requests().len(), 0);
}

#[test]
fn an_answer_that_is_too_long_is_not_asked_for_again() {
    let (gateway, second) = two_targets("size_limits: {max_response_body_bytes: 10}\n");
    gateway.upstream.answer_as("200 OK", "", r#"{"longer":"than that"}"#);
    assert_eq!(gateway.ask(&Request::chat()).outcome(), (502, "response_too_large".to_owned()));
    assert_eq!(second.requests().len(), 0);
}

#[test]
fn an_answer_that_cannot_be_translated_is_asked_of_the_next_target() {
    const MESSAGE: &str =
        r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}]}"#;
    for (answered, first, code) in
        [("<html>Please sign in</html>", "second", Some("upstream_invalid")), (MESSAGE, "primary", None)]
    {
        let second = Upstream::start();
        let gateway = TestGateway::with(&format!(
            "providers:\n  targets:\n    - {{id: primary, provider: 'anthropic:chat:m', base_url: 'http://UPSTREAM/v1'}}\n    - {{id: second, provider: 'openai:chat:m', base_url: 'http://{}/v1', priority: 1}}\ncircuit_breaker: {{enabled: true, failures: 1}}\n",
            second.address()
        ));
        gateway.upstream.answer_as("200 OK", "", answered);
        let answer = gateway.ask(&Request::chat());
        assert_eq!(answer.status, 200, "{answered}");
        let event = gateway.event_of(answer.request_id());
        assert_eq!(event.target_id.as_deref(), Some(first), "{answered}");
        assert_eq!(failed(&event), code.map(|code| ("primary", code)).into_iter().collect::<Vec<_>>());
        assert_eq!(gateway.ask(&Request::chat()).status, 200);
        let asked = if code.is_some() { 1 } else { 2 };
        assert_eq!(gateway.upstream.requests().len(), asked, "{answered}: its circuit is open, or it is not");
    }
}
