#!/usr/bin/env python3
"""report.py FILE.jsonl: markdown tables from the results of one run. A cell is `median [lowest-highest]`.

Beside each figure that a gateway costs stands its ratio to nginx's in the same run.
"""

import json
import re
import statistics
import sys

FIRST = ["direct", "nginx", "haproxy", "ours", "ours-noevents", "ours-policies"]
AIM_RATIO, AIM_LIST_RATIO, AIM_LIST_MIB = 1.5, 1.05, 20
AIM_IDLE_MIB, AIM_LOADED_MIB, AIM_START_MS = 15, 40, 50
US = "ours"


class Results:
    """The rows of one results file, by kind."""

    def __init__(self, path):
        rows = [json.loads(line) for line in open(path)]
        self.runs = [row for row in rows if "scenario" in row]
        self.idle = {row["idle"]: row for row in rows if "idle" in row}
        self.after = {row["after"]: row for row in rows if "after" in row}
        self.starts = grouped(rows, "startup")
        self.ceilings = grouped(rows, "ceiling")
        self.scenarios = list(dict.fromkeys(row["scenario"] for row in self.runs))
        seen = [row["contestant"] for row in self.runs] + list(self.idle) + list(self.starts)
        self.names = sorted(set(seen), key=place)

    def of(self, scenario, name):
        return [r for r in self.runs if r["scenario"] == scenario and r["contestant"] == name]

    def cpu(self, scenario, name):
        """CPU microseconds a request, one figure a round."""
        return [r["cpu_us_per_req"] for r in self.of(scenario, name) if r["cpu_us_per_req"] is not None]

    def loaded(self, scenario, name, *keys):
        """A figure of the load client's, one a round."""
        return [dig(r["load"], keys) for r in self.of(scenario, name)]

    def added(self, scenario, name, *keys):
        """A latency less that of the mock upstream asked directly, one figure a round."""
        direct = self.loaded(scenario, "direct", *keys)
        return [v - statistics.median(direct) for v in self.loaded(scenario, name, *keys)] if direct else []


def grouped(rows, key):
    groups = {}
    for row in rows:
        if key in row:
            groups.setdefault(row[key], []).append(row)
    return groups


def place(name):
    return FIRST.index(name) if name in FIRST else len(FIRST), name


def dig(value, keys):
    for key in keys:
        value = value[key]
    return value


def number(value):
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def spread(values):
    if not values:
        return "-"
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.median(values))} [{number(min(values))}-{number(max(values))}]"


def ratio(values, base):
    """The ratio of the medians, or None where there is no such ratio."""
    if not values or not base or statistics.median(base) <= 0:
        return None
    return statistics.median(values) / statistics.median(base)


def table(title, heads, lines, note=""):
    if not lines:
        return
    print(f"\n### {title}\n")
    for line in (heads, ["---"] * len(heads), *lines):
        print("| " + " | ".join(line) + " |")
    if note:
        print(f"\n{note}")


def costs(results):
    """What a gateway costs: (row title, name -> figures), one for each row that is compared with nginx."""
    for scenario in results.scenarios:
        yield f"{scenario}: CPU us/request", lambda name, s=scenario: results.cpu(s, name)
        if scenario.startswith("lat"):
            yield f"{scenario}: added p50 us", lambda name, s=scenario: results.added(s, name, "lat_us", "p50")
        if scenario == "lat-sse":
            yield (
                f"{scenario}: added us to first byte",
                lambda name, s=scenario: results.added(s, name, "ttfb_us", "p50"),
            )


def print_ratios(results):
    names = [n for n in results.names if n != "direct" and not variant(n) and results.of(results.scenarios[0], n)]
    lines = []
    for title, figures in costs(results):
        base = figures("nginx")
        cells = []
        for name in names:
            times = ratio(figures(name), base)
            cells.append(
                spread(figures(name)) + (f" **{times:.2f}x**" if times is not None and name != "nginx" else "")
            )
        lines.append([title, *cells])
    table("cost, and its ratio to nginx's in this run", ["row", *names], lines)


def variant(name):
    """(base, entries) of a contestant with a longer list, else None."""
    found = re.fullmatch(r"(.+)-(1k|100k)", name)
    return found and (found[1], found[2])


def print_throughput(results):
    names = [n for n in results.names if n != "direct" and not variant(n)]
    scenarios = [s for s in results.scenarios if not s.startswith("lat")]
    lines = [[name, *(spread(results.loaded(s, name, "rps")) for s in scenarios)] for name in names]
    table("requests (or streams) a second, contestant on one core", ["contestant", *scenarios], lines)


def print_scenario(results, scenario):
    fixed_rate = scenario.startswith("lat")
    heads = ["contestant", "runs", "CPU us/request", "requests/s", "p50 us", "p90 us", "p99 us"]
    heads += ["added p50", "added p90", "added p99"] if fixed_rate else ["core used", "RSS MiB"]
    heads += ["first byte p50 us", "largest gap p50 us"] if "sse" in scenario else []
    heads += ["errors", "other load, cores"]
    lines = []
    for name in results.names:
        rows = results.of(scenario, name)
        if not rows:
            continue
        line = [
            name,
            str(len(rows)),
            spread(results.cpu(scenario, name)),
            spread(results.loaded(scenario, name, "rps")),
        ]
        line += [spread(results.loaded(scenario, name, "lat_us", p)) for p in ("p50", "p90", "p99")]
        if fixed_rate:
            line += [spread(results.added(scenario, name, "lat_us", p)) for p in ("p50", "p90", "p99")]
        else:
            line += [spread([r["core_use"] for r in rows]), number(max(r["rss_kib"] for r in rows) / 1024)]
        if "sse" in scenario:
            line += [spread(results.loaded(scenario, name, key, "p50")) for key in ("ttfb_us", "gap_us")]
        lines.append([*line, errors(rows), spread([r["foreign_cores"] for r in rows])])
    table(scenario, heads, lines)


