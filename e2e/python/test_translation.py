"""Each SDK through the gateway to a model whose provider speaks the other API."""

import anthropic
import openai
import pytest
from keeptrusts_e2e import APP_KEY, CLAUDE, MODEL, Gateway

SYSTEM = "You are terse."
QUESTION = {"role": "user", "content": "Name three colours."}
LIMIT = 24


@pytest.fixture
def chat(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=APP_KEY, max_retries=0)


@pytest.fixture
def messages(gateway: Gateway) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key=APP_KEY, max_retries=0)


def asked_in_chat(client: openai.OpenAI, model: str, **more: object):
    conversation = [{"role": "system", "content": SYSTEM}, QUESTION]
    return client.chat.completions.create(model=model, messages=conversation, max_tokens=LIMIT, **more)


def asked_in_messages(client: anthropic.Anthropic, model: str, **more: object):
    return client.messages.create(model=model, system=SYSTEM, messages=[QUESTION], max_tokens=LIMIT, **more)


def test_the_openai_sdk_speaks_to_a_model_behind_messages(chat, messages, gateway):
    direct = asked_in_messages(messages, CLAUDE)
    translated = asked_in_chat(chat, CLAUDE)
    assert translated.choices[0].message.content == direct.content[0].text
    assert translated.usage.prompt_tokens == direct.usage.input_tokens
    assert translated.usage.completion_tokens == direct.usage.output_tokens

    chunks = list(asked_in_chat(chat, CLAUDE, stream=True, stream_options={"include_usage": True}))
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert told == direct.content[0].text
    assert chunks[-1].usage == translated.usage
    endings = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert endings[-1] == translated.choices[0].finish_reason


def test_the_anthropic_sdk_speaks_to_a_model_behind_chat_completions(chat, messages, gateway):
    direct = asked_in_chat(chat, MODEL)
    translated = asked_in_messages(messages, MODEL)
    assert translated.content[0].text == direct.choices[0].message.content
    assert translated.usage.output_tokens == direct.usage.completion_tokens

    with messages.messages.stream(model=MODEL, system=SYSTEM, messages=[QUESTION], max_tokens=LIMIT) as stream:
        told = "".join(stream.text_stream)
        whole = stream.get_final_message()
    assert told == direct.choices[0].message.content
    assert whole.stop_reason == translated.stop_reason


def test_what_cannot_be_translated_is_the_sdks_own_error(chat):
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        asked_in_chat(chat, CLAUDE, n=2)
    assert (raised.value.code, raised.value.param) == ("untranslatable", "n")
