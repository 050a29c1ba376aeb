"""When the service manager is told what: ready, still alive, what the daemon is doing. Part of the supervisor.

Must always hold: WATCHDOG=1 is said only from the supervisor's own loop, so a supervisor that hangs falls silent; and
it is not said while a process without which nothing moves can neither go on nor be replaced.
"""

from __future__ import annotations

from collections.abc import Callable

from controller.systemd import Manager, one_line

STATUS_NS = 500_000_000
"""Least time between two status lines."""

FEEDS_PER_PERIOD = 4
"""How often the watchdog is fed within the time that it waits."""


class Announcer:
    """`look` at every turn of the supervisor's loop."""

    def __init__(self, manager: Manager, line: Callable[[], str]) -> None:
        """line: says in one line what the daemon does now; asked at most twice a second."""
        self._manager, self._line = manager, line
        self._ready = self._stopping = False
        self._said, self._said_ns = "", -STATUS_NS
        period_s = manager.watchdog_s
        self._feed_ns = None if period_s is None else round(1e9 * period_s / FEEDS_PER_PERIOD)
        self._fed_ns = -(self._feed_ns or 0)

    def look(self, now_ns: int, *, ready: bool, stuck: str) -> None:
        """ready: the daemon is up. stuck: what only a restart of the whole daemon can mend; empty: nothing."""
        if not self._manager.listens:
            return
        if ready and not self._ready and not self._stopping:
            self._ready = self._manager.tell("READY=1")
        if self._feed_ns is not None and not stuck and now_ns >= self._fed_ns + self._feed_ns:
            if self._manager.tell("WATCHDOG=1"):
                self._fed_ns = now_ns
        if now_ns >= self._said_ns + STATUS_NS:
            self._said_ns = now_ns
            self._say(stuck)

    def reloading(self, now_ns: int) -> None:
        """The configuration is about to be read again; the next `look` with ready says that this is over."""
        if not self._stopping and self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={now_ns // 1000}"):
            self._ready = False

    def stopping(self) -> None:
        """The orderly end has begun."""
        self._stopping = True
        self._manager.tell("STOPPING=1")

    def extend(self, within_s: float) -> None:
        """What is under way, start or end, may take so long from now."""
        self._manager.tell(f"EXTEND_TIMEOUT_USEC={round(1e6 * within_s)}")

    def _say(self, stuck: str) -> None:
        doing = "ending: " if self._stopping else "" if self._ready else "not ready: "
        line = one_line(f"STUCK, waiting for the watchdog: {stuck}" if stuck else doing + self._line())
        if line != self._said and self._manager.tell(f"STATUS={line}"):
            self._said = line
