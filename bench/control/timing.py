#!/usr/bin/env python3
"""Whether the time of an answer tells who has an account, or how near a key is to a good one: pairs of requests about a known
and an unknown address, and with a key that is all but one that lives and one that is nothing like it.

    timing.py [--pairs N] [--out FILE]

Signing in, registering, asking for a reset, and inviting are each asked for the same number of known and unknown
addresses, in an order drawn anew for every pair, each address once; keys likewise. Prints both medians, the difference of the pairs,
and the two-sided p of the Wilcoxon signed-rank test and of the Mann-Whitney test: below 0.01 a difference shows.
"""

import argparse
import http.client
import json
import math
import random
import sqlite3
import statistics
import string
import tempfile
import time
import zlib
from pathlib import Path

import bench

PASSWORD = "Tall green walnuts dance 8"


def ranks(values):
    """The rank of each value, ties sharing their mean."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            found[order[place]] = (start + end) / 2 + 1
        start = end + 1
    return found


def two_sided(z):
    return math.erfc(abs(z) / math.sqrt(2))


def wilcoxon(differences):
    """The p of the signed-rank test, by its normal approximation."""
    differences = [difference for difference in differences if difference]
    n = len(differences)
    positive = sum(rank for rank, difference in zip(ranks([abs(d) for d in differences]), differences) if difference > 0)
    return two_sided((positive - n * (n + 1) / 4) / math.sqrt(n * (n + 1) * (2 * n + 1) / 24))


def mann_whitney(one, other):
    """The p of the rank-sum test, by its normal approximation."""
    n, m = len(one), len(other)
    rank_sum = sum(ranks(one + other)[:n])
    return two_sided((rank_sum - n * (n + m + 1) / 2) / math.sqrt(n * m * (n + m + 1) / 12))


class Asker:
    """Asks over one connection, each time from another network, so that no limit of one is met."""

    def __init__(self, server):
        self.server = server
        self.connection = http.client.HTTPConnection(server.address, timeout=60)
        self.asked = 0
        self.living = None

    def ask(self, path, body, token=None, method="POST"):
        self.asked += 1
        source = f"100.{64 + self.asked // 256}.{self.asked % 256}.7"
        headers = {"Content-Type": "application/json", "X-Forwarded-For": source}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        start = time.perf_counter()
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self.connection.getresponse()
        text = response.read()
        taken = (time.perf_counter() - start) * 1000
        answer = json.loads(text) if text else {}
        answer.get("error", {}).pop("request_id", None)
        return taken, (response.status, answer)


def sign_in(asker, email):
    return asker.ask("/v1/auth/login", {"email": email, "password": "Not the password 1"})


def register(asker, email):
    body = {"organization": "default", "email": email, "name": "Somebody", "password": PASSWORD}
    return asker.ask("/v1/auth/register", body)


def forgot(asker, email):
    return asker.ask("/v1/auth/password/forgot", {"email": email})


def invite(asker, email):
    taken, (status, answer) = asker.ask("/v1/invitations", {"email": email, "role": "member"}, asker.server.token)
    # An invitation names itself and its address.
    return taken, (status, sorted(answer))


BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def with_checksum(text):
    """A key as the API writes them: its CRC-32 in base62 stands at the end."""
    checksum, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        checksum, digit = divmod(checksum, 62)
        digits = BASE62[digit] + digits
    return text + digits


def try_key(asker, name):
    """One that differs from a living key in the last two characters of its secret, or in all of them."""
    if not asker.living:
        asker.living = asker.server.new_key("access")
        assert with_checksum(asker.living[:-6]) == asker.living, "keys are written otherwise"
    secret = asker.living[len("kt_ak_") : -6]
    kept = secret[:-2] if name.startswith("known") else ""
    while (drawn := kept + "".join(random.choices(BASE62, k=len(secret) - len(kept)))) == secret:
        pass
    return asker.ask("/v1/whoami", None, with_checksum("kt_ak_" + drawn), "GET")


QUESTIONS = {"signing in": sign_in, "registering": register, "asking for a reset": forgot, "inviting": invite, "trying a key": try_key}


def add_people(database, names):
    """People with the owner's password, in an organization of their own: inviting them is no matter of course."""
    with sqlite3.connect(database) as connection:
        connection.row_factory = sqlite3.Row
        user = dict(connection.execute("SELECT * FROM users LIMIT 1").fetchone())
        place = dict(connection.execute("SELECT * FROM memberships LIMIT 1").fetchone())
        organization = dict(connection.execute("SELECT * FROM organizations LIMIT 1").fetchone())
        organization |= {"id": f"org_{random.getrandbits(128):032x}", "identifier": "other", "name": "Other"}
        insert(connection, "organizations", organization)
        for name in names:
            person = f"usr_{random.getrandbits(128):032x}"
            insert(connection, "users", user | {"id": person, "email": name, "email_folded": name})
            insert(connection, "memberships", place | {"user_id": person, "organization_id": organization["id"]})


def insert(connection, table, row):
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", list(row.values()))


def measure(asker, question, pairs, prefix):
    """Times of known and unknown addresses, pair by pair; every answer must be the same."""
    known, unknown = [], []
    answers = set()
    for n in range(pairs):
        kinds = [("known", known), ("unknown", unknown)]
        random.shuffle(kinds)
        for kind, times in kinds:
            taken, answer = question(asker, f"{kind}-{prefix}-{n:04}@example.com")
            times.append(taken)
            answers.add(json.dumps(answer, sort_keys=True))
    assert len(answers) == 1, answers
    return known, unknown


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="ctbench-") as directory:
        config = Path(directory) / "keeptrusts.yaml"
        config.write_text("server:\n  trusted_proxies: [127.0.0.1/32]\n")
        server = bench.Server(directory, None, ["--config", str(config)], {"X-Forwarded-For": "198.51.100.1"})
        try:
            names = [f"known-{n}-{i:04}@example.com" for n in range(len(QUESTIONS)) for i in range(options.pairs)]
            add_people(f"{directory}/data/keeptrusts.db", names)
            server.ask("PATCH", "/v1/organization/security", {"registration": {"self_registration": True}})
            asker = Asker(server)
            for place, (name, question) in enumerate(QUESTIONS.items()):
                known, unknown = measure(asker, question, options.pairs, place)
                differences = [one - other for one, other in zip(known, unknown)]
                results[name] = {
                    "pairs": options.pairs,
                    "known_ms": round(statistics.median(known), 3),
                    "unknown_ms": round(statistics.median(unknown), 3),
                    "difference_ms": round(statistics.median(differences), 3),
                    "wilcoxon_p": round(wilcoxon(differences), 3),
                    "mann_whitney_p": round(mann_whitney(known, unknown), 3),
                }
                print(f"{name}: {json.dumps(results[name])}", flush=True)
        finally:
            server.stop()
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
