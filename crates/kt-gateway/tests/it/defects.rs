//! A defect that one request meets ends that request alone, and is recorded.

use kt_domain::events::EventType;
use serde_json::json;

use crate::harness::{Request, TestGateway};

#[test]
fn a_request_that_meets_a_defect_is_answered_and_recorded_and_all_others_are_served() {
    let gateway = TestGateway::with("");
    let mut client = gateway.connect();
    assert_eq!(client.ask(&Request::chat()).status, 200, "the control");
    for round in 0..3 {
        gateway.break_next_request();
        let answer = client.ask(&Request::chat());
        assert_eq!(answer.outcome(), (500, "internal_error".to_owned()), "{round}");
        let event = gateway.event_of(answer.request_id());
        assert_eq!((event.event_type, event.status), (EventType::Decision, Some(500)));
        assert_eq!(event.reason_code.as_deref(), Some("internal_error"));
        assert_eq!(event.request_path.as_deref(), Some("/v1/chat/completions"));
        let after = client.ask(&Request::chat());
        assert_eq!(after.status, 200, "the same connection goes on: what was sent was taken");
        assert_eq!(gateway.events().iter().filter(|event| event.status == Some(500)).count(), round + 1);
    }
    assert_eq!(gateway.ask(&Request::chat()).status, 200);
    assert_eq!(gateway.upstream.requests().len(), 5, "what met a defect was not forwarded");
}

#[test]
fn the_answer_is_in_the_shape_of_its_api() {
    let gateway = TestGateway::with("");
    gateway.break_next_request();
    let body = json!({ "model": "m", "max_tokens": 9, "messages": [] });
    let answer = gateway.ask(&Request::new("POST", "/v1/messages").json(body.to_string()));
    assert_eq!((answer.status, &answer.json()["type"]), (500, &json!("error")));
}

#[test]
fn the_answer_is_for_pages_of_allowed_origins_to_read() {
    let gateway = TestGateway::with("cors: {enabled: true, allow_origins: ['https://app.example']}");
    for (origin, allowed) in
        [("https://app.example", Some("https://app.example")), ("https://other.example", None)]
    {
        gateway.break_next_request();
        let answer = gateway.ask(&Request::chat().header("Origin", origin));
        assert_eq!((answer.status, answer.header("vary")), (500, Some("Origin")), "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
    }
}
