"""The supervisor's side of its children: starts them, watches heartbeats, starts them again, ends them.

A lost child is started again with back-off, but that never starts motion: a loss that matters is a fault,
and a fault stays until an operator resets it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from controller import child, layout
from controller.board import OwnedBoard, status_ring
from controller.child import Spawned
from controller.config import Config
from controller.faults import FaultCode
from controller.processes import Process, table

BACKOFF_NS = (200_000_000, 500_000_000, 1_000_000_000, 2_000_000_000, 5_000_000_000)
STEADY_NS = 10_000_000_000
"""A child that lived this long starts its back-off anew."""

log = logging.getLogger(__name__)


class Running:
    """One child: its process, its status record and its history."""

    def __init__(self, row: Process, owned: OwnedBoard) -> None:
        self.row = row
        ring = owned.rings[status_ring(row.name)]
        self._reader, self.status = ring.reader(), ring.blank()
        self.process: Any = None
        self.restarts = -1
        self.failures = 0
        self.started_ns = 0
        self.due_ns = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    def read(self) -> np.ndarray[Any, Any]:
        """The newest status record, also in `status`."""
        self._reader.newest(self.status)
        return self.status

    @property
    def has_beaten(self) -> bool:
        """True once this very process (not one before it) has written its status."""
        return self.process is not None and int(self.status["pid"]) == self.process.pid

    def beat_age_s(self, now_ns: int) -> float | None:
        return (now_ns - int(self.status["t_ns"])) * 1e-9 if self.has_beaten else None

    def healthy(self, now_ns: int) -> bool:
        age_s = self.beat_age_s(now_ns)
        return self.process is not None and age_s is not None and age_s <= self.row.beat_s

    def hung(self, now_ns: int) -> str:
        """Why it counts as hung; empty when it does not."""
        age_s = self.beat_age_s(now_ns)
        if age_s is None:
            over = (now_ns - self.started_ns) * 1e-9 > self.row.start_s
            return f"no heartbeat within {self.row.start_s:g} s of its start" if over else ""
        return f"no heartbeat for {age_s:.2f} s (bound {self.row.beat_s:g} s)" if age_s > self.row.beat_s else ""


class Children:
    """All of them. `lost(child, text, code)` is called once per loss, before the child is started again."""

    def __init__(
        self, config: Config, owned: OwnedBoard, lost: Callable[[Running, str, FaultCode | None], None]
    ) -> None:
        self._config, self._owned, self._lost = config, owned, lost
        self._context = multiprocessing.get_context("spawn")
        self.all = {row.name: Running(row, owned) for row in table(config)}

    def __getitem__(self, name: str) -> Running:
        return self.all[name]

    def start(self, running: Running, now_ns: int) -> None:
        row = running.row
        spawned = Spawned(
            name=row.name,
            module=row.module,
            config=self._config,
            board=self._owned.board,
            supervisor_pid=os.getpid(),
            outlives_supervisor=row.outlives_supervisor,
            nice=row.nice,
        )
        running.process = self._context.Process(target=child.main, args=(spawned,), name=row.name)
        running.process.start()
        running.started_ns = now_ns
        running.restarts += 1

    def start_all(self, now_ns: int) -> None:
        for running in self.all.values():
            self.start(running, now_ns)

    def watch(self, now_ns: int) -> None:
        """Look at every child once: read its status, notice its loss, start it again when its time has come."""
        for running in self.all.values():
            running.read()
            if running.process is None:
                if now_ns >= running.due_ns:
                    self.start(running, now_ns)
            elif not running.process.is_alive():
                self._bury(running, now_ns, _how_it_ended(running.process.exitcode))
            elif why := running.hung(now_ns):
                running.process.kill()
                running.process.join()
                self._bury(running, now_ns, why)

    def _bury(self, running: Running, now_ns: int, how: str) -> None:
        name, pid = running.row.name, running.pid
        code = FaultCode(int(running.status["fault"])) if running.has_beaten else FaultCode.NONE
        text = layout.text(running.status["fault_text"]) if code else ""
        running.process.close()
        running.process = None
        running.failures = 0 if now_ns - running.started_ns > STEADY_NS else running.failures + 1
        running.due_ns = now_ns + BACKOFF_NS[min(running.failures, len(BACKOFF_NS) - 1)]
        log.error("process=%s pid=%s lost: %s", name, pid, text or how)
        said = code if code is FaultCode.ROBOT_ERROR else running.row.loss
        self._lost(running, text if code is FaultCode.ROBOT_ERROR else f"{name} (pid {pid}): {how}", said)

    def alive(self) -> list[Running]:
        return [running for running in self.all.values() if running.process is not None and running.process.is_alive()]

    def kill(self) -> None:
        """End whatever did not end by itself."""
        for running in self.alive():
            log.warning("process=%s pid=%s did not end in time, killed", running.row.name, running.pid)
            running.process.kill()
            running.process.join()


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"killed by signal {-exitcode}"
    return f"ended with exit code {exitcode}"
