"""The model and the gateway as processes that a test starts and stops: what `gateway.mjs` and its neighbours are in Node."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

E2E = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("KEEPTRUSTS_CACHE") or Path.home() / ".cache" / "keeptrusts")
MODEL_FILE = CACHE / "e2e" / "model" / "SmolLM2-135M-Instruct.Q4_1.gguf"

MODEL = "smollm2-135m"
CLAUDE = "claude-smollm2"
UNPLUGGED = "unplugged"
"""A model whose provider does not answer."""

PROVIDER_KEY = "key-of-the-gateway-at-the-provider"
APP_KEY = "key-of-the-application"
ELSEWHERE_KEY = "key-for-another-network"
SELDOM_KEY = "key-for-one-request-a-minute"
WRONG_KEY = "key-of-nobody"

MAX_REQUEST_BYTES = 65_536

START_LIMIT_S = 30
STOP_LIMIT_S = 10
RECORDED_WITHIN_S = 2


def until(what: str, limit_s: float, probe: Callable[[], T]) -> T:
    """The first truthy value of `probe`, asked every 20 ms."""
    deadline = time.monotonic() + limit_s
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.02)
    return value


def get_json(url: str) -> dict:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


@dataclass(frozen=True)
class Model:
    """The real model of `model/server.mjs`."""

    url: str

    def stats(self) -> dict:
        """What reached it so far: `requests` by method and path, `in_flight`, `aborted`, `last_headers`."""
        return get_json(f"{self.url}/__stats")


@dataclass(frozen=True)
class Gateway:
    """A `kt gateway run`."""

    url: str
    admin: str

    def event_of(self, request_id: str) -> dict:
        """The one event of the request. A decision is on disk 100 ms after its response."""
        query = f"{self.admin}/v1/events?request_id={request_id}"
        events = until(f"an event of {request_id}", RECORDED_WITHIN_S, lambda: get_json(query)["events"])
        assert len(events) == 1, events
        return events[0]


@contextmanager
def running_model() -> Iterator[Model]:
    command = ["node", str(E2E / "model" / "server.mjs"), str(MODEL_FILE)]
    with running(command, r"ready (\S+)", MODEL_API_KEY=PROVIDER_KEY) as (url,):
        yield Model(url)


@contextmanager
def running_gateway(model: Model, **sections: object) -> Iterator[Gateway]:
    """A gateway in front of `model`; `sections` replaces top-level keys of its configuration."""
    with tempfile.TemporaryDirectory(prefix="keeptrusts-e2e-") as directory:
        config = Path(directory, "policy-config.yaml")
        config.write_text(json.dumps(configuration(model) | sections, indent=2))  # JSON is YAML
        command = [kt_binary(), "gateway", "run", "--policy-config", str(config)]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", f"{directory}/data"]
        environment = {
            "E2E_PROVIDER_KEY": PROVIDER_KEY,
            "E2E_KEY_APP": APP_KEY,
            "E2E_KEY_ELSEWHERE": ELSEWHERE_KEY,
            "E2E_KEY_SELDOM": SELDOM_KEY,
        }
        with running(command, r"ready gateway=(\S+) admin=(\S+)", **environment) as (url, admin):
            yield Gateway(url, admin)


def configuration(model: Model) -> dict:
    def target(id: str, provider: str, base_url: str) -> dict:
        return {"id": id, "provider": provider, "base_url": base_url, "secret_key_ref": {"env": "E2E_PROVIDER_KEY"}}

    def key(id: str, **restrictions: object) -> dict:
        return {"id": id, "secret_key_ref": {"env": f"E2E_KEY_{id.upper()}"}} | restrictions

    return {
        "pack": {"name": "end-to-end", "version": "1.0.0"},
        "providers": {
            "targets": [
                target("smollm", f"openai:chat:{MODEL}", f"{model.url}/v1"),
                target("claude", f"anthropic:messages:{CLAUDE}", f"{model.url}/v1"),
                # Its priority leaves it what names its model.
                target("unplugged", f"openai:chat:{UNPLUGGED}", f"http://127.0.0.1:{deaf_port()}/v1") | {"priority": 1},
            ]
        },
        "policies": {"chain": ["audit-logger"]},
        "policy": {"audit-logger": {"immutable": True, "retention_days": 30, "log_all_access": True}},
        "size_limits": {"max_request_body_bytes": MAX_REQUEST_BYTES},
        "auth": {
            "mode": "static",
            "keys": [
                key("app"),
                key("elsewhere", allowed_ranges=["10.0.0.0/8"]),
                key("seldom", requests_per_minute=1),
            ],
        },
    }


def kt_binary() -> str:
    """The `kt` to test: `$KT`, else the one built last."""
    if named := os.environ.get("KT"):
        return named
    target = Path(os.environ.get("CARGO_TARGET_DIR") or E2E.parent / "target")
    built = [path for profile in ("release", "debug") if (path := target / profile / "kt").exists()]
    assert built, f"no kt in {target}: run `cargo build -p kt`, or name one in KT"
    return str(max(built, key=lambda path: path.stat().st_mtime))


def deaf_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def running(command: list[str], ready: str, **environment: str) -> Iterator[tuple[str, ...]]:
    """Runs `command`; yields the groups of `ready` once a line of its standard output matches."""
    process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    try:
        yield ready_line(process, ready)
    finally:
        stop(process)


def ready_line(process: subprocess.Popen, ready: str) -> tuple[str, ...]:
    late = threading.Timer(START_LIMIT_S, process.kill)
    late.start()
    try:
        for line in process.stdout:
            if match := re.fullmatch(ready, line.strip()):
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return match.groups()
    finally:
        late.cancel()
    raise RuntimeError(f"{process.args} was not ready within {START_LIMIT_S} s, or ended: {process.wait()}")


def stop(process: subprocess.Popen) -> None:
    """Asks the process to end and waits until it has; one that does not is killed, and that is an error."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
