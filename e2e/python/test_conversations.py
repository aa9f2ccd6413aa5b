"""The conversations of `js/conversations.test.mjs` by both official Python SDKs: through the gateway to a provider of either API, and
straight to the provider, which hears the same, and the SDK understands the same."""

import json
import urllib.request
from collections.abc import Iterator

import anthropic
import openai
import pytest
from keeptrusts_e2e import APP_KEY, E2E, Gateway, Model, get_json, running, running_gateway
from openai.lib.streaming.chat import ChatCompletionStreamState

CONVERSATIONS = json.loads((E2E / "lib" / "conversations.json").read_text())
SYSTEM = "You are terse."
MOST = 50


class Recorder:
    """A provider that answers what it is told to and remembers what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url

    def answer(self, answer: dict) -> None:
        request = urllib.request.Request(f"{self.url}/__answer", json.dumps(answer).encode(), method="PUT")
        urllib.request.urlopen(request).close()

    def heard(self) -> tuple[str, dict]:
        told = get_json(f"{self.url}/__heard")
        return told["wire"], told["heard"]


@pytest.fixture(scope="module")
def provider() -> Iterator[Recorder]:
    with running(["node", str(E2E / "lib" / "recorder.mjs")], r"ready (\S+)") as (url,):
        yield Recorder(url)


@pytest.fixture(scope="module")
def between(provider: Recorder) -> Iterator[Gateway]:
    """A gateway in front of it, with a target for each API."""
    wires = {"chat": "openai:chat:by-chat", "messages": "anthropic:messages:by-messages"}
    secret = {"env": "E2E_PROVIDER_KEY"}
    targets = [
        {"id": wire, "provider": named, "base_url": f"{provider.url}/v1", "secret_key_ref": secret}
        for wire, named in wires.items()
    ]
    with running_gateway(Model(provider.url), providers={"targets": targets}) as gateway:
        yield gateway


def without_nothing(**fields: object) -> dict:
    return {name: value for name, value in fields.items() if value}


class Chat:
    """OpenAI's SDK."""

    @staticmethod
    def messages(turn: dict) -> list[dict]:
        results, calls, others = [], [], []
        for part in turn["parts"]:
            if "result" in part:
                results.append({"role": "tool", "tool_call_id": part["result"], "content": part["text"]})
            elif call := part.get("call"):
                function = {"name": call["name"], "arguments": json.dumps(call["args"])}
                calls.append({"id": call["id"], "type": "function", "function": function})
            elif "picture" in part:
                others.append({"type": "image_url", "image_url": {"url": part["picture"]}})
            else:
                others.append({"type": "text", "text": part["text"]})
        message = [{"role": turn["role"], "content": others} | without_nothing(tool_calls=calls)] if others else []
        return message + results

    def ask(self, url: str, key: str, model: str, conversation: dict, stream: bool) -> dict:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        tools = [{"type": "function", "function": tool} for tool in conversation.get("tools", [])]
        system = {"role": "system", "content": SYSTEM}
        turns = [message for turn in conversation["turns"] for message in self.messages(turn)]
        request = {"model": model, "messages": [system, *turns], "max_tokens": MOST}
        request |= without_nothing(tools=tools, stop=conversation.get("stop"))
        if stream:
            gathered = ChatCompletionStreamState()
            for chunk in client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}):
                gathered.handle_chunk(chunk)
            answer = gathered.current_completion_snapshot
        else:
            answer = client.chat.completions.create(**request)
        choice = answer.choices[0]
        calls = [
            {"id": call.id, "name": call.function.name, "args": json.loads(call.function.arguments)}
            for call in choice.message.tool_calls or []
        ]
        tokens = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
        return {"text": choice.message.content or "", "calls": calls, "end": choice.finish_reason, "tokens": tokens}


class Messages:
    """Anthropic's SDK."""

    @staticmethod
    def block(part: dict) -> dict:
        if "result" in part:
            return {"type": "tool_result", "tool_use_id": part["result"], "content": part["text"]}
        if call := part.get("call"):
            return {"type": "tool_use", "id": call["id"], "name": call["name"], "input": call["args"]}
        if "picture" in part:
            source = {"type": "base64", "media_type": "image/png", "data": part["picture"].split(",")[1]}
            return {"type": "image", "source": source}
        return {"type": "text", "text": part["text"]}

    def ask(self, url: str, key: str, model: str, conversation: dict, stream: bool) -> dict:
        client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
        tools = [
            {"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}
            for tool in conversation.get("tools", [])
        ]
        turns = [
            {"role": turn["role"], "content": [self.block(part) for part in turn["parts"]]}
            for turn in conversation["turns"]
        ]
        request = {"model": model, "system": SYSTEM, "messages": turns, "max_tokens": MOST}
        request |= without_nothing(tools=tools, stop_sequences=conversation.get("stop"))
        if stream:
            with client.messages.stream(**request) as events:
                answer = events.get_final_message()
        else:
            answer = client.messages.create(**request)
        text = "".join(block.text for block in answer.content if block.type == "text")
        calls = [
            {"id": block.id, "name": block.name, "args": block.input}
            for block in answer.content
            if block.type == "tool_use"
        ]
        tokens = (answer.usage.input_tokens, answer.usage.output_tokens)
        return {"text": text, "calls": calls, "end": answer.stop_reason, "tokens": tokens}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation["name"])
@pytest.mark.parametrize("wire", ["chat", "messages"])
@pytest.mark.parametrize("speaks", [Chat(), Messages()], ids=["openai", "anthropic"])
def test_a_conversation_means_the_same_through_the_gateway(provider, between, speaks, wire, conversation, stream):
    provider.answer(conversation["answer"])
    direct = speaks.ask(provider.url, "any", "m", conversation, stream)
    _, heard_directly = provider.heard()
    assert {name: direct[name] for name in ("text", "calls")} == {
        name: conversation["answer"][name] for name in ("text", "calls")
    }, "the control"
    assert heard_directly["turns"] == conversation["turns"], "the control"

    through = speaks.ask(between.url, APP_KEY, f"by-{wire}", conversation, stream)
    assert provider.heard() == (wire, heard_directly)
    assert through == direct
