#!/usr/bin/env python3
"""What 200 sign-ins at once do to a server: how many are answered and how, how long they take, how much memory it needs, and
whether `/healthz` goes on answering.

    flood.py [--at-once N] [--rounds N] [--out FILE]
"""

import argparse
import collections
import http.client
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import bench


def sign_in(server, n, outcomes, start):
    """One sign-in, from a network of its own, at the moment when all begin."""
    headers = {"Content-Type": "application/json", "X-Forwarded-For": f"100.{64 + n // 256}.{n % 256}.7"}
    body = json.dumps({"email": f"nobody-{n}@example.com", "password": "Not the password 1"})
    start.wait()
    began = time.perf_counter()
    connection = http.client.HTTPConnection(server.address, timeout=120)
    connection.request("POST", "/v1/auth/login", body, headers)
    response = connection.getresponse()
    response.read()
    outcomes.append((response.status, (time.perf_counter() - began) * 1000))


def watch(server, ended, seen):
    """Memory and the time of `/healthz`, every 20 ms."""
    while not ended.is_set():
        began = time.perf_counter()
        connection = http.client.HTTPConnection(server.address, timeout=120)
        connection.request("GET", "/healthz", headers={"X-Forwarded-For": "198.51.100.1"})
        assert connection.getresponse().status == 200
        seen.append(((time.perf_counter() - began) * 1000, server.memory_mib()))
        time.sleep(0.02)


def flood(server, at_once, round_number):
    outcomes, seen, ended, start = [], [], threading.Event(), threading.Barrier(at_once)
    watcher = threading.Thread(target=watch, args=(server, ended, seen))
    watcher.start()
    first = round_number * at_once
    clients = [threading.Thread(target=sign_in, args=(server, first + n, outcomes, start)) for n in range(at_once)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    ended.set()
    watcher.join()
    assert len(outcomes) == at_once, "some were not answered"
    return outcomes, seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ctbench-") as directory:
        config = Path(directory) / "keeptrusts.yaml"
        config.write_text("server:\n  trusted_proxies: [127.0.0.1/32]\n")
        server = bench.Server(directory, None, ["--config", str(config)], {"X-Forwarded-For": "198.51.100.1"})
        try:
            before = server.memory_mib()
            outcomes, seen = [], []
            for round_number in range(options.rounds):
                more, seen_more = flood(server, options.at_once, round_number)
                outcomes += more
                seen += seen_more
            time.sleep(2)
            times = sorted(taken for _, taken in outcomes)
            health = sorted(taken for taken, _ in seen)
            result = {
                "at_once": options.at_once,
                "rounds": options.rounds,
                "answers": dict(sorted(collections.Counter(status for status, _ in outcomes).items())),
                "sign_in_p50_ms": round(statistics.median(times), 1),
                "sign_in_most_ms": round(times[-1], 1),
                "healthz_p50_ms": round(statistics.median(health), 1),
                "healthz_most_ms": round(health[-1], 1),
                "memory_before_mib": before,
                "memory_most_mib": max(memory for _, memory in seen),
                "memory_after_mib": server.memory_mib(),
            }
        finally:
            server.stop()
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
