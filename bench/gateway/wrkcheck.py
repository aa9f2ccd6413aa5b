#!/usr/bin/env python3
"""wrkcheck.py [names]: scenario `json` once more with wrk in place of gwload, as a cross-check of the load client."""

import re
import statistics
import subprocess
import sys

import procs
import stage

ROUNDS = 3
PRINTED = re.compile(r"wrk: 200s (\d+), others (\d+), socket errors (\d+), (\d+) req/s, p50 (\d+) us")


def wrk(contestant):
    """One run -> (CPU us per request, requests a second, p50 in us, requests that failed)."""
    pids = contestant.pids()
    before = procs.cpu_seconds(pids)
    url = f"http://127.0.0.1:{contestant.port}{contestant.path}"
    command = ["taskset", "-c", stage.OTHER_CORE, "wrk", "-t1", "-c32", "-d4s", "-s", "wrk-post.lua", url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=stage.HERE).stdout
    used = procs.cpu_between(before, procs.cpu_seconds(pids))
    good, other, broken, rate, p50 = map(int, PRINTED.search(printed).groups())
    return used * 1e6 / good, rate, p50, other + broken


def main():
    stage.prepare()
    with stage.Mock():
        running = stage.start_all(stage.contestants(sys.argv[1] if sys.argv[1:] else "nginx,haproxy"))
        try:
            rounds = [{c.name: wrk(c) for c in running} for _ in range(ROUNDS)]
        finally:
            for contestant in running:
                contestant.stop()
    for contestant in running:
        cpu, rate, p50, failed = zip(*(r[contestant.name] for r in rounds))
        print(
            f"wrk {contestant.name:14} CPU us/req {statistics.median(cpu):7.1f} [{min(cpu):.1f}-{max(cpu):.1f}]"
            f"  req/s {statistics.median(rate):,.0f}  p50 {statistics.median(p50)} us  failed: {sum(failed)}"
        )


if __name__ == "__main__":
    main()
