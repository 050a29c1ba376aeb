"""The machine that a benchmark runs on, and what else it did meanwhile: a figure means nothing without them.

    python -m bench.host        # this machine's

Reads /proc and /sys, and tries in a process of its own which real-time rights are granted. The machine's own name is
left out: results are kept and shown under one that says what it is (`name_of`), or under a name that was given.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from controller.demo.host import CpuTime, describe

NAME_VARIABLE = "PI0_BENCH_HOST"
ROOT = Path(__file__).parent.parent
_CPU = Path("/sys/devices/system/cpu")

_TRY_RIGHTS = """
import json
from controller.realtime import enter, hold_cpu_awake
report = enter(priority=30, lock_memory=True, cpu=None, required=False)
print(json.dumps([report.granted, report.refused, hold_cpu_awake()[1]]))
"""


class Host:
    """Watches from its making on; `header` is the "host" of a benchmark's JSON."""

    def __init__(self, name: str | None = None) -> None:
        self._begun, self._begin_s = datetime.now(UTC), time.monotonic()
        self._facts = facts(name)
        self._load = os.getloadavg()[0]
        self._cpu_time, self._waited_us = CpuTime.now(), waited_us()

    def header(self) -> dict[str, Any]:
        """What the machine is, and how busy it was until now.

        busy, steal: percent of all processor time, this benchmark's own included; taken by the hypervisor.
        cpu_waited_percent: of the time in which some program wanted a processor and got none; None where the kernel
        does not say.
        load: runnable programs, the average of a minute, before and after.
        """
        took_s = time.monotonic() - self._begin_s
        return {
            **self._facts,
            "begun": self._begun.isoformat(timespec="seconds"),
            "took_s": round(took_s, 1),
            **CpuTime.now().since(self._cpu_time),
            "cpu_waited_percent": self._waited_percent(took_s),
            "load": [round(self._load, 1), round(os.getloadavg()[0], 1)],
        }

    def _waited_percent(self, took_s: float) -> float | None:
        now_us = waited_us()
        if now_us is None or self._waited_us is None or took_s <= 0.0:
            return None
        return round((now_us - self._waited_us) / took_s / 1e4, 1)


def facts(name: str | None = None) -> dict[str, Any]:
    """What does not change while a benchmark runs."""
    told = describe()
    granted, refused, cpu_dma_latency = rights()
    return {
        "name": name or os.environ.get(NAME_VARIABLE) or name_of(told["cpu"], told["cores"]),
        "cpu": told["cpu"],
        "cores": told["cores"],
        "virtual": " hypervisor" in Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": told["kernel"],
        "preemption": preemption(),
        "governor": governor(),
        "realtime": {"granted": granted, "refused": refused},
        "cpu_dma_latency": cpu_dma_latency,
        "python": told["python"],
        "versions": {**told["versions"], "pi0-controller": version("pi0-controller")},
        "commit": commit(),
    }


def name_of(cpu: str, cores: int) -> str:
    """Where results of such a machine are kept: "AMD EPYC 7763 64-Core Processor", 2 -> "amd-epyc-7763-2-cores"."""
    plain = re.sub(r"\((?:r|tm)\)|\b\d+-core\b|\bprocessor\b|\bcpu\b|@.*", " ", cpu.lower())
    return f"{'-'.join(re.findall(r'[a-z0-9]+', plain)) or 'unknown'}-{cores}-cores"


def rights() -> tuple[list[str], list[str], str]:
    """Real-time rights granted and refused, and whether the processors may be kept awake: tried, not guessed."""
    result = subprocess.run(
        [sys.executable, "-c", _TRY_RIGHTS], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=60.0
    )
    granted, refused, cpu_dma_latency = json.loads(result.stdout)
    return granted, refused, cpu_dma_latency


def governor(cpus: Path = _CPU) -> str:
    """Of all processors' frequency; "none" where the system does not control it, as in most virtual machines."""
    found = {path.read_text().strip() for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(found)) or "none"


def preemption() -> str:
    """How readily the kernel lets a program go: the model that is in force, or what it was built with."""
    chosen = Path("/sys/kernel/debug/sched/preempt")
    try:
        words = chosen.read_text().split()
    except OSError:
        words = []
    built = [word for word in os.uname().version.split() if word.startswith("PREEMPT")] or ["not preemptible"]
    return " ".join(built + [word for word in words if word.startswith("(")])


def commit(root: Path = ROOT) -> str | None:
    """Of our own code; with a "+" where files differ from it. None outside a clone."""
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, check=False)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + "+" * (changed.returncode != 0)


def waited_us(pressure: Path = Path("/proc/pressure/cpu")) -> int | None:
    """Microseconds since boot during which some program waited for a processor; None where the kernel does not say."""
    try:
        line = pressure.read_text().splitlines()[0]
    except OSError:
        return None
    return int(line.rsplit("total=", 1)[1])


if __name__ == "__main__":
    print(json.dumps(Host().header(), indent=1))
