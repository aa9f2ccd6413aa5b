"""The audit log as events of OCSF, each line against the published schema of the version that it names."""

import json
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from test_api import EMAIL, PASSWORD, api  # noqa: F401

EXAMPLES = Path(__file__).parents[2] / "docs/examples/audit-log.ocsf.jsonl"


@cache
def published(version: str) -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))


def findings(event: dict) -> list[str]:
    """What is wrong with an event: no attribute but those of its class and profiles, each of its type."""
    metadata = event["metadata"]
    schemas = published(metadata["version"])
    name = schemas.lookup_class_name_from_uid(event["class_uid"])
    schema = schemas.get_class_schema(name, metadata.get("profiles", []))
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(event)]


def ask(api, method: str, path: str, token: str | None = None, body: dict | None = None) -> str:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{api.url}{path}", data, headers, method=method)) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


def test_every_kind_of_event_is_one_of_the_published_schema():
    events = [json.loads(line) for line in EXAMPLES.read_text().splitlines()]
    assert {event["class_uid"] for event in events} == {3001, 3002, 3004, 3005, 4002, 6003}
    assert {event["metadata"]["event_code"]: findings(event) for event in events if findings(event)} == {}


@pytest.mark.parametrize("spoil", [{"activity_id": 77}, {"time": "now"}, {"nothing_of_the_kind": 1}, {"metadata": {}}])
def test_the_schema_refuses_what_is_no_event(spoil):
    event = json.loads(EXAMPLES.read_text().splitlines()[0])
    assert findings(event) == []
    metadata = {**event["metadata"], "product": 1} if "metadata" in spoil else event["metadata"]
    assert findings({**event, **spoil, "metadata": metadata}) != []


def test_what_a_server_exports_is_of_the_published_schema(api):  # noqa: F811
    token = api.access_token()
    ask(api, "POST", "/v1/auth/login", body={"email": EMAIL, "password": "wrong"})
    ask(api, "POST", "/v1/auth/login", body={"email": "nobody@example.com", "password": PASSWORD})
    key = json.loads(ask(api, "POST", "/v1/tokens", token, {"type": "access", "name": "CI", "scope": "read-only"}))
    ask(api, "PATCH", "/v1/organization", key["key"], {"name": "Not by this key"})
    ask(api, "PATCH", "/v1/organization", token, {"name": "Acme & Co."})
    ask(api, "DELETE", f"/v1/tokens/{key['id']}", token)
    lines = ask(api, "GET", "/v1/audit-log/export?format=ocsf", token).splitlines()
    events = [json.loads(line) for line in lines]
    told = {event["metadata"]["event_code"] for event in events}
    assert told >= {"auth.sign_in", "key.created", "key.revoked", "access.refused", "organization.renamed", "audit.exported"}
    assert {event["metadata"]["event_code"]: findings(event) for event in events if findings(event)} == {}
