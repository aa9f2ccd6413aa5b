//! The built-in `echo`, by which everything can be tried without a provider.

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
