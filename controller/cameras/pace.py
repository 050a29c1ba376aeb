"""Absolute deadlines for cameras that make their own pictures, and the rate such a camera can afford.

Run in a camera process. Deadlines never drift and missed ones are skipped, never made up in a burst.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

RATES_HZ = (30.0, 20.0, 15.0, 10.0)
"""What a camera steps down through when the machine cannot keep up."""


class Pacer:
    """Deadlines at a fixed rate, counted like the frames of a device."""

    def __init__(
        self,
        rate_hz: float,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0.0 < rate_hz <= 1000.0:
            raise ValueError(f"camera rate must lie in (0, 1000] Hz, got {rate_hz}")
        self._clock = clock
        self._sleep = sleep
        self._number = 0
        self.restart(rate_hz)

    @property
    def rate_hz(self) -> float:
        """Deadlines per second."""
        return self._rate_hz

    def restart(self, rate_hz: float) -> None:
        """Begin a new row of deadlines, the first of them now; the count goes on."""
        self._rate_hz = rate_hz
        self._start_ns = self._clock()
        self._beat = 0

    def wait(self, timeout_s: float) -> tuple[int, int] | None:
        """Sleep until the next deadline: its number and its instant, None when it lies beyond timeout_s.

        Numbers count from 1, skipped deadlines included.
        """
        now_ns = self._clock()
        due_ns = self._due_ns(self._beat)
        if due_ns - now_ns > timeout_s * 1e9:
            self._sleep(timeout_s)
            return None
        if now_ns < due_ns:
            self._sleep((due_ns - now_ns) / 1e9)
        skipped = max(0, int((now_ns - due_ns) * self._rate_hz / 1e9))
        self._beat += skipped + 1
        self._number += skipped + 1
        return self._number, self._due_ns(self._beat - 1)

    def _due_ns(self, beat: int) -> int:
        return self._start_ns + round(beat * 1e9 / self._rate_hz)


class Governor:
    """The highest rate at which making a picture takes no more than its SHARE of the period. Pure.

    Several cameras draw on the same few cores, and those that drive the arms need some of them, too. Lowers after a
    second in which every other picture took longer; raises after a while in which the next higher rate would have
    been kept easily. Each fall right after a rise doubles that while, so the rate does not swing.
    """

    PATIENCE_S = 5.0
    MAX_PATIENCE_S = 80.0
    SHARE = 0.6
    """Part of a period that a picture may take."""

    EASY = 0.7
    """Part of the higher rate's share that a picture may take for a rise."""

    def __init__(self, wanted_hz: float) -> None:
        self._rates = (wanted_hz, *(rate for rate in RATES_HZ if rate < wanted_hz))
        self._step = 0
        self._patience_s = self.PATIENCE_S
        self._busy_s: deque[float] = deque()
        self._since_change = 0
        self._rose = False

    @property
    def rate_hz(self) -> float:
        """The rate to run at."""
        return self._rates[self._step]

    def note(self, busy_s: float) -> bool:
        """Count one picture that took busy_s to make. True when rate_hz changed."""
        self._busy_s.append(busy_s)
        self._since_change += 1
        while len(self._busy_s) > self._patience_s * self.rate_hz:
            self._busy_s.popleft()
        if self._must_fall():
            if self._rose and self._since_change < 3 * self._patience_s * self.rate_hz:
                self._patience_s = min(2 * self._patience_s, self.MAX_PATIENCE_S)
            return self._move(+1)
        if self._may_rise():
            return self._move(-1)
        return False

    def _must_fall(self) -> bool:
        second = round(self.rate_hz)
        if self._step + 1 == len(self._rates) or len(self._busy_s) < second:
            return False
        newest = list(self._busy_s)[-second:]
        return sum(busy > self.SHARE / self.rate_hz for busy in newest) * 2 > second

    def _may_rise(self) -> bool:
        if self._step == 0 or len(self._busy_s) < int(self._patience_s * self.rate_hz):
            return False
        easy_s = self.EASY * self.SHARE / self._rates[self._step - 1]
        return sum(busy > easy_s for busy in self._busy_s) * 20 < len(self._busy_s)

    def _move(self, steps: int) -> bool:
        self._step += steps
        self._rose = steps < 0
        self._busy_s.clear()
        self._since_change = 0
        return True
