"""What does each process cost while a policy is followed, what does a camera add, and does memory grow?

    python -m bench.cost [--quick] [--json FILE]

The real daemon and policy server (`running`) with one to four cameras of 480 x 640 at 30 Hz, a policy of 40 ms:
processor time in percent of one core, and memory as the kernel divides what processes share (PSS), for each process
with four cameras, and for all together. Growth is from the run's first second to its last. `make soak` looks longer.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.alone import run_alone
from bench.host import Host
from bench.results import Result, result
from bench.running import begin_run, cpu_s, running
from bench.soak_stack import Daemon
from controller.config_camera import CAMERA_NAMES

POLICY_MS = 40.0
ALL = "all processes of the daemon"


def pss_mb(pid: int) -> float:
    """Memory of a process, its share of what it shares included."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def measured(daemon: Daemon, seconds: float) -> dict[str, dict[str, float]]:
    """Of each process: what it used in so many seconds."""
    pids = {name: int(row["pid"]) for name, row in daemon.client.status(5.0)["processes"].items()}
    memory_mb, used_s, begin_s = {}, {}, time.monotonic()
    for name, pid in pids.items():
        memory_mb[name], used_s[name] = pss_mb(pid), cpu_s([pid])
    time.sleep(seconds)
    took_s = time.monotonic() - begin_s
    found = {}
    for name, pid in pids.items():
        now_mb = pss_mb(pid)
        cpu_percent = 100.0 * (cpu_s([pid]) - used_s[name]) / took_s
        found[name] = {"cpu_percent": cpu_percent, "pss_mb": now_mb, "growth_mb": now_mb - memory_mb[name]}
    return found


def total(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """All processes together."""
    return {field: sum(one[field] for one in found.values()) for field in ("cpu_percent", "pss_mb", "growth_mb")}


def bench(quick: bool = False) -> Result:
    """A daemon for each number of cameras."""
    host, rows = Host(), list[dict[str, Any]]()
    for count in (1, len(CAMERA_NAMES)) if quick else range(1, len(CAMERA_NAMES) + 1):
        with running(cameras=CAMERA_NAMES[:count]) as (daemon, server):
            server.order("fine", POLICY_MS, 0.0)
            begin_run(daemon)
            time.sleep(1.0)
            whole = count == len(CAMERA_NAMES)
            found = measured(daemon, 10.0 if quick else 60.0 if whole else 20.0)
            state = daemon.client.status(5.0)["state"]
            if state != "running":
                raise RuntimeError(f"the run ended in {state}; was the machine busy?")
        rows += [{"process": name, "cameras": count} | one for name, one in found.items() if whole]
        rows.append({"process": ALL, "cameras": count} | total(found))
    return result("cost", host.header(), rows, key=["cameras"])


if __name__ == "__main__":
    run_alone(bench, __doc__)
