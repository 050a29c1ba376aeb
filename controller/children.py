"""The supervisor's side of its children: starts them, watches heartbeats, starts them again, ends them.

A lost child is started again with back-off, but that never starts motion: a loss that matters is a fault,
and a fault stays until an operator resets it.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import multiprocessing.util
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from controller import child, layout
from controller.board import OwnedBoard, status_ring
from controller.child import Spawned
from controller.config import Config
from controller.exits import DaemonExit
from controller.faults import FaultCode
from controller.logs import fields
from controller.processes import Process, table

BACKOFF_NS = (200_000_000, 500_000_000, 1_000_000_000, 2_000_000_000, 5_000_000_000)
DEVICE_ERRORS = (FaultCode.ROBOT_ERROR, FaultCode.CAMERA_LOST)
"""Faults with which a process tells why it ends."""

LONGEST_LOOK_S = 0.05
STEADY_NS = 10_000_000_000
"""A child that lived this long starts its back-off anew."""

LEAVE_NS = 5_000_000_000
"""How long a child that is told to end in order may take."""

KILL_S = 2.0
"""How long the end of the daemon waits for those that it has killed."""

UNKILLABLE_NS = 10_000_000_000
"""A killed process that is still there after this long is stuck in the kernel, and is not waited for any more."""

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
        self.silent_s = 0.0
        """How long the supervisor has watched without a new heartbeat. Time in which the supervisor itself stood
        still hardly counts: a machine that stops everybody makes nobody hang."""
        self.killed_for = ""
        """Why it was killed, until it is gone; the loop never waits for that."""
        self.killed_ns = 0
        self.dismissed_ns: int | None = None
        """Since when it has been told to end in order, until it is gone."""
        self.welcomed: int | None = None
        """The pid of which it was said that it is up."""
        self.came_up = False
        """Whether a process of this name has written its status, since the daemon's start or a reload that it began
        anew for. One that cannot have its device does so, too; a camera need not even: it was told to be lost."""
        self._looked_ns = 0
        self._beat_ns = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    def look(self, now_ns: int) -> None:
        """Take the newest status record into `status` and note whether it is a new heartbeat."""
        self._reader.newest(self.status)
        beat_ns = int(self.status["t_ns"])
        if beat_ns != self._beat_ns:
            self._beat_ns, self.silent_s = beat_ns, 0.0
        else:
            self.silent_s += min((now_ns - self._looked_ns) * 1e-9, LONGEST_LOOK_S)
        self._looked_ns = now_ns
        self.came_up = self.came_up or (self.has_beaten and self.dismissed_ns is None)

    @property
    def has_beaten(self) -> bool:
        """True once this very process (not one before it) has written its status."""
        return self.process is not None and int(self.status["pid"]) == self.process.pid

    def beat_age_s(self, now_ns: int) -> float | None:
        return (now_ns - int(self.status["t_ns"])) * 1e-9 if self.has_beaten else None

    @property
    def healthy(self) -> bool:
        return self.has_beaten and self.silent_s <= self.row.beat_s

    def hung(self, now_ns: int) -> str:
        """Why it counts as hung; empty when it does not."""
        if not self.has_beaten:
            over = (now_ns - self.started_ns) * 1e-9 > self.row.start_s
            return f"no heartbeat within {self.row.start_s:g} s of its start" if over else ""
        return "" if self.healthy else f"no heartbeat for {self.silent_s:.2f} s (bound {self.row.beat_s:g} s)"


class Children:
    """All of them. `lost(child, text, code)` is called once per loss, before the child is started again."""

    def __init__(
        self, config: Config, owned: OwnedBoard, lost: Callable[[Running, str, FaultCode | None], None]
    ) -> None:
        self.config, self._owned, self._lost = config, owned, lost
        self.fatal = ""
        """Why the daemon cannot go on at all; empty while it can."""
        self._context = multiprocessing.get_context("spawn")
        self.all = {row.name: Running(row, owned) for row in table(config)}

    def __getitem__(self, name: str) -> Running:
        return self.all[name]

    def start(self, running: Running, now_ns: int) -> None:
        """Raises OSError where this machine gives no more process, memory or open file."""
        row = running.row
        spawned = Spawned(
            name=row.name,
            module=row.module,
            config=self.config,
            board=self._owned.board,
            supervisor_pid=os.getpid(),
            outlives_supervisor=row.outlives_supervisor,
            nice=row.nice,
            again=running.restarts >= 0,
        )
        process = self._context.Process(target=child.main, args=(spawned,), name=row.name)
        process.start()
        running.process = process
        running.started_ns = now_ns
        running.restarts += 1

    def start_all(self, now_ns: int) -> None:
        for running in self.all.values():
            self.start(running, now_ns)

    def watch(self, now_ns: int) -> None:
        """Look at every child once: read its status, notice its loss, start it again when its time has come."""
        for running in self.all.values():
            running.look(now_ns)
            self._welcome(running, now_ns)
            if running.process is None:
                if now_ns >= running.due_ns:
                    self._start_again(running, now_ns)
            elif running.dismissed_ns is not None:
                self._take_leave(running, now_ns)
            elif not running.process.is_alive():
                self._bury(running, now_ns, running.killed_for or _how_it_ended(running.process.exitcode))
            elif not running.killed_for and (why := running.hung(now_ns)):
                running.killed_for, running.killed_ns = why, now_ns
                running.process.kill()
                self._tell(running, why)  # now: a process that sleeps in the kernel may take its time to die

    def _start_again(self, running: Running, now_ns: int) -> None:
        """What this machine cannot give now it may give later: whoever needs the process has been told of its loss."""
        try:
            self.start(running, now_ns)
        except OSError as error:
            told = fields(child=running.row.name)
            log.warning("%s cannot be started, and will be tried again: %s", running.row.name, error, extra=told)
            running.failures += 1
            self._wait(running, now_ns)

    def _wait(self, running: Running, now_ns: int) -> None:
        running.due_ns = now_ns + BACKOFF_NS[min(running.failures, len(BACKOFF_NS) - 1)]

    def _welcome(self, running: Running, now_ns: int) -> None:
        """Say once of each process that it is up, with the rights that it was granted."""
        if not running.has_beaten or running.welcomed == running.pid or running.status["fault"] in DEVICE_ERRORS:
            return
        running.welcomed = running.pid
        rights = layout.text(running.status["realtime"])
        log.info(
            "%s up%s after %.1f s%s",
            running.row.name,
            f" again, restart {running.restarts}," if running.restarts else "",
            (now_ns - running.started_ns) * 1e-9,
            f": {rights}" if rights else "",
            extra=fields(child=running.row.name, child_pid=running.pid, restarts=running.restarts),
        )

    def _bury(self, running: Running, now_ns: int, how: str) -> None:
        if running.process.exitcode == DaemonExit.RIGHTS:
            self.fatal = f"{running.row.name}: realtime.required is set and a right was refused"
        if not running.killed_for:
            self._tell(running, how)
        running.process.close()
        running.process, running.killed_for = None, ""
        running.failures = 0 if now_ns - running.started_ns > STEADY_NS else running.failures + 1
        self._wait(running, now_ns)

    def dismiss(self, names: Iterable[str], now_ns: int) -> list[int]:
        """Expect these to end in order and start each anew then, with the configuration of now. Their pids."""
        leaving = [running for name in names if (running := self.all[name]).process is not None]
        for running in leaving:
            running.dismissed_ns, running.came_up = now_ns, False
        return [running.pid for running in leaving if running.pid is not None]

    def awaited(self, names: Iterable[str]) -> list[str]:
        """Those of them that were dismissed and whose successor has not written its status yet."""
        return [name for name in names if not self.all[name].came_up]

    def _take_leave(self, running: Running, now_ns: int) -> None:
        assert running.dismissed_ns is not None
        if running.process.is_alive():
            if not running.killed_for and now_ns - running.dismissed_ns > LEAVE_NS:
                log.warning("%s (pid %s) did not end in order, killed", running.row.name, running.pid)
                running.killed_for, running.killed_ns = "did not end in order", now_ns
                running.process.kill()
            return
        running.process.close()
        running.process, running.killed_for, running.dismissed_ns = None, "", None
        running.failures, running.due_ns = 0, now_ns

    def _tell(self, running: Running, how: str) -> None:
        code = running.row.loss
        if running.has_beaten and running.status["fault"] in DEVICE_ERRORS:
            code = FaultCode(int(running.status["fault"]))
            how = f"{layout.text(running.status['fault_text'])} ({how})"
        running.came_up = running.came_up or running.row.loss is FaultCode.CAMERA_LOST
        told = fields(child=running.row.name, child_pid=running.pid)
        log.error("%s (pid %s) is lost, and will be started again: %s", running.row.name, running.pid, how, extra=told)
        self._lost(running, f"{running.row.name} (pid {running.pid}): {how}", code)

    def all_came_up(self) -> bool:
        """Every process has written its status at least once since the daemon's start."""
        return all(running.came_up for running in self.all.values())

    def stuck(self, names: Iterable[str], now_ns: int) -> str:
        """Which of these hangs where even SIGKILL does not reach it, so that none can take its place; empty: none."""
        for name in names:
            running = self.all[name]
            if running.killed_for and now_ns - running.killed_ns > UNKILLABLE_NS:
                return f"{name} (pid {running.pid}) was killed and does not end"
        return ""

    def alive(self) -> list[Running]:
        return [running for running in self.all.values() if running.process is not None and running.process.is_alive()]

    def kill(self) -> None:
        """End whatever did not end by itself. One that even this does not end is left behind."""
        left = self.alive()
        for running in left:
            log.warning("process=%s pid=%s did not end in time, killed", running.row.name, running.pid)
            running.process.kill()
        deadline_s = time.monotonic() + KILL_S
        for running in left:
            running.process.join(max(deadline_s - time.monotonic(), 0.0))
        for running in self.alive():
            log.error("process=%s pid=%s is stuck in the kernel and left behind", running.row.name, running.pid)
            # it would wait for that process without end
            atexit.unregister(multiprocessing.util._exit_function)  # type: ignore[attr-defined]  # noqa: SLF001


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"killed by signal {-exitcode}"
    return f"ended with exit code {exitcode}"
