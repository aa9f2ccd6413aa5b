#!/usr/bin/env python3
"""Measures the control plane of one `kt server run`, on SQLite or PostgreSQL. See README.md.

    bench.py [--database URL] [--seconds N] [--events N] [--copies N] [--sign-ins N] [--audit-records N]
             [--sessions N] [--out FILE]
"""

import argparse
import hashlib
import http.client
import json
import os
import random
import re
import secrets
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

REPO = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPO / "bench" / "gateway"))
import procs  # noqa: E402

EMAIL, PASSWORD = "owner@example.com", "Tall green walnuts dance 7"
SERVER_CORE, CLIENT_CORE = os.environ.get("CTBENCH_CORES", "0,1").split(",")
EVENT_TYPES = ["decision"] * 17 + ["ip_denied", "auth_failed", "rate_limited"]
BATCH = 1000
INGEST_CONNECTIONS = 4


class Server:
    """A running control plane with an owner who is signed in."""

    def __init__(self, directory, database, more=(), headers=None):
        self.headers = {"Content-Type": "application/json"} | (headers or {})
        self.environment = os.environ | {"KEEPTRUSTS_BOOTSTRAP_EMAIL": EMAIL, "KEEPTRUSTS_BOOTSTRAP_PASSWORD": PASSWORD}
        self.environment |= {"KEEPTRUSTS_LOG": "warn"} | ({"KEEPTRUSTS_DATABASE__URL": database} if database else {})
        self.directory = directory
        command = ["taskset", "-c", SERVER_CORE, *self.command("server", "run")]
        command += ["--api-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0", *more]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        match = re.match(r"ready api=http://(\S+) console=http://(\S+)", line)
        assert match, f"the server did not start: {line}"
        self.address, self.console = match[1], match[2]
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.sign_in()

    def command(self, *words):
        """A command of the measured binary, about the data of this server."""
        binary = os.environ.get("CTBENCH_KT") or str(REPO / "target" / "release" / "kt")
        return [binary, *words, "--data-dir", f"{self.directory}/data"]

    def operate(self, *words):
        """Does as an operator on the server's machine does."""
        subprocess.run(self.command(*words), env=self.environment, stdout=subprocess.DEVNULL, check=True)

    def sign_in(self):
        """Signs in anew: a change asks for a proof of the last ten minutes."""
        self.token = self.ask("POST", "/v1/auth/login", {"email": EMAIL, "password": PASSWORD}, token="")["access_token"]

    def ask(self, method, path, body=None, token=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        token = self.token if token is None else token
        headers = self.headers | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        assert response.status < 300, f"{method} {path}: {response.status} {text[:300]}"
        return json.loads(text) if text else None

    def new_key(self, kind):
        return self.ask("POST", "/v1/tokens", {"type": kind, "name": f"bench {kind}", "scope": "write"})["key"]

    def cpu(self):
        return procs.cpu_seconds(procs.tree(self.process.pid))

    def memory_mib(self):
        return round(procs.memory(procs.tree(self.process.pid))["rss_kib"] / 1024, 1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def checks(server, bearer, seconds, connections=32):
    """`GET /v1/whoami` in a closed loop: what checking a bearer costs, with all that HTTP costs beside it."""
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-H", f"Authorization: Bearer {bearer}", f"http://{server.address}/v1/whoami"]
    before = server.cpu()
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = procs.cpu_between(before, server.cpu())
    assert "Non-2xx" not in text, text
    requests = int(re.search(r"(\d+) requests in", text)[1])
    latency = dict(re.findall(r"(50|90|99)%\s+(\S+)", text))
    return {
        "requests_per_second": round(requests / seconds),
        "requests_per_cpu_second": round(requests / cpu),
        "p50": latency["50"],
        "p90": latency["90"],
    }


def timed(times, action):
    """Milliseconds that each of so many calls takes."""
    taken = []
    for n in range(times):
        start = time.perf_counter()
        action(n)
        taken.append((time.perf_counter() - start) * 1000)
    return summary(taken)


def summary(milliseconds):
    ordered = sorted(milliseconds)
    at = lambda part: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2)
    return {"n": len(ordered), "p50_ms": at(0.5), "p90_ms": at(0.9), "mean_ms": round(statistics.mean(ordered), 2)}


def sign_ins(server, times):
    """Whole sign-ins one after the other, each ended again. A hash takes most of it."""

    def one(_):
        tokens = server.ask("POST", "/v1/auth/login", {"email": EMAIL, "password": PASSWORD}, token="")
        server.ask("POST", "/v1/auth/logout", {}, token=tokens["access_token"])

    return timed(times, one)


def audited_changes(server, times):
    """Changes that leave an audit record, one after the other."""
    return timed(times, lambda n: server.ask("PATCH", "/v1/organization", {"name": f"Bench {n}"}))


class Browser:
    """Somebody who is signed in at the console: cookies, and one connection."""

    def __init__(self, server):
        host, port = server.console.rsplit(":", 1)
        self.connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        self.host, self.cookies = f"{host}:{port}", {}
        token = json.loads(self.ask("GET", "/api/session"))["csrf_token"]
        form = {"Content-Type": "application/x-www-form-urlencoded", "x-keeptrusts-csrf-token": token}
        self.ask("POST", "/login", urlencode({"email": EMAIL, "password": PASSWORD}), form)

    def ask(self, method, path, body=None, more=None):
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Host": self.host, "Cookie": cookies, "Sec-Fetch-Site": "same-origin", "HX-Request": "true"} | (more or {})
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        text = response.read()
        for line in response.headers.get_all("Set-Cookie") or []:
            name, value = line.split(";")[0].split("=", 1)
            self.cookies[name] = value
        assert response.status < 300, f"{method} {path}: {response.status} {text[:300]}"
        return text


def pages(server, times):
    """Signed-in pages one after the other, with all that HTTP and this client cost beside the server's own time."""
    browser = Browser(server)
    paths = ["/overview", "/overview?window=7d", "/events", "/audit-log", "/gateways", "/settings/profile"]
    paths += ["/audit-log?action=auth.sign_in", "/audit-log?outcome=failure", f"/audit-log?actor={EMAIL}"]
    return {path: timed(times, lambda _, path=path: browser.ask("GET", path)) for path in paths}


class Events:
    """Events of the last 30 days as a gateway would deliver them, from a seed: but for the time, every run sends the same."""

    def __init__(self, total):
        self.total = total
        self.first = int(time.time()) - 30 * 86400
        self.lock = threading.Lock()
        self.sent = 0
        self.samples = []

    def batch(self):
        with self.lock:
            first = self.sent
            if first >= self.total:
                return None
            self.sent += BATCH
        rng = random.Random(first)
        return [self.event(first + n, rng) for n in range(BATCH)]

    def event(self, n, rng):
        seconds = n * 30 * 86400 // self.total
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.first + seconds))
        request = f"{rng.getrandbits(128):032x}"
        event = {
            "id": f"evt_{n:032x}",
            "event_type": rng.choice(EVENT_TYPES),
            "timestamp": f"{stamp}.{n % 1000:03d}Z",
            "gateway_id": "gw_bench",
            "request_id": f"{request[:8]}-{request[8:12]}-{request[12:16]}-{request[16:20]}-{request[20:]}",
            "source_ip": f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            "method": "POST",
            "path": "/v1/chat/completions",
            "status": 200,
            "reason_code": "ok",
            "config_version": "0123456789ab",
            "duration_ms": rng.randrange(1, 4000),
        }
        if n % max(1, self.total // 50) == 0:
            self.samples.append(event)
        return event


def ingest(server, key, total):
    """Delivers `total` events over a few connections; the client's own share of the time is told too."""
    events = Events(total)
    taken, errors = [], []

    def deliver():
        connection = http.client.HTTPConnection(server.address, timeout=120)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        while batch := events.batch():
            body = json.dumps({"events": batch})
            start = time.perf_counter()
            connection.request("POST", "/v1/events", body, headers)
            response = connection.getresponse()
            text = response.read()
            taken.append((time.perf_counter() - start) * 1000)
            if response.status >= 300:
                errors.append(text[:300])
                return

    before, start = server.cpu(), time.perf_counter()
    threads = [threading.Thread(target=deliver) for _ in range(INGEST_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    seconds, cpu = time.perf_counter() - start, procs.cpu_between(before, server.cpu())
    rates = {"events": total, "events_per_second": round(total / seconds), "server_cpu_share": round(cpu / seconds, 2)}
    return rates | {"batch": summary(taken)}, events.samples


def copy_events(directory, copies):
    """Puts copies of each event into the SQLite database itself, with names, addresses and requests of their own."""
    (path,) = Path(directory, "data").glob("*.db")
    columns = "organization_id, id, gateway_id, seq, hash, occurred_at, event_type, source_ip, request_id, verdict, body"
    made = """organization_id, printf('evt_%08x', ?1) || substr(id, 13), gateway_id, NULL, NULL, occurred_at, event_type,
        printf('10.%d.%d.%d', random() & 255, random() & 255, random() & 255), lower(hex(randomblob(16))), verdict, body"""
    database = sqlite3.connect(path, isolation_level=None)
    # Nothing is lost with a store that is made for this: the server sets both back when it starts.
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    found = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'events' AND sql IS NOT NULL"
    indexes = database.execute(found).fetchall()
    database.execute("BEGIN")
    database.execute("CREATE TEMP TABLE originals AS SELECT * FROM events")
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    for copy in range(1, copies + 1):
        database.execute(f"INSERT INTO events ({columns}) SELECT {made} FROM originals", [copy])
    for _, sql in indexes:
        database.execute(sql)
    database.execute("COMMIT")
    (count,) = database.execute("SELECT count(*) FROM events").fetchone()
    database.close()
    return count


def copy_sessions(directory, copies):
    """Gives each of so many copied members a session at the console, put into SQLite directly; their cookies."""
    (path,) = Path(directory, "data").glob("*.db")
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    # Where nobody has been at the console, there is no session to copy: any other of the owner's does.
    (session, user) = database.execute("SELECT id, user_id FROM sessions WHERE ended_at IS NULL LIMIT 1").fetchone()

    def copy(table, column, of, changes):
        columns = [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(changes.get(name, name) for name in columns)
        database.execute(
            f"WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n LIMIT {copies})"
            f" INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM n, {table} WHERE {column} = ?",
            [of],
        )

    member = "printf('usr_%032x', n)"
    address = "printf('member-%d@example.com', n)"
    database.execute("BEGIN")
    copy("users", "id", user, {"id": member, "email": address, "email_folded": address})
    copy("memberships", "user_id", user, {"user_id": member, "role": "'member'"})
    copy("sessions", "id", session, {"id": "printf('ses_%032x', n)", "user_id": member, "door": "'console'"})
    cookies = [secrets.token_urlsafe(32) for _ in range(copies)]
    database.executemany(
        "INSERT INTO console_cookies (digest, session_id, created_at) VALUES (?, ?, ?)",
        [
            (hashlib.sha256(cookie.encode()).hexdigest(), f"ses_{n:032x}", int(time.time() * 1e6))
            for n, cookie in enumerate(cookies)
        ],
    )
    database.execute("COMMIT")
    database.close()
    return cookies


def sessions(server, cookies):
    """Every one of these sessions asks for a page; resident memory before and after, and what a page takes."""
    browser = Browser(server)
    before = server.memory_mib()
    ask = lambda n: browser.ask("GET", "/settings/profile", more={"Cookie": f"kt_session={cookies[n]}"})
    assert "member-0@example.com" in ask(0).decode(), "a copied session is not its member's"
    taken = timed(len(cookies), ask)
    return {"sessions": len(cookies), "before_mib": before, "after_mib": server.memory_mib(), "page": taken}


def queries(server, samples):
    """Each way of asking for events, with values that exist, over the whole store."""
    day = lambda event: event["timestamp"][:10]
    asked = {
        "newest": lambda event: {},
        "by type": lambda event: {"event_type": event["event_type"]},
        "by a rare type": lambda event: {"event_type": "ip_denied"},
        "by time": lambda event: {"since": f"{day(event)}T00:00:00Z", "until": f"{day(event)}T23:59:59Z"},
        "by type and time": lambda event: {"event_type": "auth_failed", "until": f"{day(event)}T23:59:59Z"},
        "by address": lambda event: {"source_ip": event["source_ip"]},
        "by request": lambda event: {"request_id": event["request_id"]},
    }
    found = {}
    for name, query in asked.items():
        paths = [f"/v1/events?{urlencode(query(event) | {'limit': 100})}" for event in samples]
        found[name] = timed(len(paths), lambda n: server.ask("GET", paths[n]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="postgres://…; without it SQLite in the data directory")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--copies", type=int, default=0, help="of each delivered event, put into SQLite directly")
    parser.add_argument("--sign-ins", type=int, default=30)
    parser.add_argument("--audit-records", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=100_000, help="at once, on SQLite")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {"database": "PostgreSQL" if options.database else "SQLite"}

    def tell(name, value):
        results[name] = value
        print(f"{name}: {json.dumps(value)}", flush=True)

    with tempfile.TemporaryDirectory(prefix="ctbench-", dir=os.environ.get("CTBENCH_TMP")) as directory:
        server = Server(directory, options.database)
        try:
            tell("memory at rest, MiB", server.memory_mib())
            access, gateway = server.new_key("access"), server.new_key("gateway")
            checks(server, server.token, 1)
            tell("a session's token", checks(server, server.token, options.seconds))
            tell("an API key", checks(server, access, options.seconds))
            tell("a token that nobody has", unauthorized(server, options.seconds))
            tell("sign-in and sign-out", sign_ins(server, options.sign_ins))
            tell("a change with its audit record", audited_changes(server, 200))
            delivered, samples = ingest(server, gateway, options.events)
            tell("delivery of events", delivered)
            if options.copies:
                server.stop()
                tell("events with their copies", copy_events(directory, options.copies))
                server = Server(directory, options.database)
            tell("queries", queries(server, samples))
            server.sign_in()
            audited_changes(server, options.audit_records)
            tell(f"pages with {options.audit_records} audit records", pages(server, 100))
            tell("memory afterwards, MiB", server.memory_mib())
            if not options.database and options.sessions:
                server.stop()
                cookies = copy_sessions(directory, options.sessions)
                server = Server(directory, options.database)
                tell("sessions at once", sessions(server, cookies))
        finally:
            server.stop()
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


def unauthorized(server, seconds):
    """What a flood of wrong bearers costs: refused, and nothing looked up twice."""
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", "-c32", f"-d{seconds}s"]
    command += ["-H", "Authorization: Bearer nobody.has.this", f"http://{server.address}/v1/whoami"]
    before = server.cpu()
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", text)[1])
    return {"requests_per_cpu_second": round(requests / procs.cpu_between(before, server.cpu()))}


if __name__ == "__main__":
    main()
