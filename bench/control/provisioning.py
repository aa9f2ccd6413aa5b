#!/usr/bin/env python3
"""What provisioning of many people over SCIM costs a server: accounts made, found and ended, and a group that all belong to.

    provisioning.py [--people N] [--database URL] [--out FILE]
"""

import argparse
import http.client
import json
import os
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

import bench

DOMAIN = "example.com"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
PAGE = 100


class Provider:
    """An identity provider that tells the server of its people, over one connection."""

    def __init__(self, server):
        self.people = []
        server.operate("admin", "domain", "verify", DOMAIN)
        self.connection = http.client.HTTPConnection(server.address, timeout=600)
        key = server.new_key("scim")
        self.headers = {"Content-Type": "application/scim+json", "Authorization": f"Bearer {key}"}

    def ask(self, method, path, body=None):
        self.connection.request(method, f"/scim/v2{path}", None if body is None else json.dumps(body), self.headers)
        response = self.connection.getresponse()
        text = response.read()
        assert response.status < 300, f"{method} {path}: {response.status} {text[:300]}"
        return json.loads(text) if text else None

    def patch(self, resource, **operation):
        return self.ask("PATCH", resource, {"schemas": [PATCH], "Operations": [operation]})

    def add(self, n):
        name = f"person-{n}@{DOMAIN}"
        person = {"schemas": [USER], "userName": name, "displayName": f"Person {n}", "externalId": f"ext-{n}", "active": True}
        self.people.append(self.ask("POST", "/Users", person)["id"])

    def page(self, n, kind="Users"):
        found = self.ask("GET", f"/{kind}?startIndex={1 + n * PAGE}&count={PAGE}")
        assert found["itemsPerPage"] <= PAGE, found["itemsPerPage"]

    def find(self, n):
        found = self.ask("GET", "/Users?" + urlencode({"filter": f'userName eq "person-{n}@{DOMAIN}"'}))
        assert found["totalResults"] == 1, found


def once(action):
    """Milliseconds that it takes, and what it gives."""
    start = time.perf_counter()
    given = action()
    return round((time.perf_counter() - start) * 1000, 1), given


def measured(server, people):
    """What each thing costs in an organization of so many people."""
    provider = Provider(server)
    results = {"memory before, MiB": server.memory_mib()}
    results["a person is added"] = bench.timed(people, provider.add)
    results["a person is found by name"] = bench.timed(200, lambda n: provider.find(n * people // 200))
    results[f"a page of {PAGE} people"] = bench.timed(people // PAGE, provider.page)
    server.sign_in()
    members = [{"value": person} for person in provider.people]
    group = {"schemas": [GROUP], "displayName": "Everybody", "members": members}
    results["a group of all is made, ms"], made = once(lambda: provider.ask("POST", "/Groups", group))
    path = f"/Groups/{made['id']}"
    results["it is read, ms"], read = once(lambda: provider.ask("GET", path))
    assert len(read["members"]) == people
    plain = "/Groups?excludedAttributes=members"
    results["groups without their members, ms"], _ = once(lambda: provider.ask("GET", plain))
    chosen = provider.people[:: max(1, people // 100)]
    leave = lambda n: provider.patch(path, op="remove", path=f'members[value eq "{chosen[n]}"]')
    enter = lambda n: provider.patch(path, op="add", path="members", value=[{"value": chosen[n]}])
    results["one leaves it"] = bench.timed(len(chosen), leave)
    results["one enters it"] = bench.timed(len(chosen), enter)
    end = lambda n: provider.patch(f"/Users/{chosen[n]}", op="replace", path="active", value=False)
    results["a person is deactivated"] = bench.timed(len(chosen), end)
    results["it is removed, ms"], _ = once(lambda: provider.ask("DELETE", path))
    results["memory afterwards, MiB"] = server.memory_mib()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--database", help="postgres://…; without it SQLite in the data directory")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ctbench-", dir=os.environ.get("CTBENCH_TMP")) as directory:
        server = bench.Server(directory, options.database)
        try:
            results = measured(server, options.people)
        finally:
            server.stop()
    text = json.dumps(results, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
