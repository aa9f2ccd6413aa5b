"""What shows only after a while. `e2e/run --quick` leaves these out."""

import openai
import pytest
from keeptrusts_e2e import APP_KEY, MODEL, Gateway, Model, until

pytestmark = pytest.mark.slow

LONG_STORY = {"messages": [{"role": "user", "content": "Tell a long story about the sea."}], "max_tokens": 600}


@pytest.fixture
def client(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=APP_KEY, max_retries=0)


def test_a_long_stream_comes_whole(client, gateway):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, **LONG_STORY, stream=True, stream_options={"include_usage": True}
    )
    *pieces, last = raw.parse()
    assert pieces[-1].choices[0].finish_reason in ("stop", "length")
    assert len(pieces) > 200

    event = gateway.event_of(raw.headers["x-kt-request-id"])
    assert (event["status"], event["output_tokens"]) == (200, last.usage.completion_tokens)


def test_many_abandoned_streams_leave_nothing_behind(client, model: Model):
    aborted_before = model.stats()["aborted"]
    for _ in range(50):
        stream = client.chat.completions.create(model=MODEL, **LONG_STORY, stream=True)
        next(iter(stream))
        stream.close()
    until("the end of every stream", 5, lambda: model.stats()["in_flight"] == 0)
    assert model.stats()["aborted"] == aborted_before + 50
    assert client.models.list().data