def errors(rows):
    failed = sum(r["load"]["bad"] + r["load"]["resets"] for r in rows)
    unfinished = sum(r["load"]["unfinished"] for r in rows)
    asked = failed + sum(r["load"]["ok"] for r in rows)
    return (f"{failed}/{asked}" if failed else "0") + (f" (+{unfinished} unfinished)" if unfinished else "")


def mib(row, key="rss_kib"):
    return row[key] / 1024


def print_memory(results):
    peak = {n: max((mib(r) for r in results.runs if r["contestant"] == n), default=0) for n in results.idle}
    lines = []
    for name in sorted(results.idle, key=place):
        idle, after = results.idle[name], results.after.get(name)
        line = [name, number(mib(idle)), number(mib(idle, "pss_kib")), number(peak[name])]
        line += [number(mib(after)), number(after["data_bytes"] / 2**20)] if after else ["-", "-"]
        lines.append(line)
    heads = ["contestant", "idle RSS", "idle PSS", "RSS, highest after a run", "RSS at the end", "data on disk"]
    table("memory and data, MiB", heads, lines)


def print_starts(results):
    heads = ["contestant", "starts", "ms", "CPU ms", "idle RSS MiB"]
    lines = []
    for name in sorted(results.starts, key=place):
        rows = results.starts[name]
        figures = ([r["secs"] * 1000 for r in rows], [r["cpu_s"] * 1000 for r in rows], [mib(r) for r in rows])
        lines.append([name, str(len(rows)), *map(spread, figures)])
    table("start to the first 200", heads, lines)


def print_lists(results):
    """How a longer CIDR list shows: against the same contestant with 10 entries."""
    lines = []
    for name in results.names:
        base, entries = variant(name) or (None, None)
        if base not in results.names:
            continue
        allowed = ratio(results.cpu("ip", name), results.cpu("ip", base))
        denied = ratio(results.cpu("deny", name), results.cpu("deny", base))
        grown = mib(results.idle[name]) - mib(results.idle[base]) if name in results.idle else None
        started = ratio(*([r["secs"] for r in results.starts.get(n, [])] for n in (name, base)))
        cells = [f"{v:.2f}x" if v else "-" for v in (allowed, denied, started)]
        lines.append([base, entries, *cells, number(grown) if grown is not None else "-"])
    heads = ["contestant", "entries", "CPU, allowed", "CPU, denied", "start", "idle RSS, MiB more"]
    table("longer lists against 10 entries", heads, lines)


def print_aims(results):
    """Our own figures against the project's aims."""
    lines = []

    def aim(title, value, limit, unit):
        if value is not None:
            lines.append([title, f"{number(value)}{unit}", f"{limit}{unit}", "yes" if value <= limit else "**no**"])

    for title, figures in costs(results):
        aim(title + ", to nginx's", ratio(figures(US), figures("nginx")), AIM_RATIO, "x")
    if any(r["contestant"] == US for r in results.runs):
        failed = [
            r["load"][key] for r in results.runs if r["contestant"] == US for key in ("bad", "resets", "unfinished")
        ]
        aim("requests that failed", sum(failed), 0, "")
    hundred = f"{US}-100k"
    aim(
        "100,000 CIDRs: CPU, to that of 10",
        ratio(results.cpu("ip", hundred), results.cpu("ip", US)),
        AIM_LIST_RATIO,
        "x",
    )
    if US in results.idle:
        aim("idle RSS", mib(results.idle[US]), AIM_IDLE_MIB, " MiB")
        if hundred in results.idle:
            aim(
                "100,000 CIDRs: RSS more than 10",
                mib(results.idle[hundred]) - mib(results.idle[US]),
                AIM_LIST_MIB,
                " MiB",
            )
    if US in results.after:
        aim("RSS after load", mib(results.after[US]), AIM_LOADED_MIB, " MiB")
    if US in results.starts:
        aim(
            "start to first answer",
            statistics.median(r["secs"] * 1000 for r in results.starts[US]),
            AIM_START_MS,
            " ms",
        )
    table("aims", ["row", "measured", "at most", "met"], lines)


def print_ceilings(results):
    heads = ["scenario", "runs", "requests/s", "mock CPU us/request", "client CPU us/request"]
    lines = []
    for name, rows in results.ceilings.items():
        rates, clients = ([r["load"][key] for r in rows] for key in ("rps", "client_cpu_us_per_req"))
        lines.append(
            [name, str(len(rows)), spread(rates), spread([r["cpu_us_per_req"] for r in rows]), spread(clients)]
        )
    table("the mock upstream alone, with no gateway", heads, lines)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    results = Results(sys.argv[1])
    if results.runs:
        print_ratios(results)
        print_aims(results)
        print_lists(results)
        print_throughput(results)
    print_memory(results)
    print_starts(results)
    for scenario in results.scenarios:
        print_scenario(results, scenario)
    print_ceilings(results)


if __name__ == "__main__":
    main()
