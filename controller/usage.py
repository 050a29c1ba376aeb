"""CPU and memory of the daemon's processes and load of the host, sampled once a second by the supervisor."""

from __future__ import annotations

import os
from typing import Any

import psutil


class Usage:
    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self.by_pid: dict[int, dict[str, float]] = {}
        self.host: dict[str, Any] = {"steal_percent": None, "load": None}

    def sample(self, pids: list[int]) -> None:
        """Measure since the last sample; processes that are gone are forgotten."""
        for pid in set(self._processes) - set(pids):
            del self._processes[pid]
        fresh = {}
        for pid in pids:
            try:
                process = self._processes.get(pid) or psutil.Process(pid)
                self._processes[pid] = process
                cpu, rss_b = process.cpu_percent(), process.memory_info().rss
            except psutil.Error:
                continue
            fresh[pid] = {"cpu_percent": round(cpu, 1), "rss_mb": round(rss_b / 1e6, 1)}
        self.by_pid = fresh
        steal = getattr(psutil.cpu_times_percent(), "steal", 0.0)
        self.host = {"steal_percent": steal, "load": round(os.getloadavg()[0], 2)}
