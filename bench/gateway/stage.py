"""The stage of every measurement: where things lie, the mock upstream, the contestants and how they are started."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib

import procs

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
TMP = os.environ.get("GWBENCH_TMP", os.path.join(tempfile.gettempdir(), "gwbench"))
PEERS = os.environ.get("GWBENCH_PEERS", os.path.join(tempfile.gettempdir(), "peers"))
BIN = os.environ.get("GWBENCH_BIN", os.path.join(TMP, "target/release"))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(REPO, "target"))
KT = os.environ.get("GWBENCH_KT", os.path.join(REPO, TARGET, "release/kt"))
PROXY_CORE = os.environ.get("GWBENCH_PROXY_CORE", "0")
OTHER_CORE = os.environ.get("GWBENCH_OTHER_CORE", "1")
UPSTREAM = int(os.environ.get("GWBENCH_UPSTREAM", "9000"))
CONTESTANTS = os.environ.get("GWBENCH_CONTESTANTS", os.path.join(HERE, "contestants.toml"))
PATH = "/v1/chat/completions"
JSON_TYPE = "Content-Type: application/json"
ORIGIN = "Origin: https://app.example.com"
BODIES = {
    "small": f"{HERE}/bodies/chat.json",
    "stream": f"{HERE}/bodies/chat-stream.json",
    "1m": f"{TMP}/chat-1m.json",
    "4m": f"{TMP}/chat-4m.json",
}
LEAST_FREE = 10 << 30
"""Bytes that must be free where the data folders lie: events come in at up to 30 MB/s while a run lasts."""


class DidNotStart(Exception):
    """A contestant or the mock did not come up; the message says where to look."""


def prepare():
    """Makes the folders under TMP."""
    for folder in ("conf", "logs", "run", "results"):
        os.makedirs(f"{TMP}/{folder}", exist_ok=True)


def http(port, method, path, headers, body=b"", timeout=3.0, src=None):
    """One request on a connection of its own -> (status, head, body)."""
    source = (src, 0) if src else None
    with socket.create_connection(("127.0.0.1", port), timeout, source_address=source) as s:
        head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", *headers]
        chunked = any(h.lower().startswith("transfer-encoding") for h in headers)
        if not chunked and (body or method == "POST"):
            head.append(f"Content-Length: {len(body)}")
        answer = b""
        try:
            s.sendall("\r\n".join([*head, "", ""]).encode() + body)
        except OSError:
            pass  # refused while the body was on its way: the answer, if any, is still to be read
        try:
            while piece := s.recv(65536):
                answer += piece
        except OSError:
            pass
    if not answer:
        raise OSError("no answer")
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode("latin1"), rest


def spawn(command, core, *, env=None, log=os.devnull, cwd=None, realtime=False, stdout=None):
    """Starts a program in its own session, pinned to `core`, with the harness's priority."""

    def before_exec():
        os.setsid()
        os.sched_setaffinity(0, {int(c) for c in core.split(",")})
        procs.prioritise_self()
        if realtime:
            procs.realtime([os.getpid()], True)

    with open(log, "ab") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout or sink,
            stderr=sink,
            env={**os.environ, **(env or {})},
            preexec_fn=before_exec,
            cwd=cwd,
        )


def stop(process):
    """Ends a program and its descendants: five seconds after SIGTERM with SIGKILL."""
    if process.poll() is not None:
        return
    pids = procs.tree(process.pid)
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        pass
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait(5)


