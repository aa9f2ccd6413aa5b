#!/usr/bin/env python3
"""slow_streams.py [--only NAME] [--streams 1000] [--hold 15]: does memory stay flat while many streams are open?

Twice, each time with the gateway started anew: `paced`, an event every 200 ms to readers that keep up; and `stalled`,
an upstream that never stops sending to readers that take one byte a second. Samples the gateway's resident memory
and ends with status 1 if it grew after it had settled, or if a stream was refused or broke off. Ends by itself
within a minute.
"""

import argparse
import os
import resource
import selectors
import socket
import sys
import time

import stage

OPENING = 8.0
"""Seconds in which all streams must have begun."""
SETTLING = 4.0
"""Seconds after which buffers are as full as they get."""
LONGEST_HOLD = 15.0
GROWTH, SLACK_MIB = 1.05, 2
RECEIVE_BUFFER = 4096


class Readers:
    """The open streams, all read by this one thread."""

    def __init__(self, contestant, slow):
        body = open(contestant.body("stream"), "rb").read()
        head = [f"POST {contestant.path} HTTP/1.1", f"Host: 127.0.0.1:{contestant.port}", stage.JSON_TYPE]
        head += [*contestant.headers, f"Content-Length: {len(body)}", "", ""]
        self.request = "\r\n".join(head).encode() + body
        self.port = contestant.port
        self.slow = slow
        self.selector = selectors.DefaultSelector()
        self.sockets = []
        self.begun = set()
        self.refused = self.ended = self.bytes = 0

    def open(self, count):
        """Asks for the streams and waits until each has begun or was refused."""
        end = time.monotonic() + OPENING
        while time.monotonic() < end and len(self.begun) + self.refused + self.ended < count:
            for _ in range(min(20, count - len(self.sockets))):
                self._ask()
            self._take(0.01)

    def read_for(self, seconds):
        """Keeps reading, at each kind's pace."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.slow:
                time.sleep(max(0, min(1.0, end - time.monotonic())))
                self._take(0, at_most=1)
            else:
                self._take(min(0.05, max(0, end - time.monotonic())))

    def close(self):
        self.selector.close()
        for s in self.sockets:
            s.close()

    def _ask(self):
        s = socket.socket()
        if self.slow:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        s.connect(("127.0.0.1", self.port))
        s.sendall(self.request)
        s.setblocking(False)
        self.sockets.append(s)
        self.selector.register(s, selectors.EVENT_READ)

    def _take(self, timeout, at_most=65536):
        for key, _ in self.selector.select(timeout):
            s = key.fileobj
            if s in self.begun:
                if not self.slow or at_most == 1:
                    self._read(s, at_most)
            else:
                self._begin(s)

    def _begin(self, s):
        status = self._read(s, len(b"HTTP/1.1 200"))
        if status.endswith(b" 200"):
            self.begun.add(s)
        elif status:
            self.refused += 1
            self.selector.unregister(s)

    def _read(self, s, at_most):
        try:
            piece = s.recv(at_most)
        except BlockingIOError:
            return b""
        except OSError:
            piece = b""
        if not piece:
            self.ended += 1
            self.begun.discard(s)
            self.selector.unregister(s)
        self.bytes += len(piece)
        return piece


def phase(contestant, mock, slow, options):
    """One start of the gateway under its streams; whether memory stayed flat and every stream lived."""
    name = "stalled" if slow else "paced"
    contestant.start()
    readers = Readers(contestant, slow)
    try:
        mock.set(endless=1, interval_us=0 if slow else 200_000)
        start = mib(contestant)
        readers.open(options.streams)
        opened = mib(contestant)
        readers.read_for(SETTLING)
        settled = mib(contestant)
        samples = []
        for _ in range(5):
            readers.read_for(options.hold / 5)
            samples.append(mib(contestant))
        alive = len(readers.begun)
    finally:
        readers.close()
    time.sleep(1)
    closed = mib(contestant)
    contestant.stop()
    flat = max(samples) <= settled * GROWTH + SLACK_MIB
    print(
        f"{contestant.name}, {name}: {alive} of {options.streams} streams live"
        f" (refused {readers.refused}, broke off {readers.ended}), {readers.bytes:,} bytes read\n"
        f"  RSS MiB: start {start:.1f}, all opened {opened:.1f}, settled {settled:.1f},"
        f" then {', '.join(f'{s:.1f}' for s in samples)}, end {samples[-1]:.1f}, after closing {closed:.1f}"
        f" -> {'flat' if flat else 'GROWS'}",
        flush=True,
    )
    return flat and alive == options.streams


def mib(contestant):
    return contestant.memory()["rss_kib"] / 1024


def hold(text):
    seconds = float(text)
    if not 0 < seconds <= LONGEST_HOLD:
        raise argparse.ArgumentTypeError(f"at most {LONGEST_HOLD:.0f} seconds, so that both phases end within a minute")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="ours", help="one contestant, by name")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--hold", type=hold, default=LONGEST_HOLD, help="seconds of each phase after settling")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stage.prepare()
    (contestant,) = stage.contestants(options.only)
    with stage.Mock() as mock:
        os.sched_setaffinity(0, {int(c) for c in stage.OTHER_CORE.split(",")})
        try:
            passed = [phase(contestant, mock, slow, options) for slow in (False, True)]
        finally:
            contestant.stop()
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
