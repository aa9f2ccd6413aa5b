"""What the kernel says about a tree of processes: CPU time, memory, other load; and how to give it priority."""

import os
import re
import time

TICK = os.sysconf("SC_CLK_TCK")
NICE = int(os.environ.get("GWBENCH_NICE", "-10"))


def tree(pid):
    """The process and all its descendants."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(_stat(entry)[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(pids):
    """CPU time so far as (exact, over live threads; in clock ticks, with threads that have ended)."""
    exact = ticks = 0
    for pid in pids:
        try:
            ticks += sum(int(field) for field in _stat(pid)[11:15])
            exact += sum(_on_cpu_ns(pid, thread) for thread in os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue
    return exact / 1e9, ticks / TICK


def cpu_between(before, after):
    """CPU seconds between two readings of `cpu_seconds`: a thread that ended took its exact figure with it."""
    exact, ticks = after[0] - before[0], after[1] - before[1]
    return exact if exact > ticks - 0.05 else ticks


def memory(pids):
    """Resident, proportional and highest resident memory, in KiB."""
    total = {"rss_kib": 0, "pss_kib": 0, "hwm_kib": 0}
    fields = {"VmRSS:": "rss_kib", "VmHWM:": "hwm_kib", "Pss:": "pss_kib"}
    for pid in pids:
        for file in ("status", "smaps_rollup"):
            try:
                lines = open(f"/proc/{pid}/{file}").readlines()
            except OSError:
                continue
            for name, value in (line.split()[:2] for line in lines if line.split()[1:]):
                if name in fields:
                    total[fields[name]] += int(value)
    return total


def machine_busy():
    """Seconds that all cores together were busy and were stolen by the host, so far."""
    busy = stolen = 0
    for line in open("/proc/stat"):
        if re.match(r"cpu\d", line):
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return busy / TICK, stolen / TICK


def wait_quiet(limit, patience):
    """Waits until the machine's load is under `limit` cores, at most `patience` seconds; returns the last load."""
    end = time.monotonic() + patience
    while True:
        before, since = machine_busy()[0], time.monotonic()
        time.sleep(0.25)
        load = (machine_busy()[0] - before) / (time.monotonic() - since)
        if load <= limit or time.monotonic() >= end:
            return load
        time.sleep(0.5)


def prioritise_self():
    """Nice value for this process and its scheduling autogroup; nice alone does nothing across sessions."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        with open("/proc/self/autogroup", "w") as group:
            group.write(str(NICE))
    except OSError:
        pass  # not root: measured without priority


def realtime(pids, on):
    """Puts every thread of the processes under SCHED_FIFO, or back."""
    policy = os.SCHED_FIFO if on else os.SCHED_OTHER
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setscheduler(int(thread), policy, os.sched_param(1 if on else 0))
        except OSError:
            continue  # the thread has ended, or not root


def _stat(pid):
    """The fields of /proc/PID/stat after the command's name, which may itself hold blanks and brackets."""
    return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()


def _on_cpu_ns(pid, thread):
    try:
        return int(open(f"/proc/{pid}/task/{thread}/schedstat").read().split()[0])
    except OSError:
        return 0
