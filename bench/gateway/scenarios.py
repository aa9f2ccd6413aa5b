"""What is asked of a gateway: each scenario's load, and who can take part in it."""

from dataclasses import dataclass, field

from stage import JSON_TYPE, ORIGIN

PREFLIGHT = [
    "Access-Control-Request-Method: POST",
    "Access-Control-Request-Headers: content-type, authorization",
]


@dataclass(frozen=True)
class Scenario:
    name: str
    needs: str
    """The word in a contestant's `does` that admits it."""
    conns: int
    method: str = "POST"
    body: str | None = "small"
    headers: list = field(default_factory=list)
    sse: bool = False
    rate: int | None = None
    """Requests a second; without it, a closed loop."""
    source: str | None = None
    interval_us: int = 0
    """The pause of the mock upstream between two events; 0 writes them all at once."""
    groups: tuple = ("main",)
    status: tuple = ("", 200)
    """The key of contestants.toml that overrides the expected status, and the status otherwise."""

    @property
    def latency(self):
        return self.rate is not None

    def request_headers(self, contestant_headers):
        """A preflight carries no key; everything else does."""
        if self.method == "OPTIONS":
            return self.headers
        return [*contestant_headers, *([JSON_TYPE] if self.body else []), *self.headers]

    def expected(self, entry):
        key, status = self.status
        return entry.get(key, status)

    def load(self, seconds, entry, body_path):
        """The load client's arguments."""
        seconds = max(seconds, 4) if self.latency else seconds
        words = ["--conns", self.conns, "--secs", seconds, "--expect", self.expected(entry)]
        words += ["--method", self.method]
        words += ["--body", body_path(self.body)] if self.body else []
        words += ["--sse"] if self.sse else []
        words += ["--no-done"] if self.sse and not entry.get("done", True) else []
        words += ["--rate", self.rate] if self.rate else []
        words += ["--src", self.source] if self.source else []
        return [str(word) for word in words]


STREAM = {"body": "stream", "sse": True}
EVERY_LIST = ("main", "iplist")
DENIED = {"source": "127.0.0.66", "status": ("deny_status", 403)}
SCENARIOS = {
    scenario.name: scenario
    for scenario in [
        Scenario("json", "json", 32),
        Scenario("json-cors", "json", 32, headers=[ORIGIN]),
        Scenario("sse-burst", "sse", 16, **STREAM),
        Scenario("sse-paced", "sse", 16, **STREAM, interval_us=2000),
        Scenario("big", "big", 4, body="1m"),
        Scenario("ip", "ip", 32, groups=EVERY_LIST),
        Scenario("deny", "deny", 32, **DENIED, groups=EVERY_LIST),
        Scenario("deny-get", "deny", 32, method="GET", body=None, **DENIED),
        Scenario(
            "preflight",
            "preflight",
            32,
            method="OPTIONS",
            body=None,
            headers=[ORIGIN, *PREFLIGHT],
            status=("preflight_status", 204),
        ),
        Scenario("oversize", "oversize", 4, body="4m", status=("over_status", 413)),
        Scenario("lat-50", "lat", 64, rate=50),
        Scenario("lat-1000", "lat1k", 64, rate=1000),
        Scenario("lat-sse", "lat", 64, **STREAM, rate=10, interval_us=2000),
    ]
}
