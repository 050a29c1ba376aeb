"""What the server tells the service manager: what it loads and compiles, ready, alive, stuck, stopping.

Always holds: the watchdog is fed from the event loop alone, and not while one inference takes longer than any does.
"""

from __future__ import annotations

from policy_server.systemd import Manager, one_line

STEP_S = 900.0
"""Longest step of a start: reading weights from a slow disk, compiling one program."""

STUCK_S = 60.0
"""An inference that takes so long has met a device or a driver that does not answer any more."""

LOOK_S = 0.5


class Service:
    """`look` every `period_s` while the event loop runs."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._ready = False
        self._said = ""
        self.period_s = LOOK_S if manager.watchdog_s is None else min(LOOK_S, manager.watchdog_s / 4)

    def step(self, text: str) -> None:
        """The next step of the start, from whichever thread does it. It may take STEP_S."""
        self._manager.tell(f"STATUS=starting: {one_line(text)}", f"EXTEND_TIMEOUT_USEC={round(STEP_S * 1e6)}")

    def refused(self, reason: str) -> None:
        self._manager.tell(f"STATUS={one_line(reason)}")

    def stopping(self) -> None:
        self._manager.tell("STOPPING=1", "STATUS=stopping")

    def look(self, *, warm: bool, doing: str, busy_s: float) -> None:
        """warm: every program is compiled. doing: in words. busy_s: how long the worker has been in its call."""
        stuck = warm and busy_s > STUCK_S
        if warm and not self._ready:
            self._ready = self._manager.tell("READY=1")
        if not stuck and self._manager.watchdog_s is not None:
            self._manager.tell("WATCHDOG=1")
        line = f"STUCK, waiting for the watchdog: an inference takes {busy_s:.0f} s" if stuck else f"serving, {doing}"
        if warm and line != self._said and self._manager.tell(f"STATUS={line}"):
            self._said = line
