"""Provisioning by SCIM, against the standard as somebody else has read it."""

import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Client
from keeptrusts_e2e import kt_binary, running
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

EMAIL = "owner@example.com"
PASSWORD = "Tall green walnuts dance 7"
DOMAIN = "acme.example"

SEARCH_BY_POST = "search_with_attributes"
"""Not offered, which the tester takes for skipped."""


class Directory(SyncSCIMClient):
    """An identity provider whose users have addresses in the organization's own domain: no schema can say that they must."""

    def create(self, resource, *args, **kwargs):
        if hasattr(resource, "user_name"):
            resource.user_name = f"{uuid.uuid4()}@{DOMAIN}"
        return super().create(resource, *args, **kwargs)


def post(url: str, body: dict, bearer: str = "") -> dict:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as response:
        return json.load(response)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    data = ["--data-dir", str(tmp_path / "data")]
    command = [kt_binary(), "server", "run", *data, "--api-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"]
    owner = {"KEEPTRUSTS_BOOTSTRAP_EMAIL": EMAIL, "KEEPTRUSTS_BOOTSTRAP_PASSWORD": PASSWORD}
    with running(command, r"ready api=(\S+).*", **owner) as (url,):
        subprocess.run([kt_binary(), "admin", "domain", "verify", DOMAIN, *data], check=True, capture_output=True)
        session = post(f"{url}/v1/auth/login", {"email": EMAIL, "password": PASSWORD})["access_token"]
        key = post(f"{url}/v1/tokens", {"type": "scim", "name": "directory", "scope": "write"}, session)["key"]
        with Client(base_url=f"{url}/scim/v2", headers={"Authorization": f"Bearer {key}"}) as client:
            yield Directory(client)


def test_provisioning_is_what_the_standard_says(directory):
    results = check_server(directory)
    wrong = [result for result in results if result.status not in (Status.SUCCESS, Status.SKIPPED)]
    assert not wrong, "\n".join(map(repr, wrong))
    assert {result.title for result in results if result.status == Status.SKIPPED} <= {SEARCH_BY_POST}
    asked = {(result.resource_type, result.title) for result in results}
    for kind in ("User", "Group"):
        for title in ("object_creation", "object_replacement", "object_deletion", "check_add_attribute", "check_remove_attribute", "check_replace_attribute"):
            assert (kind, title) in asked, f"{kind}: {title} was not tried"
