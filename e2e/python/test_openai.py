"""The official OpenAI SDK through the gateway, to a real model."""

import asyncio
import time

import openai
import pytest
from keeptrusts_e2e import (
    APP_KEY,
    ELSEWHERE_KEY,
    MAX_REQUEST_BYTES,
    MODEL,
    PROVIDER_KEY,
    SELDOM_KEY,
    UNPLUGGED,
    WRONG_KEY,
    Gateway,
    Model,
    running_gateway,
    until,
)

QUESTION = {"messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 24}
LONG_STORY = {"messages": [{"role": "user", "content": "Tell a long story about the sea."}], "max_tokens": 400}


def client_of(gateway: Gateway, key: str = APP_KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(gateway: Gateway) -> openai.OpenAI:
    return client_of(gateway)


def text_of(stream) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_an_answer_and_its_event(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, **QUESTION)
    answer = raw.parse()
    assert "red" in answer.choices[0].message.content.lower()
    assert raw.headers["x-kt-policy-action"] == "allow"

    event = gateway.event_of(raw.headers["x-kt-request-id"])
    expected = {
        "event_type": "decision",
        "verdict": "allow",
        "reason_code": "ok",
        "status": 200,
        "method": "POST",
        "request_path": "/v1/chat/completions",
        "source_ip": "127.0.0.1",
        "provider": "openai",
        "target_id": "smollm",
        "model": MODEL,
        "stream": False,
        "key_id": "app",
        "input_tokens": answer.usage.prompt_tokens,
        "output_tokens": answer.usage.completion_tokens,
        "policies_evaluated": [{"kind": "audit-logger", "verdict": "allow"}],
    }
    assert {name: event.get(name) for name in expected} == expected
    assert event["duration_ms"] >= event["upstream_ms"] > 0


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = client.chat.completions.create(model=MODEL, **QUESTION)
    assert text_of(client.chat.completions.create(model=MODEL, **QUESTION, stream=True)) == whole.choices[0].message.content


def test_a_stream_arrives_as_it_is_made_and_its_usage_is_recorded(client, gateway):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    raw = client.chat.completions.with_raw_response.create(model=MODEL, **QUESTION, **options)
    arrivals = []
    for chunk in raw.parse():
        arrivals.append(time.monotonic())
    assert arrivals[-1] - arrivals[0] > 0.05, "all pieces came at once"

    event = gateway.event_of(raw.headers["x-kt-request-id"])
    assert event["stream"] is True
    assert (event["input_tokens"], event["output_tokens"]) == (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)


def test_many_streams_at_once_do_not_mix(gateway):
    async def pieces(client: openai.AsyncOpenAI) -> list:
        stream = await client.chat.completions.create(model=MODEL, **QUESTION, stream=True)
        return [chunk async for chunk in stream]

    async def streams(count: int) -> list[list]:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=APP_KEY, max_retries=0) as client:
            return await asyncio.gather(*(pieces(client) for _ in range(count)))

    ids = []
    for stream in asyncio.run(streams(8)):
        assert text_of(stream)
        assert stream[-1].choices[0].finish_reason in ("stop", "length")
        ids += {chunk.id for chunk in stream}
    assert len(ids) == len(set(ids)) == 8


def test_the_models_and_an_embedding(client):
    assert MODEL in [model.id for model in client.models.list()]
    assert len(client.embeddings.create(model=MODEL, input="the sea").data[0].embedding) > 100


def test_the_provider_sees_its_own_key_and_nothing_of_the_clients(client, model: Model):
    client.chat.completions.create(
        model=MODEL,
        **QUESTION,
        extra_headers={"Cookie": "session=of-the-client", "X-Forwarded-For": "203.0.113.1", "X-KT-Request-Id": "chosen"},
    )
    seen = model.stats()["last_headers"]
    assert seen["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert "cookie" not in seen
    assert "203.0.113.1" not in str(seen)
    assert seen["x-kt-request-id"] != "chosen"
    assert APP_KEY not in str(seen)


def test_an_abandoned_stream_ends_at_the_provider_within_a_second(client, gateway, model: Model):
    aborted_before = model.stats()["aborted"]
    raw = client.chat.completions.with_raw_response.create(model=MODEL, **LONG_STORY, stream=True)
    stream = raw.parse()
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    assert model.stats()["in_flight"] == 1
    stream.close()

    until("the abort at the provider", 1, lambda: model.stats()["aborted"] == aborted_before + 1)
    assert model.stats()["in_flight"] == 0
    assert gateway.event_of(raw.headers["x-kt-request-id"])["stream"] is True


def assert_explains_itself(error: openai.APIStatusError, gateway: Gateway, code: str | None) -> dict:
    """Checks the error body against its header and its event, which it returns."""
    assert code in (None, error.code)
    assert error.code and len(error.body["message"]) > 10
    assert error.body["request_id"] == error.response.headers["x-kt-request-id"]
    event = gateway.event_of(error.body["request_id"])
    assert event["status"] == error.status_code
    return event


TOO_LARGE = {"messages": [{"role": "user", "content": "x" * MAX_REQUEST_BYTES}]}


@pytest.mark.parametrize(
    ("key", "change", "error_class", "type", "code", "event_type"),
    [
        (WRONG_KEY, {}, openai.AuthenticationError, "authentication_error", "invalid_key", "auth_failed"),
        (ELSEWHERE_KEY, {}, openai.PermissionDeniedError, "permission_denied", "key_ip_denied", "auth_failed"),
        (APP_KEY, {"model": 7}, openai.UnprocessableEntityError, "validation_error", None, "decision"),
        (APP_KEY, TOO_LARGE, openai.APIStatusError, "request_too_large", None, "request_too_large"),
    ],
    ids=["wrong key", "key for another network", "field of the wrong type", "body too large"],
)
def test_refusals_are_the_sdks_own_errors(gateway, key, change, error_class, type, code, event_type):
    with pytest.raises(error_class) as raised:
        client_of(gateway, key).chat.completions.create(**({"model": MODEL} | QUESTION | change))
    assert raised.value.type == type
    event = assert_explains_itself(raised.value, gateway, code)
    assert event["event_type"] == event_type
    assert event["reason_code"] == raised.value.code


def test_a_provider_that_is_down_is_not_the_policies_doing(client, gateway):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=UNPLUGGED, **QUESTION)
    assert (raised.value.status_code, raised.value.type) == (502, "upstream_error")
    event = assert_explains_itself(raised.value, gateway, None)
    assert (event["verdict"], event["reason_code"]) == ("allow", raised.value.code)


def test_a_named_field_is_named(gateway):
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client_of(gateway).chat.completions.create(model=7, **QUESTION)
    assert raised.value.param == "model"


def test_a_broken_body_is_a_bad_request(client, gateway):
    with pytest.raises(openai.BadRequestError) as raised:
        headers = {"Content-Type": "application/json"}
        client.post("/chat/completions", cast_to=object, content=b'{"model":', options={"headers": headers})
    assert_explains_itself(raised.value, gateway, "invalid_json")


def test_an_unknown_path_is_not_found(client, gateway):
    with pytest.raises(openai.NotFoundError) as raised:
        client.get("/no/such/thing", cast_to=object)
    assert raised.value.type == "not_found"
    assert_explains_itself(raised.value, gateway, None)


def test_a_key_used_too_often_has_to_wait(gateway):
    client = client_of(gateway, SELDOM_KEY)
    client.models.list()
    with pytest.raises(openai.RateLimitError) as raised:
        client.models.list()
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 60
    assert assert_explains_itself(raised.value, gateway, None)["event_type"] == "rate_limited"


def test_an_address_that_is_not_allowed_is_refused_whatever_its_key(model):
    with running_gateway(model, ip_allowlist={"enabled": True, "allow": ["10.0.0.0/8"]}) as gateway:
        with pytest.raises(openai.PermissionDeniedError) as raised:
            client_of(gateway).chat.completions.create(model=MODEL, **QUESTION)
        event = assert_explains_itself(raised.value, gateway, "ip_denied")
        assert (event["event_type"], event["matched_rule"]) == ("ip_denied", "not_allowed")
