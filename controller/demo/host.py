"""The machine that a demo ran on: numbers mean nothing without it. Reads /proc."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "mujoco", "websockets", "msgpack", "aiohttp", "ruckig", "av")
_STAT, _CPUINFO = Path("/proc/stat"), Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Ticks of all processors together since boot: in all, idle, and taken by the hypervisor for others."""

    total: int
    idle: int
    steal: int

    @classmethod
    def now(cls, stat: Path = _STAT) -> CpuTime:
        fields = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
        return cls(sum(fields), fields[3] + fields[4], fields[7])

    def since(self, before: CpuTime) -> dict[str, float | None]:
        """Percent of all processor time between two instants."""
        total = self.total - before.total
        if total <= 0:
            return {"busy_percent": None, "steal_percent": None}
        steal, idle = self.steal - before.steal, self.idle - before.idle
        return {
            "busy_percent": round(100.0 * (total - idle - steal) / total, 1),
            "steal_percent": round(100.0 * steal / total, 1),
        }


def describe() -> dict[str, Any]:
    """Name, processor, kernel and the versions of what the numbers depend on."""
    return {
        "name": platform.node(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _cpu() -> str:
    for line in _CPUINFO.read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