class Mock:
    """The mock upstream; `with Mock() as mock`."""

    def __init__(self, core=OTHER_CORE):
        listen = f"127.0.0.1:{UPSTREAM}"
        self.process = spawn([f"{BIN}/mockup", "--listen", listen], core, log=f"{TMP}/logs/mock.log")
        self.pid = self.process.pid
        for _ in range(500):
            try:
                self.stats()
                return
            except OSError:
                time.sleep(0.01)
        stop(self.process)
        raise DidNotStart(f"the mock upstream did not start; see {TMP}/logs/mock.log")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)

    def set(self, **settings):
        """Changes how it answers; the settings are listed at the head of tools/src/bin/mockup.rs."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        http(UPSTREAM, "GET", f"/__set?{query}", [])

    def stats(self):
        return json.loads(http(UPSTREAM, "GET", "/__stats", [])[2])


class Contestant:
    """One entry of contestants.toml; `start` and `stop` run it."""

    def __init__(self, entry):
        self.name = entry["name"]
        self.port = entry["port"]
        self.group = entry["group"]
        self.does = entry["does"]
        self.path = entry.get("path", PATH)
        self.data = f"{TMP}/run/{self.name}" if entry.get("data") else None
        self.headers = [self._fill(h) for h in entry.get("headers", [])]
        self.entry = entry
        self.process = None
        self.start_seconds = None

    def start(self):
        """Starts it, with an empty data folder, and waits for its first 200."""
        if self.data:
            check_disk()
            self._remove_data()
            os.makedirs(self.data)
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", self.port)) == 0:
                raise DidNotStart(f"{self.name}: port {self.port} is taken; end what listens there")
        self.conf = self._render()
        command = [self._fill(word) for word in self.entry["cmd"]]
        env = {name: self._fill(value) for name, value in self.entry.get("env", {}).items()}
        began = time.monotonic()
        self.process = spawn(command, PROXY_CORE, env=env, log=self.log, cwd=f"{TMP}/run")
        self._wait_for_200(began)
        return self

    def stop(self):
        """Ends it and removes what it wrote."""
        if self.process:
            stop(self.process)
        self._remove_data()

    def pids(self):
        return procs.tree(self.process.pid)

    def memory(self):
        return procs.memory(self.pids())

    def data_bytes(self):
        """How much its data folder holds on disk."""
        files = (os.path.join(d, f) for d, _, names in os.walk(self.data or "/nonexistent") for f in names)
        return sum(os.stat(file).st_blocks * 512 for file in files)

    def body(self, name):
        """The path of a request body, with the contestant's own model name where it needs one."""
        if "model" not in self.entry:
            return BODIES[name]
        path = f"{TMP}/run/{self.name}.{name}.json"
        model = json.dumps(self.entry["model"])
        text = open(BODIES[name]).read().replace('"model": "gpt-4o-mini"', f'"model": {model}', 1)
        with open(path, "w") as file:
            file.write(text)
        return path

    @property
    def log(self):
        return f"{TMP}/logs/{self.name}.log"

    def _wait_for_200(self, began):
        body = open(self.body("small"), "rb").read()
        patience = self.entry.get("wait", 30)
        last = "nothing yet"
        while time.monotonic() < began + patience:
            if self.process.poll() is not None:
                raise DidNotStart(f"{self.name} ended with {self.process.returncode}; see {self.log}")
            try:
                last, _, _ = http(self.port, "POST", self.path, [JSON_TYPE, *self.headers], body, timeout=10)
            except OSError as error:
                last = error
                time.sleep(0.002)
                continue
            if last == 200:
                self.start_seconds = time.monotonic() - began
                return
            time.sleep(0.02)
        self.stop()
        raise DidNotStart(f"{self.name}: no 200 within {patience} s (last: {last}); see {self.log}")

    def _render(self):
        """Fills in the template of its configuration; returns the path of the result."""
        if "conf" not in self.entry:
            return ""
        text = open(os.path.join(HERE, self.entry["conf"])).read()
        values = {"PORT": str(self.port), "UPSTREAM": str(UPSTREAM), "TMP": TMP, "NAME": self.name}
        values |= {name: self._value(text) for name, text in self.entry.get("vars", {}).items()}
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        _, ending = os.path.splitext(self.entry["conf"].removesuffix(".tmpl"))
        path = f"{TMP}/conf/{self.name}{ending}"
        with open(path, "w") as file:
            file.write(text)
        return path

    def _value(self, text):
        text = self._fill(text)
        if not text.startswith("file:"):
            return text
        pad = " " * self.entry.get("indent", 0)
        return "".join(pad + line for line in open(text.removeprefix("file:"))).rstrip("\n")

    def _fill(self, text):
        words = {"port": str(self.port), "upstream": str(UPSTREAM), "tmp": TMP, "here": HERE, "peers": PEERS, "kt": KT}
        words |= {"data": self.data or "", "conf": getattr(self, "conf", "")}
        for word, value in words.items():
            text = text.replace("{" + word + "}", value)
        return text

    def _remove_data(self):
        if self.data:
            shutil.rmtree(self.data, ignore_errors=True)


def contestants(only=None):
    """The contestants named in `only` (all without it), as contestants.toml describes them."""
    entries = {}
    for entry in tomllib.load(open(CONTESTANTS, "rb"))["contestant"]:
        entries[entry["name"]] = entries.get(entry.pop("like", None), {}) | entry
    names = only.split(",") if only else list(entries)
    unknown = set(names) - set(entries)
    if unknown:
        sys.exit(f"no such contestant: {', '.join(sorted(unknown))}; there are {', '.join(entries)}")
    return [Contestant(entry) for name, entry in entries.items() if name in names]


def start_all(wanted):
    """Starts the contestants; one that does not come up is reported and left out."""
    running = []
    for contestant in wanted:
        try:
            running.append(contestant.start())
            print(f"started {contestant.name} in {contestant.start_seconds:.3f} s", flush=True)
        except (DidNotStart, OSError) as error:
            contestant.stop()
            print(f"LEFT OUT {contestant.name}: {error}", flush=True)
    return running


def check_disk():
    """Ends the run unless the data folders lie on a real disk with room."""
    mounts = [line.split()[1:3] for line in open("/proc/mounts")]
    here = os.path.realpath(TMP) + "/"
    inside = [(len(point), kind) for point, kind in mounts if here.startswith(point.rstrip("/") + "/")]
    if max(inside)[1] in ("tmpfs", "ramfs"):
        sys.exit(f"{TMP} is in memory, where writing events costs nothing: set GWBENCH_TMP to a folder on a disk")
    if shutil.disk_usage(TMP).free < LEAST_FREE:
        sys.exit(f"{TMP} has less than 10 GiB free for events: make room or set GWBENCH_TMP to another disk")


def gwload(port, arguments, headers, path=PATH, realtime=False):
    """Runs the load client to its end; returns what it printed."""
    command = [f"{BIN}/gwload", "--addr", f"127.0.0.1:{port}", "--path", path]
    command += [word for header in headers for word in ("--header", header)] + arguments
    log = f"{TMP}/logs/gwload.log"
    process = spawn(command, OTHER_CORE, log=log, realtime=realtime, stdout=subprocess.PIPE)
    printed, _ = process.communicate(timeout=180)
    if process.returncode:
        raise RuntimeError(f"gwload ended with {process.returncode}; see {log}")
    return json.loads(printed)
