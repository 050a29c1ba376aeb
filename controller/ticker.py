"""Absolute deadlines: the clock and the pacing of the control and motor loops.

A deadline missed by a whole period is counted and skipped, phase kept; there is never a burst to catch up.
The clock is an argument, so that tests run the same loops with a fake one.
"""

from __future__ import annotations

import math
import select
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from controller.layout import LATENESS_BINS


class Clock(Protocol):
    """CLOCK_MONOTONIC, or a test's stand-in."""

    def now_ns(self) -> int: ...

    def sleep_until(self, t_ns: int, wake_fd: int | None = None) -> bool:
        """Sleep until t_ns, or until wake_fd is readable; True when it was woken early."""
        ...


APPROACH_NS = 200_000
"""The last stretch of a sleep is slept by itself. Out of a long sleep a processor comes as late as it takes to wake up,
which on a virtual machine is longer than all the rest; out of a short one it comes while it is still awake."""


class MonotonicClock:
    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until(self, t_ns: int, wake_fd: int | None = None) -> bool:
        return _slept(t_ns - APPROACH_NS, wake_fd) or _slept(t_ns, wake_fd)


def _slept(t_ns: int, wake_fd: int | None) -> bool:
    """Sleep until then. Whether wake_fd ended it early."""
    while (left_ns := t_ns - time.monotonic_ns()) > 0:
        if wake_fd is None:
            time.sleep(left_ns * 1e-9)
        elif select.select([wake_fd], [], [], left_ns * 1e-9)[0]:
            return True
    return False


@dataclass(slots=True)
class Lateness:
    """Histogram of how late ticks came, in bins of a quarter octave of microseconds."""

    bins: np.ndarray = field(default_factory=lambda: np.zeros(LATENESS_BINS, np.uint32))
    max_us: float = 0.0

    def add(self, late_ns: int) -> None:
        late_us = late_ns * 1e-3
        self.max_us = max(self.max_us, late_us)
        index = int(4.0 * math.log2(late_us)) if late_us > 1.0 else 0
        self.bins[min(index, LATENESS_BINS - 1)] += 1


def percentile_us(bins: np.ndarray, fraction: float) -> float | None:
    """Upper edge of the bin that holds the given fraction of all ticks; None without ticks."""
    total = int(bins.sum())
    if total == 0:
        return None
    index = int(np.searchsorted(np.cumsum(bins), math.ceil(fraction * total)))
    return float(2.0 ** ((index + 1) / 4.0))


class Ticker:
    """Paces a loop at rate_hz on absolute deadlines."""

    def __init__(self, clock: Clock, rate_hz: float) -> None:
        self._clock = clock
        self.period_ns = round(1e9 / rate_hz)
        self.deadline_ns = clock.now_ns() + self.period_ns
        self.ticks = 0
        self.missed = 0
        self.lateness = Lateness()

    def wait(self, wake_fd: int | None = None) -> bool:
        """Sleep to the next deadline: False. True when wake_fd called first; the deadline stays as it is."""
        if self._clock.sleep_until(self.deadline_ns, wake_fd):
            return True
        late_ns = self._clock.now_ns() - self.deadline_ns
        self.ticks += 1
        self.lateness.add(late_ns)
        skipped = late_ns // self.period_ns
        self.missed += skipped
        self.deadline_ns += (1 + skipped) * self.period_ns
        return False
