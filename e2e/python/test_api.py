"""The control plane's API against its own OpenAPI document: what it answers to thousands of requests, good and bad."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from keeptrusts_e2e import kt_binary, running

EMAIL = "owner@example.com"
PASSWORD = "Tall green walnuts dance 7"

ENDS_THE_SESSION = r"^/v1/(auth/logout|me/sessions/\{id\})$"
PROVISIONING = r"^/scim/"
FINER_RULES = "positive_data_acceptance"
"""Rules that a schema cannot say, such as how hard a password is to guess, refuse what fits the schema."""


@dataclass(frozen=True)
class Api:
    """A `kt server run` with an owner."""

    url: str
    directory: Path

    def access_token(self) -> str:
        return self._post("/v1/auth/login", {"email": EMAIL, "password": PASSWORD})["access_token"]

    def provisioning_key(self) -> str:
        new = {"type": "scim", "name": "directory", "scope": "write"}
        return self._post("/v1/tokens", new, Authorization=f"Bearer {self.access_token()}")["key"]

    def _post(self, path: str, body: dict, **headers: str) -> dict:
        headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as response:
            return json.load(response)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    command = [kt_binary(), "server", "run", "--data-dir", str(tmp_path / "data"), "--api-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"]
    owner = {"KEEPTRUSTS_BOOTSTRAP_EMAIL": EMAIL, "KEEPTRUSTS_BOOTSTRAP_PASSWORD": PASSWORD}
    with running(command, r"ready api=(\S+).*", **owner) as (url,):
        yield Api(url, tmp_path)


def conformance(api: Api, examples: int, *options: str, without: str = ENDS_THE_SESSION) -> subprocess.CompletedProcess:
    """What schemathesis finds: server errors, undocumented answers, answers outside their schema, bad input accepted."""
    command = [str(Path(sys.executable).with_name("st")), "run", f"{api.url}/openapi.json", "--no-color"]
    command += ["--max-examples", str(examples), "--exclude-path-regex", without]
    command += ["--exclude-checks", FINER_RULES, *options]
    # It leaves a cache where it runs.
    return subprocess.run(command, capture_output=True, text=True, cwd=api.directory)


def test_an_owner_gets_documented_answers_only(api):
    bearer = f"Authorization: Bearer {api.access_token()}"
    found = conformance(api, 30, "--header", bearer, without=f"{ENDS_THE_SESSION}|{PROVISIONING}")
    assert found.returncode == 0, found.stdout
    assert "returned only 401/403" not in found.stdout, "the owner was signed out on the way:\n" + found.stdout


def test_an_identity_provider_gets_documented_answers_only(api):
    bearer = f"Authorization: Bearer {api.provisioning_key()}"
    found = conformance(api, 30, "--header", bearer, "--include-path-regex", PROVISIONING)
    assert found.returncode == 0, found.stdout
    assert "returned only 401/403" not in found.stdout, found.stdout


def test_a_stranger_gets_documented_answers_only(api):
    found = conformance(api, 10)
    assert found.returncode == 0, found.stdout
