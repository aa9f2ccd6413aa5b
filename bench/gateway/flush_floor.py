#!/usr/bin/env python3
"""flush_floor.py [--rounds 5] [--every-ms 50] [--turns 20]: what does the disk cost who writes to it now and then?

One thread, with nothing else in its process, wakes every so many milliseconds; appends two and a half events' bytes; and
flushes them. Prints the processor time of a turn with the first of these, the first two, and all three: no program that
has its events on disk that often can spend less. Ends by itself within 20 s.
"""

import argparse
import os
import statistics
import time

import procs
import stage

GROUP = b"x" * 1800
"""Bytes that `ours` writes at `lat-50` every 50 ms."""
TURNS = ("wakes", "and writes", "and flushes")


def turn_us(last, seconds, turns):
    """Processor time of a turn in us, of this thread alone, when a turn ends with `last`."""
    path = f"{stage.TMP}/run/flush-floor"
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    begun = time.thread_time()
    for _ in range(turns):
        time.sleep(seconds)
        if last != "wakes":
            os.write(file, GROUP)
        if last == "and flushes":
            os.fdatasync(file)
    used = time.thread_time() - begun
    os.close(file)
    os.remove(path)
    return used * 1e6 / turns


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--every-ms", type=float, default=50)
    options.add_argument("--turns", type=int, default=20)
    chosen = options.parse_args()
    stage.prepare()
    os.sched_setaffinity(0, {int(stage.PROXY_CORE)})
    procs.prioritise_self()
    seen = {last: [] for last in TURNS}
    for _ in range(chosen.rounds):
        for last in TURNS:
            seen[last].append(turn_us(last, chosen.every_ms / 1000, chosen.turns))
    for last, us in seen.items():
        print(f"{last:12} {statistics.median(us):6.0f} us  [{min(us):.0f}-{max(us):.0f}]")


if __name__ == "__main__":
    main()
