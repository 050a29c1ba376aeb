"""How long does it take from a frame to the first command made from it, and where does the time go?

    python -m bench.end_to_end [--quick] [--json FILE]

The real processes and a real websocket (`running`), four cameras of 480 x 640 at 30 Hz, a policy of 0, 20, 40 and 80
ms. A time begins when the newest frame of an observation lies in host memory, and ends when the first command made of
the chunk goes to the driver; each chunk carries its own instants (`waterfall`). All with SCHED_FIFO where it is
granted; in full size also without.
"""

from __future__ import annotations

import time

from bench.alone import run_alone
from bench.host import Host
from bench.results import Bar, Result, result
from bench.running import SETTLE_S, begin_run, running, watched
from bench.soak_stack import Tap
from bench.waterfall import END_TO_END, stage_rows

POLICY_MS = (0.0, 20.0, 40.0, 80.0)
MEDIAN_BOUND_MS, P99_BOUND_MS = 8.0, 25.0


def bench(quick: bool = False) -> Result:
    """One run of the daemon for each scheduling, in which the policy's time changes."""
    host, rows = Host(), []
    for scheduling in ("fifo",) if quick else ("fifo", "normal"):
        with running(scheduling) as (daemon, server):
            begin_run(daemon)
            tap = Tap(daemon, "handed")
            tap.start()
            for policy_ms in POLICY_MS:
                server.order("fine", policy_ms, 0.0)
                time.sleep(SETTLE_S)
                seconds = (12.0 if policy_ms == 0.0 else 7.0) * (1 if quick else 2)
                handed = watched(daemon, tap, seconds)
                rows += stage_rows(handed, scheduling=scheduling, policy_ms=policy_ms)
            granted = daemon.client.status(5.0)["processes"]["motor"]["realtime"]
    own = next(row for row in rows if row["policy_ms"] == 0.0 and row["stage"] == END_TO_END)
    what = "from frame to command, 4 cameras at 30 Hz, policy of 0 ms, SCHED_FIFO"
    bars = [
        Bar(f"{what}, median", own["p50_ms"], MEDIAN_BOUND_MS, "ms"),
        Bar(f"{what}, 99th percentile", own["p99_ms"], P99_BOUND_MS, "ms"),
    ]
    return result("end_to_end", host.header(), rows, bars, key=["policy_ms"], notes=[f"motor process: {granted}"])


if __name__ == "__main__":
    run_alone(bench, __doc__)
