"""A process of its own that asks for what the motor process asks for, ticks a second, and prints what became of it.

`python -m controller.doctor.rights PRIORITY LOCK`. What it was granted ends with it; the doctor itself stays as it was.
"""

from __future__ import annotations

import json
import sys

from controller import realtime
from controller.ticker import MonotonicClock, Ticker

RATE_HZ, TICKS = 200.0, 200


def main(priority: int, lock_memory: bool) -> None:
    """Print one line of JSON."""
    awake, _ = realtime.hold_cpu_awake()
    clock, late_us = MonotonicClock(), []
    report = realtime.enter(priority, lock_memory, None, False)
    ticker = Ticker(clock, RATE_HZ)
    for _ in range(TICKS):
        deadline_ns = ticker.deadline_ns
        ticker.wait()
        late_us.append((clock.now_ns() - deadline_ns) * 1e-3)
    late_us.sort()
    told = {
        "granted": report.granted,
        "refused": report.refused,
        "awake": awake is not None,
        "late_p99_us": late_us[int(0.99 * TICKS)],
        "late_max_us": late_us[-1],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "True")
