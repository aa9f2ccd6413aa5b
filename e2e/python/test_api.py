"""The control plane's API against its own OpenAPI document: what it answers to thousands of requests, good and bad."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import schemathesis
from keeptrusts_e2e import kt_binary, running

EMAIL = "owner@example.com"
PASSWORD = "Tall green walnuts dance 7"

ENDS_THE_SESSION = r"^/v1/(auth/logout|me/sessions/\{id\})$"
PROVISIONING = r"^/scim/"
OF_GATEWAYS = r"^POST /v1/(events|gateways/sync)$"
FINER_RULES = "positive_data_acceptance"
"""Rules that a schema cannot say, such as how hard a password is to guess, refuse what fits the schema."""


@dataclass(frozen=True)
class Api:
    """A `kt server run` with an owner."""

    url: str
    directory: Path

    def access_token(self) -> str:
        return self._post("/v1/auth/login", {"email": EMAIL, "password": PASSWORD})["access_token"]

    def key(self, kind: str) -> str:
        new = {"type": kind, "name": "machine", "scope": "write"}
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


def answered(api: Api, bearer: str, what: str, **request: object) -> tuple[int, bytes]:
    """The status and body of the answer to one request, after comparing it with the document."""
    method, path = what.split(" ")
    case = schemathesis.openapi.from_url(f"{api.url}/openapi.json")[path][method].Case(**request)
    response = case.call_and_validate(headers={"Authorization": f"Bearer {bearer}"})
    return response.status_code, response.content


def test_an_owner_gets_documented_answers_only(api):
    bearer = f"Authorization: Bearer {api.access_token()}"
    found = conformance(api, 30, "--header", bearer, without=f"{ENDS_THE_SESSION}|{PROVISIONING}")
    assert found.returncode == 0, found.stdout
    assert "returned only 401/403" not in found.stdout, "the owner was signed out on the way:\n" + found.stdout


def test_an_identity_provider_gets_documented_answers_only(api):
    bearer = f"Authorization: Bearer {api.key('scim')}"
    found = conformance(api, 30, "--header", bearer, "--include-path-regex", PROVISIONING)
    assert found.returncode == 0, found.stdout
    assert "returned only 401/403" not in found.stdout, found.stdout


def test_a_stranger_gets_documented_answers_only(api):
    found = conformance(api, 10)
    assert found.returncode == 0, found.stdout


def test_a_gateway_gets_documented_answers_only(api):
    bearer = f"Authorization: Bearer {api.key('gateway')}"
    found = conformance(api, 60, "--header", bearer, "--include-name-regex", OF_GATEWAYS)
    assert found.returncode == 0, found.stdout
    assert "returned only 401/403" not in found.stdout, found.stdout


def test_what_gateways_send_is_answered_as_documented(api):
    key = api.key("gateway")
    event = {"id": "evt_1", "event_type": "ip_denied", "timestamp": "2026-03-15T14:22:31.000Z", "gateway_id": "gw-1"}
    status, delivered = answered(api, key, "POST /v1/events", body={"events": [event]})
    assert (status, json.loads(delivered)) == (200, {"accepted": 1, "next_seq": None})
    status, refused = answered(api, key, "POST /v1/events", body={"gateway_id": "gw-1", "entries": []})
    assert (status, json.loads(refused)["error"]["code"]) == (409, "chain_gap")
    report = {"gateway_id": "gw-1", "software_version": "0.1.0", "config_version": "none", "orders_version": ""}
    status, news = answered(api, key, "POST /v1/gateways/sync", body=report)
    assert (status, json.loads(news)["keys"]["version"] != "") == (200, True), news


@pytest.mark.parametrize("form", ["jsonl", "csv", "ocsf", "cef"])
def test_a_copy_of_the_audit_log_is_of_a_documented_kind(api, form):
    status, copy = answered(api, api.access_token(), "GET /v1/audit-log/export", query={"format": form})
    assert (status, b"auth.sign_in" in copy) == (200, True), copy


def test_a_session_ends_as_documented(api):
    one, other = api.access_token(), api.access_token()
    _, sessions = answered(api, other, "GET /v1/me/sessions")
    id = next(session["id"] for session in json.loads(sessions)["sessions"] if session["current"])
    assert answered(api, one, "DELETE /v1/me/sessions/{id}", path_parameters={"id": id}) == (204, b"")
    assert answered(api, other, "GET /v1/whoami")[0] == 401
    assert answered(api, one, "POST /v1/auth/logout") == (204, b"")
    assert answered(api, one, "POST /v1/auth/logout")[0] == 401
