"""Asks the kernel about this machine: files under /proc and /sys, a disk that is written to, rights that are tried."""

from __future__ import annotations

import grp
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from controller.board import specs
from controller.config import Config, Realtime
from controller.doctor.machine import Disk, Machine, Rights
from controller.unix_socket import user_name

STEAL_S = 1.0
RIGHTS_TIMEOUT_S = 8.0
UNIT = "pi0-controller"
BLOCK_B = 1 << 20
WRITTEN_B = 32 << 20
WRITING_S = 2.0
"""A disk so slow that this is over first is measured by what it took until then."""

CPU = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED_B = 1 << 60
"""The first cgroups write no limit as a number about this size."""


def machine(config: Config, pid: int | None) -> Machine:
    """Takes STEAL_S. pid: of the daemon whose cgroup counts, None for our own."""
    before = psutil.cpu_times()
    time.sleep(STEAL_S)
    quota, limit_b = cgroup(_text(Path(f"/proc/{pid or 'self'}/cgroup")), CGROUPS)
    shm = os.statvfs("/dev/shm")
    return Machine(
        kernel=platform.release(),
        realtime_kernel=_text(Path("/sys/kernel/realtime")) == "1" or "PREEMPT_RT" in platform.version(),
        virtual="hypervisor" in _text(Path("/proc/cpuinfo")),
        cpus=os.cpu_count() or 1,
        isolated=cpu_list(_text(CPU / "isolated")),
        governors=frozenset(_text(path) for path in CPU.glob("cpu[0-9]*/cpufreq/scaling_governor")),
        smt=_text(CPU / "smt/active") == "1",
        clocksource=_text(Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        load=os.getloadavg()[0],
        steal_percent=steal(before, psutil.cpu_times()),
        memory_free_b=psutil.virtual_memory().available,
        memory_limit_b=limit_b,
        cpu_quota=quota,
        shm_free_b=shm.f_bavail * shm.f_frsize,
        shm_needed_b=sum(spec.size_b for spec in specs(config)),
    )


def cpu_list(text: str) -> frozenset[int]:
    """The kernel's way to write sets of CPUs: "2-3,6"."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def steal(before: object, after: object) -> float | None:
    """Percent of all CPU time between the two that a hypervisor kept for others."""
    spent = {name: getattr(after, name) - getattr(before, name) for name in ("user", "system", "idle", "iowait")}
    stolen = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)
    total = sum(spent.values()) + stolen
    return 100.0 * stolen / total if total > 0.0 else None


def cgroup(told: str, root: Path) -> tuple[float | None, int | None]:
    """CPUs and bytes that a process may use at most, by its cgroup and those above it; None: as many as there are.

    told: its /proc/PID/cgroup; the second version's line counts, the first version's hierarchies are not looked at.
    """
    paths = [line.removeprefix("0::/") for line in told.splitlines() if line.startswith("0::/")]
    groups = [group for path in paths for group in (root / path, *(root / path).parents) if group.is_relative_to(root)]
    quotas = [quota for group in groups if (quota := _quota(group)) is not None]
    limits_b = [limit_b for group in groups if (limit_b := _limit(group / "memory.max")) is not None]
    return min(quotas, default=None), min(limits_b, default=None)


def _quota(group: Path) -> float | None:
    quota, _, period = _text(group / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period else None


def _limit(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() and int(text) < UNLIMITED_B else None


def nearest(directory: Path) -> Path:
    """It, or the one above it that exists."""
    return next(path for path in (directory, *directory.parents) if path.is_dir())


def disk(directory: Path, *, write: bool) -> Disk:
    """Write and forget a file where the recordings go, as far as that is wanted and allowed."""
    there = nearest(directory)
    try:
        free_b = psutil.disk_usage(str(there)).free
        rate = _writing(there) if write and free_b > 2 * WRITTEN_B else None
    except OSError as error:
        return Disk(str(directory), 0, None, error.strerror or str(error))
    return Disk(str(directory), free_b, rate)


def _writing(directory: Path) -> float:
    """Bytes per second onto the disk itself."""
    block, written_b = os.urandom(BLOCK_B), 0
    with tempfile.TemporaryFile(dir=directory, prefix=".doctor-") as file:
        begin_s = time.monotonic()
        while written_b < WRITTEN_B and time.monotonic() - begin_s < WRITING_S:
            file.write(block)
            written_b += BLOCK_B
        file.flush()
        os.fsync(file.fileno())
        return written_b / (time.monotonic() - begin_s)


def rights(realtime: Realtime) -> Rights:
    """What this user is granted, tried by a child process. Raises OSError or ValueError where it could not be."""
    priority = max(realtime.supervisor_priority, realtime.control_priority, realtime.motor_priority)
    command = [sys.executable, "-m", "controller.doctor.rights", str(priority), str(realtime.lock_memory)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=RIGHTS_TIMEOUT_S,
        check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    if done.returncode != 0:
        raise ValueError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    told = json.loads(done.stdout)
    return Rights(
        granted=tuple(told["granted"]),
        refused=tuple(told["refused"]),
        awake=told["awake"],
        late_p99_us=told["late_p99_us"],
        late_max_us=told["late_max_us"],
        user=user_name(os.getuid()),
        unit=_unit(priority),
        awake_group=_group_of(Path("/dev/cpu_dma_latency")),
    )


def _unit(priority: int) -> str:
    """The limits of the installed service, if they are enough; empty where there is none or no systemd."""
    if shutil.which("systemctl") is None:
        return ""
    command = ["systemctl", "show", UNIT, "--property=LoadState,LimitRTPRIO,LimitMEMLOCK"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=RIGHTS_TIMEOUT_S, check=False).stdout
    return unit_limits(told, priority)


def unit_limits(told: str, priority: int) -> str:
    """What `systemctl show` says of the unit, in words, if it may take this priority and lock all memory."""
    values = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    rtprio, memlock = values.get("LimitRTPRIO", ""), values.get("LimitMEMLOCK", "")
    enough = rtprio == "infinity" or (rtprio.isdecimal() and int(rtprio) >= priority)
    if values.get("LoadState") != "loaded" or not enough or memlock != "infinity":
        return ""
    return f"LimitRTPRIO={rtprio}, LimitMEMLOCK={memlock}"


def _group_of(path: Path) -> str:
    """Whose members may write to it, apart from root's."""
    try:
        found = path.stat()
        return grp.getgrgid(found.st_gid).gr_name if found.st_mode & 0o020 and found.st_gid != 0 else ""
    except (OSError, KeyError):
        return ""


def _text(path: Path) -> str:
    """What a file says; nothing where there is none or it may not be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
