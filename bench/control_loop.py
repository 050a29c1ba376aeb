"""How late does our loop come, and how late must it on this machine?

    python -m bench.control_loop [--quick] [--json FILE]

The loop of the control process (`controller.ticker`, at 50 Hz and the rights that `controller.realtime` gets) in a
process of its own, beside `cyclictest` (rt-tests) at the same period, priority and time: idle, and while programs
compute on all cores, copy memory and write to the disk; scheduled normally, and with SCHED_FIFO. Both hold
/dev/cpu_dma_latency where they may.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench.alone import run_alone
from bench.host import ROOT, Host
from bench.lateness import BOUND_US, cyclictest_row, lateness_row
from bench.loads import load
from bench.results import Bar, Result, result
from controller import realtime
from controller.ticker import Lateness, MonotonicClock, Ticker
from shm import Wake

RATE_HZ, PRIORITY = 50.0, 30
PERIOD_US = round(1e6 / RATE_HZ)
TIMES = 2.0
OURS, CYCLICTEST = "ours", "cyclictest"


class Counted(Lateness):
    """To the microsecond."""

    def __init__(self) -> None:
        super().__init__()
        self.late_us: Counter[int] = Counter()

    def add(self, late_ns: int) -> None:
        self.max_us = max(self.max_us, late_ns * 1e-3)
        self.late_us[min(late_ns // 1000, BOUND_US)] += 1


def loop(seconds: float, priority: int) -> None:
    """The process: tick for so long, ready to be woken as control is, and print how late it was."""
    awake, told = realtime.hold_cpu_awake()
    wake, counted = Wake(), Counted()
    report = realtime.enter(priority, lock_memory=True, cpu=None, required=False)
    gc.disable()
    ticker = Ticker(MonotonicClock(), RATE_HZ)
    ticker.lateness = counted
    for _ in range(round(seconds * RATE_HZ)):
        ticker.wait(wake.fileno())
    del awake
    print(json.dumps({"late_us": counted.late_us, "max_us": counted.max_us, "rights": f"{report}; {told}"}))


def ours(seconds: float, priority: int) -> tuple[subprocess.Popen[str], Any]:
    """The process, and what makes a row of its output."""
    program = f"from bench.control_loop import loop; loop({seconds}, {priority})"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def row() -> dict[str, Any]:
        found = json.loads(_output(process))
        counts = {int(late_us): count for late_us, count in found["late_us"].items()}
        return {**lateness_row(counts, found["max_us"]), "rights": found["rights"]}

    return process, row


def cyclictest(program: str, seconds: float, priority: int, out: Path) -> tuple[subprocess.Popen[str], Any]:
    """Likewise."""
    policy = ["--policy=fifo", f"--priority={priority}"] if priority else ["--policy=other"]
    command = [program, "--quiet", "--mlockall", "--threads=1", f"--interval={PERIOD_US}", *policy]
    command += [f"--loops={round(seconds * RATE_HZ)}", f"--histogram={BOUND_US}", f"--json={out}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def row() -> dict[str, Any]:
        _output(process)
        return cyclictest_row(json.loads(out.read_text(encoding="utf-8")))

    return process, row


def _output(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with exit status {process.returncode}: {text.strip()[-400:]}")
    return text


def bars_of(rows: list[dict[str, Any]]) -> list[Bar]:
    """Ours beside cyclictest's with SCHED_FIFO, idle and loaded."""
    found = {(row["load"], row["program"]): row for row in rows if row["scheduling"] == "fifo"}
    return [
        Bar(f"lateness of ours / of cyclictest, {what}, SCHED_FIFO, {name.removesuffix('_us')}", own / peer, TIMES, "")
        for what in ("idle", "load")
        if (what, CYCLICTEST) in found
        for name in ("p50_us", "p99_us")
        for own, peer in [(found[what, OURS][name], max(found[what, CYCLICTEST][name], 1.0))]
    ]


def bench(quick: bool = False) -> Result:
    """Both programs at once, idle and under load, with both schedulings."""
    host, rows, seconds, notes = Host(), [], 20.0 if quick else 60.0, []
    program = shutil.which("cyclictest")
    if program is None:
        notes.append("cyclictest left out: it is not installed; apt install rt-tests")
    with tempfile.TemporaryDirectory() as directory:
        for what in ("idle", "load"):
            for scheduling, priority in (("normal", 0), ("fifo", PRIORITY)):
                with load(os.cpu_count() or 1) if what == "load" else nullcontext():
                    time.sleep(1.0)
                    both = {OURS: ours(seconds, priority)}
                    if program is not None:
                        out = Path(directory) / f"{what}-{scheduling}.json"
                        both[CYCLICTEST] = cyclictest(program, seconds, priority, out)
                    for name, (_, row) in both.items():
                        rows.append({"load": what, "scheduling": scheduling, "program": name} | row())
    notes += sorted({row.pop("rights") for row in rows if "rights" in row})
    return result("control_loop", host.header(), rows, bars_of(rows), notes=notes)


if __name__ == "__main__":
    run_alone(bench, __doc__)
