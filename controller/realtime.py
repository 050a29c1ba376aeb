"""Asks the kernel for what a steady loop needs, and says of each thing whether it was granted.

Supervisor, control and motor call `enter` after everything is imported and allocated; the supervisor also
calls `hold_cpu_awake` and keeps the descriptor. A refusal is reported, never hidden; whether it ends the daemon
is the configuration's choice (realtime.required).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import struct
from dataclasses import dataclass

MCL_CURRENT_AND_FUTURE = 1 | 2
PR_SET_TIMERSLACK = 29


class RealtimeRefused(RuntimeError):
    """A right that the configuration calls required was not granted."""


@dataclass(frozen=True, slots=True)
class Report:
    """granted and refused, in words for the log and for `pi0ctl status`."""

    granted: tuple[str, ...]
    refused: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.granted + tuple(f"NOT {text}" for text in self.refused)) or "none asked"


def _lock_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT_AND_FUTURE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _fifo(priority: int, threads: bool = False) -> None:
    """For the calling thread, or for all that the process has."""
    policy, parameter = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority)
    os.sched_setscheduler(0, policy, parameter)
    for thread in os.listdir("/proc/self/task") if threads else ():
        with contextlib.suppress(ProcessLookupError):  # one that has just ended
            os.sched_setscheduler(int(thread), policy, parameter)


def enter(priority: int, lock_memory: bool, cpu: int | None, required: bool, *, threads: bool = False) -> Report:
    """Freeze the heap, then ask for locked memory, a core and SCHED_FIFO for the calling thread.

    A priority of 0 asks for none. Children that the caller starts are scheduled normally. threads: SCHED_FIFO for
    every thread there is, those of a driver too: the caller waits for what they do.
    Raises RealtimeRefused when `required` and anything asked for was not granted.
    """
    gc.collect()
    gc.freeze()  # a collection of a big heap costs tens of milliseconds
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    granted: list[str] = []
    refused: list[str] = []
    wanted = (
        ("mlockall", lock_memory, _lock_memory),
        (f"cpu {cpu}", cpu is not None, lambda: os.sched_setaffinity(0, {cpu or 0})),
        (f"fifo {priority}", priority > 0, lambda: _fifo(priority, threads)),
    )
    for name, asked, act in wanted:
        if not asked:
            continue
        try:
            act()
        except OSError as error:
            refused.append(f"{name} ({error.strerror})")
        else:
            granted.append(name)
    if refused and required:
        raise RealtimeRefused(f"realtime.required is set, but not granted: {', '.join(refused)}")
    return Report(tuple(granted), tuple(refused))


def hold_cpu_awake() -> tuple[int | None, str]:
    """Keep the CPUs out of deep sleep while the descriptor is open; None where refused. With words for the log."""
    path = "/dev/cpu_dma_latency"
    try:
        descriptor = os.open(path, os.O_WRONLY)
        os.write(descriptor, struct.pack("i", 0))
    except OSError as error:
        return None, f"NOT cpu_dma_latency ({error.strerror})"
    return descriptor, "cpu_dma_latency 0"
