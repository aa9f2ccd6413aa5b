"""The functional side of the yardstick: what each contestant answers to one request of every kind."""

import json
import re
import socket
import time

import stage
from scenarios import PREFLIGHT
from stage import JSON_TYPE, ORIGIN

OTHER_ORIGIN = "Origin: https://evil.example"
OUTSIDE = "127.0.0.66"


def check(options):
    """Prints one JSON object for each contestant; writes them all to `--out` when it is given."""
    found = []
    with stage.Mock() as mock:
        for contestant in stage.contestants(options.only):
            if contestant.group != "main":
                continue
            try:
                contestant.start()
                found.append({"name": contestant.name, **answers(contestant, mock)})
                print(json.dumps(found[-1], indent=1), flush=True)
            except (stage.DidNotStart, OSError) as error:
                print(f"LEFT OUT {contestant.name}: {error}", flush=True)
            finally:
                contestant.stop()
    if options.out:
        with open(options.out, "w") as file:
            json.dump(found, file, indent=1)


def answers(contestant, mock):
    small, large = (open(contestant.body(name), "rb").read() for name in ("small", "4m"))
    keyed = [JSON_TYPE, *contestant.headers]
    keyless = [h for h in keyed if not h.lower().startswith("authorization")]
    found = {}

    def probe(label, method, headers, body=b"", show=status, **kwargs):
        try:
            found[label] = show(*stage.http(contestant.port, method, contestant.path, headers, body, **kwargs))
        except OSError as error:
            found[label] = f"no answer ({error})"

    probe("post", "POST", keyed, small)
    found["upstream saw"] = mock.stats()["last"]
    probe("post, allowed origin", "POST", [*keyed, ORIGIN], small, cors)
    probe("post, other origin", "POST", [*keyed, OTHER_ORIGIN], small, cors)
    probe("preflight, allowed origin", "OPTIONS", [ORIGIN, *PREFLIGHT], show=cors)
    probe("preflight, other origin", "OPTIONS", [OTHER_ORIGIN, *PREFLIGHT], show=cors)
    probe("preflight, denied ip", "OPTIONS", [ORIGIN, *PREFLIGHT], show=cors, src=OUTSIDE)
    probe("no key", "POST", keyless, small)
    probe("no key, allowed origin", "POST", [*keyless, ORIGIN], small, cors)
    probe("wrong key", "POST", [*keyless, "Authorization: Bearer sk-wrong"], small)
    probe("denied ip", "POST", keyed, small, src=OUTSIDE)
    probe("denied ip, no body", "GET", contestant.headers, src=OUTSIDE)
    probe("denied ip, forged X-Forwarded-For", "POST", [*keyed, "X-Forwarded-For: 127.0.0.1"], small, src=OUTSIDE)
    probe("denied ip, no key", "POST", keyless, small, src=OUTSIDE)
    served = mock.stats()["served"]
    probe("4 MiB, Content-Length", "POST", keyed, large, timeout=10)
    probe("4 MiB, chunked", "POST", [*keyed, "Transfer-Encoding: chunked"], chunked(large), timeout=10)
    found["of the two 4 MiB requests, upstream saw"] = mock.stats()["served"] - served
    mock.set(big=4 << 20)
    probe("4 MiB answer", "POST", keyed, small, lambda code, head, body: (code, len(body)), timeout=15)
    mock.set(big=0, interval_us=20_000)
    found["50 events, 20 ms apart"] = stream(contestant, keyed)
    mock.set(interval_us=0)
    return found


def status(code, _head, _body):
    return code


def cors(code, head, _body):
    lines = (line.strip() for line in head.split("\r\n")[1:])
    return code, sorted(line for line in lines if re.match(r"access-control|vary", line, re.IGNORECASE))


def chunked(body):
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def stream(contestant, headers):
    """Whether the first event is out before the last one came in."""
    body = open(contestant.body("stream"), "rb").read()
    head = [f"POST {contestant.path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    head += [f"Content-Length: {len(body)}", "", ""]
    began, first, received = time.monotonic(), None, b""
    try:
        with socket.create_connection(("127.0.0.1", contestant.port), 10) as s:
            s.sendall("\r\n".join(head).encode() + body)
            while piece := s.recv(65536):
                received += piece
                if first is None and b"data:" in received:
                    first = time.monotonic() - began
    except OSError as error:
        return f"broke off ({error})"
    end = time.monotonic() - began
    return {
        "first_ms": round(first * 1000) if first else None,
        "end_ms": round(end * 1000),
        "events": received.count(b"data:"),
        "done": b"[DONE]" in received,
    }
