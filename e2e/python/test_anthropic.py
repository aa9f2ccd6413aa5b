"""The official Anthropic SDK through the gateway, to a real model."""

import anthropic
import pytest
from keeptrusts_e2e import APP_KEY, CLAUDE, PROVIDER_KEY, WRONG_KEY, Gateway, Model, until

QUESTION = {
    "system": "You are terse.",
    "messages": [{"role": "user", "content": "Name three colours."}],
    "max_tokens": 24,
}
LONG_STORY = {"messages": [{"role": "user", "content": "Tell a long story about the sea."}], "max_tokens": 400}


def client_of(gateway: Gateway, key: str = APP_KEY) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0)


@pytest.fixture
def client(gateway: Gateway) -> anthropic.Anthropic:
    return client_of(gateway)


def test_an_answer_and_its_event(client, gateway, model: Model):
    raw = client.messages.with_raw_response.create(model=CLAUDE, **QUESTION)
    answer = raw.parse()
    assert answer.content[0].text

    event = gateway.event_of(raw.headers["x-kt-request-id"])
    expected = {
        "event_type": "decision",
        "verdict": "allow",
        "status": 200,
        "request_path": "/v1/messages",
        "provider": "anthropic",
        "target_id": "claude",
        "model": CLAUDE,
        "key_id": "app",
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
    }
    assert {name: event.get(name) for name in expected} == expected

    seen = model.stats()["last_headers"]
    assert seen["x-api-key"] == PROVIDER_KEY
    assert APP_KEY not in str(seen)


def test_a_stream_keeps_its_events_and_their_order(client, gateway):
    raw = client.messages.with_raw_response.create(model=CLAUDE, **QUESTION, stream=True)
    events = list(raw.parse())
    kinds = [event.type for event in events if event.type not in ("content_block_delta", "ping")]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]

    whole = client.messages.create(model=CLAUDE, **QUESTION)
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == whole.content[0].text

    recorded = gateway.event_of(raw.headers["x-kt-request-id"])
    assert recorded["stream"] is True
    assert (recorded["input_tokens"], recorded["output_tokens"]) == (whole.usage.input_tokens, whole.usage.output_tokens)


def test_an_abandoned_stream_ends_at_the_provider_within_a_second(client, model: Model):
    aborted_before = model.stats()["aborted"]
    with client.messages.stream(model=CLAUDE, **LONG_STORY) as stream:
        next(iter(stream.text_stream))
    until("the abort at the provider", 1, lambda: model.stats()["aborted"] == aborted_before + 1)


def test_a_wrong_key_is_the_sdks_own_error(gateway):
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client_of(gateway, WRONG_KEY).messages.create(model=CLAUDE, **QUESTION)
    error = raised.value.body["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_key")
    assert error["request_id"] == raised.value.response.headers["x-kt-request-id"]
    assert gateway.event_of(error["request_id"])["event_type"] == "auth_failed"
