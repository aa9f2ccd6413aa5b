#!/usr/bin/env python3
"""Side-by-side measurements of LLM gateways on one small machine. See README.md.

bench.py check   [--only a,b]            start each, send one of everything, print what came back
bench.py run     [--only a,b] [--scenarios json,ip] [--rounds 5] [--secs 3] --out FILE.jsonl
bench.py startup [--only a,b] [--rounds 5] --out FILE.jsonl
bench.py ceiling [--rounds 5] --out FILE.jsonl
bench.py profile --only a [--scenarios json] [--secs 10]     where the CPU time goes (needs perf)
"""

import argparse
import json
import os
import subprocess
import sys
import time

import procs
import stage
from check import check
from scenarios import SCENARIOS

FIFO = os.environ.get("GWBENCH_FIFO", "1") == "1"
WARM_UP = 0.5
SETTLE = 2.0


class Results:
    """A file of JSON lines, added to as results come in."""

    def __init__(self, path):
        self.file = open(path, "a")

    def put(self, row):
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()


class Direct:
    """The mock upstream itself as a contestant: what the load client sees with no gateway between."""

    name, port, path, headers, entry = "direct", stage.UPSTREAM, stage.PATH, [], {}

    def pids(self):
        return []

    def memory(self):
        return procs.memory([])

    def body(self, name):
        return stage.BODIES[name]


def run(options):
    """Every scenario against every contestant that can take part, round by round."""
    if os.path.exists(options.out) and any('"scenario"' in line for line in open(options.out)):
        sys.exit(f"{options.out} holds a run already, and ratios hold within one run only: name a new file")
    chosen = [SCENARIOS[name] for name in options.scenarios or SCENARIOS]
    wanted = [c for c in stage.contestants(options.only) if any(takes_part(c, s) for s in chosen)]
    results = Results(options.out)
    running = []
    with stage.Mock() as mock:
        try:
            running = stage.start_all(wanted)
            time.sleep(SETTLE)
            for contestant in running:
                results.put({"idle": contestant.name, **contestant.memory()})
            for scenario in chosen:
                run_scenario(scenario, running, mock, options, results)
            time.sleep(SETTLE)
            for contestant in running:
                results.put({"after": contestant.name, "data_bytes": contestant.data_bytes(), **contestant.memory()})
        finally:
            for contestant in running:
                contestant.stop()


def takes_part(contestant, scenario):
    return contestant.group in scenario.groups and scenario.needs in contestant.does


def run_scenario(scenario, running, mock, options, results):
    """Interleaved: round 1 of everybody, then round 2, and another one goes first each round."""
    entrants = [c for c in running if takes_part(c, scenario)]
    if not entrants:
        return
    order = ([Direct()] if scenario.latency else []) + entrants
    for number in range(1, options.rounds + 1):
        first = number % len(order)
        for contestant in order[first:] + order[:first]:
            row = measure(scenario, contestant, mock, options)
            results.put({"scenario": scenario.name, "contestant": contestant.name, "round": number, **row})
            print(progress(scenario, contestant, number, row), flush=True)


def measure(scenario, contestant, mock, options):
    """One run: the load client's figures and what they cost the contestant."""
    mock.set(interval_us=scenario.interval_us)
    load(scenario, contestant, WARM_UP)
    time.sleep(0.05)
    foreign_before = procs.wait_quiet(options.quiet, options.quiet_wait)
    pids = contestant.pids()
    realtime = FIFO and scenario.latency
    if realtime:
        procs.realtime([*pids, mock.pid], True)
    try:
        began, before = time.monotonic(), readings(pids, mock)
        answered = load(scenario, contestant, options.secs, realtime)
        elapsed, after = time.monotonic() - began, readings(pids, mock)
    finally:
        if realtime:
            procs.realtime([*contestant.pids(), mock.pid], False)
    count = answered["ok"] + answered["bad"]
    used = procs.cpu_between(before["contestant"], after["contestant"])
    mock_used = procs.cpu_between(before["mock"], after["mock"])
    client_used = answered["client_cpu_us_per_req"] * count / 1e6
    busy, stolen = (now - then for now, then in zip(after["machine"], before["machine"]))
    return {
        "n": count,
        "secs": elapsed,
        "cpu_us_per_req": used * 1e6 / count if count else None,
        "core_use": used / elapsed,
        "mock_us_per_req": mock_used * 1e6 / count if count else None,
        "foreign_before": foreign_before,
        "foreign_cores": (busy - used - mock_used - client_used) / elapsed,
        "steal": stolen / elapsed,
        **contestant.memory(),
        "load": answered,
    }


def load(scenario, contestant, seconds, realtime=False):
    arguments = scenario.load(seconds, contestant.entry, contestant.body)
    if seconds == WARM_UP:
        arguments[arguments.index("--secs") + 1] = str(WARM_UP)
    headers = scenario.request_headers(contestant.headers)
    return stage.gwload(contestant.port, arguments, headers, contestant.path, realtime)


def readings(pids, mock):
    return {
        "contestant": procs.cpu_seconds(pids),
        "mock": procs.cpu_seconds([mock.pid]),
        "machine": procs.machine_busy(),
    }


