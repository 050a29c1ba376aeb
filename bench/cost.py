"""What does each process cost while a policy is followed, and what does a camera add?

    python -m bench.cost [--quick] [--json FILE]

The real daemon and policy server (`running`) with two, three and four cameras of 480 x 640 at 30 Hz, a policy of 40 ms:
processor time in percent of one core, and memory as the kernel divides what processes share (PSS), for each process
with four cameras, and for all of the daemon's together. What one more camera costs is the slope of a line through the
three, without the processes that see no picture: what they take differs by more than a camera from start to start (the
motor process's heap, where it simulates, by 15 MB). Cameras show pictures that lie ready, so a frame costs its one copy
and nothing is drawn. Whether memory grows is asked of `bench.soak`, which looks longer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.alone import run_alone
from bench.footprint import footprint
from bench.host import Host
from bench.results import Result, result
from bench.running import begin_run, cpu_s, running
from bench.soak_stack import Daemon
from controller.config_camera import CAMERA_NAMES

POLICY_MS = 40.0
COUNTS = (2, 3, 4)
SETTLE_S = 1.0

ALL = "all processes of the daemon"
BLIND = frozenset({"motor", "control", "guard"})
ONE_MORE = "one more camera, in all that sees pictures"
FIELDS = ("cpu_percent", "pss_mb")


def measured(daemon: Daemon, seconds: float) -> dict[str, dict[str, float]]:
    """Of each process: its share of a core over so many seconds, and its memory at their end."""
    pids = {name: int(row["pid"]) for name, row in daemon.client.status(5.0)["processes"].items()}
    begun = {name: (cpu_s([pid]), time.monotonic()) for name, pid in pids.items()}
    time.sleep(seconds)
    found = {}
    for name, pid in pids.items():
        used_s, begin_s = begun[name]
        cpu_percent = 100.0 * (cpu_s([pid]) - used_s) / (time.monotonic() - begin_s)
        found[name] = {"cpu_percent": cpu_percent, "pss_mb": footprint(pid).pss_mb}
    return found


def total(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """All processes together."""
    return {field: sum(one[field] for one in found.values()) for field in FIELDS}


def one_more(counts: Sequence[int], totals: Sequence[dict[str, float]]) -> dict[str, float]:
    """What a camera adds, by least squares."""
    return {field: float(np.polyfit(counts, [one[field] for one in totals], 1)[0]) for field in FIELDS}


def bench(quick: bool = False) -> Result:
    """A daemon for each number of cameras."""
    host, rows, seeing = Host(), list[dict[str, Any]](), []
    for count in COUNTS:
        with running(cameras=CAMERA_NAMES[:count]) as (daemon, server):
            server.order("fine", POLICY_MS, 0.0)
            begin_run(daemon)
            time.sleep(SETTLE_S)
            found = measured(daemon, 6.0 if quick else 30.0)
            status = daemon.client.status(5.0)
            if status["state"] != "running":
                raise RuntimeError(f"the run ended in {status['state']}: {status['fault']}; was the machine busy?")
        seeing.append(total({name: one for name, one in found.items() if name not in BLIND}))
        rows += [{"process": name, "cameras": count} | one for name, one in found.items() if count == max(COUNTS)]
        rows.append({"process": ALL, "cameras": count} | total(found))
    rows.append({"process": ONE_MORE} | one_more(COUNTS, seeing))
    return result("cost", host.header(), rows, key=["cameras"])


if __name__ == "__main__":
    run_alone(bench, __doc__)
