"""What all child processes share: how they start, beat, report a fault and end.

A child ignores SIGTERM, SIGINT and SIGHUP: systemd and a terminal send those to everybody at once, and the arms
must come to rest before anything dies. Nor does it heed the SIGABRT that systemd's watchdog sends to everybody
when the supervisor hangs. It ends when the supervisor orders it or is gone.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import setproctitle

from controller import layout
from controller.board import Board, status_ring
from controller.config import Config
from controller.exits import DaemonExit
from controller.faults import FaultCode
from controller.logs import LEVELS, set_level, set_up_logging
from controller.planner import Permit
from controller.realtime import RealtimeRefused
from controller.run_options import Seam
from shm import Ring

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 32 << 20
"""The largest value that every glibc accepts; a message of four pictures has 0.6 MB, of four unscaled ones 3.7."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Spawned:
    """Arguments of a child process, pickled once."""

    name: str
    module: str
    """Its `run(child)` is the process."""
    config: Config
    board: Board
    supervisor_pid: int
    outlives_supervisor: bool = False
    """The motor process only: told of the supervisor's death instead of dying with it."""
    nice: int = 0
    again: bool = False
    """Another process of this daemon was this child before."""


class Child:
    """A child's view of the daemon: its status record, the permit, and whether it is time to end."""

    def __init__(self, spawned: Spawned) -> None:
        self.name, self.config, self.board = spawned.name, spawned.config, spawned.board
        self.again = spawned.again
        self._supervisor_pid = spawned.supervisor_pid
        self._rings: dict[str, Ring] = {}
        ring = self.open(status_ring(spawned.name))
        self._status_writer = ring.writer()
        self.status: np.ndarray[Any, Any] = ring.blank()  # nothing of a predecessor's claims
        self.status["pid"] = os.getpid()
        self._permit_reader = self.open("permit").reader()
        self._permit = np.zeros((), layout.PERMIT)
        self.read_permit()
        self.status["reset_count"] = self._permit["reset_count"]
        self._log_level = int(self._permit["log_level"])

    def open(self, name: str) -> Ring:
        """A ring of the board, attached once and for life. Raises shm.ShmError."""
        if name not in self._rings:
            self._rings[name] = self.board.open(name)
        return self._rings[name]

    @property
    def orphaned(self) -> bool:
        return os.getppid() != self._supervisor_pid

    @property
    def orders(self) -> np.ndarray[Any, Any]:
        """The permit record as last read."""
        return self._permit

    def read_permit(self) -> np.ndarray[Any, Any]:
        """The newest permit record, the same array every time."""
        self._permit_reader.newest(self._permit)
        return self._permit

    def permit(self) -> Permit:
        """The permission to move, newest; none when the supervisor is gone or wants the child to end."""
        record = self.read_permit()
        state = 0 if record["exit"] or self.orphaned else int(record["state"])
        return Permit(
            state,
            int(record["motion_id"]),
            int(record["lease_until_ns"]),
            goal=record["goal"].copy(),
            dry=bool(record["dry"]),
            seam=Seam(int(record["seam"])),
            speed=float(record["speed"]),
        )

    @property
    def should_end(self) -> bool:
        """True after an order to end (as of the last read_permit) or the supervisor's death."""
        return bool(self._permit["exit"]) or self.orphaned or self.status["pid"] in self._permit["dismissed"]

    def beat(self, now_ns: int) -> None:
        """Publish the status record. Clears the latched fault once an operator's reset has come."""
        status, resets = self.status, self._permit["reset_count"]
        if self._log_level != self._permit["log_level"]:
            self._log_level = int(self._permit["log_level"])
            set_level(LEVELS[self._log_level])
        if status["reset_count"] != resets:
            status["reset_count"] = resets
            status["fault"] = FaultCode.NONE
        status["t_ns"] = now_ns
        self._status_writer.write(status)

    def trip(self, now_ns: int, code: FaultCode, text: str, motion_id: int) -> None:
        """Latch a fault (of one motion the first one stays) and call the supervisor's attention."""
        self.status["reset_count"] = self._permit["reset_count"]
        if self.status["fault"] == FaultCode.NONE or self.status["fault_motion_id"] != motion_id:
            self.status["fault"], self.status["fault_motion_id"] = code, motion_id
            self.status["fault_text"] = text.encode()[:240]
        self.beat(now_ns)
        self.board.attention.set()


def keep_freed_memory() -> None:
    """Megabyte messages per request: giving each back to the kernel costs more than packing it (glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def main(spawned: Spawned) -> None:
    """Entry of every child process."""
    setproctitle.setproctitle(f"pi0-controller: {spawned.name}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGABRT,))  # abort() unblocks its own
    signal.signal(signal.SIGUSR1, lambda *_: None)  # only wakes a sleep; `orphaned` is what is looked at
    death = signal.SIGUSR1 if spawned.outlives_supervisor else signal.SIGKILL
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death, 0, 0, 0)
    if os.getppid() != spawned.supervisor_pid:
        sys.exit(DaemonExit.FAILED)  # it died before the line above could tell us
    set_up_logging(spawned.config.daemon.log_level, spawned.name)
    os.setpriority(os.PRIO_PROCESS, 0, spawned.nice)
    try:
        importlib.import_module(spawned.module).run(Child(spawned))
    except RealtimeRefused as error:
        log.error("%s", error)  # noqa: TRY400  the administrator's matter, not a bug
        sys.exit(DaemonExit.RIGHTS)
    except Exception:
        log.exception("%s ends on an error", spawned.name)
        sys.exit(DaemonExit.FAILED)