def progress(scenario, contestant, number, row):
    answered, latency = row["load"], row["load"]["lat_us"]
    failed = f"bad {answered['bad']} resets {answered['resets']} unfinished {answered['unfinished']}"
    return (
        f"{scenario.name:10} r{number} {contestant.name:14} {answered['rps']:>8.0f}/s"
        f"  cpu {row['cpu_us_per_req'] or 0:8.1f} us  p50 {latency['p50']:.0f}  p99 {latency['p99']:.0f}"
        f"  ok {answered['ok']} {failed} {answered['status']}"
        f"  others {row['foreign_cores']:.2f}  rss {row['rss_kib'] // 1024} MiB"
    )


def startup(options):
    """From exec to the first answered request, again and again."""
    results = Results(options.out)
    wanted = stage.contestants(options.only)
    with stage.Mock():
        for number in range(1, options.rounds + 1):
            for contestant in list(wanted):
                try:
                    row = start_once(contestant, settle=SETTLE if number == 1 else 0.3)
                except (stage.DidNotStart, OSError) as error:
                    print(f"LEFT OUT {contestant.name}: {error}", flush=True)
                    wanted.remove(contestant)
                    continue
                results.put({"startup": contestant.name, "round": number, **row})
                print(
                    f"startup r{number} {contestant.name:14} {row['secs'] * 1000:.0f} ms"
                    f"  cpu {row['cpu_s'] * 1000:.0f} ms  rss {row['rss_kib'] / 1024:.1f} MiB",
                    flush=True,
                )


def start_once(contestant, settle):
    try:
        contestant.start()
        used = max(procs.cpu_seconds(contestant.pids()))
        time.sleep(settle)
        return {"secs": contestant.start_seconds, "cpu_s": used, **contestant.memory()}
    finally:
        contestant.stop()


def ceiling(options):
    """The mock upstream on the contestants' core, measured like one: no gateway can be faster than this shows."""
    results = Results(options.out)
    with stage.Mock(core=stage.PROXY_CORE) as mock:
        for number in range(1, options.rounds + 1):
            for name in ("json", "sse-burst", "sse-paced", "big"):
                scenario = SCENARIOS[name]
                mock.set(interval_us=scenario.interval_us)
                before = procs.cpu_seconds([mock.pid])
                answered = load(scenario, Direct(), options.secs)
                used = procs.cpu_between(before, procs.cpu_seconds([mock.pid]))
                each = used * 1e6 / max(answered["ok"], 1)
                results.put({"ceiling": name, "round": number, "cpu_us_per_req": each, "load": answered})
                print(f"ceiling {name:10} r{number} {answered['rps']:.0f}/s  mock {each:.1f} us", flush=True)


def profile(options):
    """Samples each contestant under each scenario with perf, and prints where its CPU time went."""
    with stage.Mock() as mock:
        for contestant in stage.contestants(options.only):
            for name in options.scenarios or ["json"]:
                scenario = SCENARIOS[name]
                try:
                    contestant.start()
                    mock.set(interval_us=scenario.interval_us)
                    load(scenario, contestant, WARM_UP)
                    sample(contestant, scenario, options.secs)
                finally:
                    contestant.stop()


def sample(contestant, scenario, seconds):
    data = f"{stage.TMP}/results/perf-{contestant.name}-{scenario.name}.data"
    pids = ",".join(map(str, contestant.pids()))
    # cpu-clock is a timer of the kernel: it also works in virtual machines, which show no hardware counters
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-o", data, "-p", pids]
    recorder = subprocess.Popen([*record, "--", "sleep", str(seconds)])
    load(scenario, contestant, seconds)
    recorder.wait(60)
    for title, sort in (("by part", "comm,dso"), ("by function", "dso,symbol")):
        report = ["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none"]
        report += ["--sort", sort, "--percent-limit", "0.5"]
        print(f"\n== {contestant.name}, {scenario.name}, {title}", flush=True)
        printed = subprocess.run(report, capture_output=True, text=True, check=True).stdout
        lines = (line.rstrip(" -") for line in printed.splitlines() if not line.startswith("#"))
        print("\n".join(filter(None, lines)))
    print(f"\nwith callers: perf report -i {data} --no-children", flush=True)


def scenario_names(text):
    names = text.split(",")
    for name in names:
        if name not in SCENARIOS:
            raise argparse.ArgumentTypeError(f"no scenario {name}; there are {', '.join(SCENARIOS)}")
    return names


def main():
    commands = {"run": run, "startup": startup, "ceiling": ceiling, "check": check, "profile": profile}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=commands)
    parser.add_argument("--only", help="contestants, by name")
    parser.add_argument("--scenarios", type=scenario_names)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=float, default=3.0, help="of each run (fixed rates: at least 4)")
    parser.add_argument(
        "--quiet", type=float, default=0.3, help="before each run wait for other load to fall under this many cores..."
    )
    parser.add_argument("--quiet-wait", type=float, default=10.0, help="...but no longer than this many seconds")
    parser.add_argument("--out", help="file of JSON lines, added to")
    options = parser.parse_args()
    if options.command in ("run", "startup", "ceiling") and not options.out:
        parser.error("--out FILE.jsonl is needed")
    stage.prepare()
    commands[options.command](options)


if __name__ == "__main__":
    main()
