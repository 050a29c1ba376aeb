"""Did the host take the processors away? A virtual machine's may, for half a second; then a daemon rightly faults."""

from __future__ import annotations

import contextlib
import os
import threading
import time

PERIOD_S = 0.01


class HostWatch(threading.Thread):
    """Notes the longest sleep that overslept; with real-time priority, so that only the host can delay it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest_s = 0.0

    def run(self) -> None:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(60))
        while True:
            begin_s = time.monotonic()
            time.sleep(PERIOD_S)
            self.longest_s = max(self.longest_s, time.monotonic() - begin_s - PERIOD_S)
