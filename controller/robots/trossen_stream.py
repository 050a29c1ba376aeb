"""How an arm's commands and readings run in time: goal times, the device's clock, silence. Pure.

The driver goes in a straight line from where its set-point is now to the goal that it is given, in the goal time it is
given. A goal that is far because the caller was late must not be reached in one period: the controller stops an arm
that goes faster than its limit.
"""

from __future__ import annotations

import numpy as np

from controller.robots.base import Vector

DRIFT = 1e-4
"""Two clocks drift apart by no more than this part of the time."""

LONGEST_S = 0.1
"""Of a goal time. The driver goes in a straight line up to 0.2 s, and in a curve with a faster middle beyond."""


class Stream:
    """The driver's set-point, followed in the mind."""

    def __init__(self, q: Vector, velocity: Vector, period_s: float) -> None:
        """q: where the set-point is. velocity: what it may not exceed. period_s: of the commands."""
        self._velocity, self._period_s = velocity, period_s
        self._from, self._goal = q.copy(), q.copy()
        self._t_ns, self._time_s = 0, period_s

    def at(self, now_ns: int) -> Vector:
        """Where the set-point is now."""
        share = min(max((now_ns - self._t_ns) * 1e-9 / self._time_s, 0.0), 1.0)
        return self._from + share * (self._goal - self._from)

    def next(self, now_ns: int, goal: Vector) -> tuple[Vector, float]:
        """The goal to give to the driver, and its goal time: one period, longer where that would be too fast, and
        only a part of the way where it would be too long."""
        here = self.at(now_ns)
        needed_s = float((np.abs(goal - here) / self._velocity).max())
        part = min(1.0, LONGEST_S / needed_s) if needed_s > 0.0 else 1.0
        self._from, self._goal = here, goal.copy() if part == 1.0 else here + part * (goal - here)
        self._t_ns, self._time_s = now_ns, max(self._period_s, part * needed_s)
        return self._goal, self._time_s


class ArmClock:
    """The device's stamps as instants of CLOCK_MONOTONIC.

    A reading arrives some time after its stamp, never before: the smallest difference seen is nearest to the true one.
    It is let go slowly, so that two clocks that drift apart stay together. Later stamps give later instants.
    Unlike that of a camera (device_clock.py) it never begins anew: an earlier stamp is an earlier instant, and a fault.
    """

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._seen_ns = 0

    def instant_ns(self, stamp_us: int, now_ns: int) -> int:
        """The instant of a reading that was stamped by the device and has just arrived."""
        difference_ns = now_ns - 1000 * stamp_us
        if self._offset_ns is None:
            self._offset_ns = difference_ns
        else:
            loosened_ns = self._offset_ns + round(DRIFT * (now_ns - self._seen_ns))
            self._offset_ns = min(loosened_ns, difference_ns)
        self._seen_ns = now_ns
        return 1000 * stamp_us + self._offset_ns


class Silence:
    """For how long an arm that is asked in each tick has said nothing new.

    Of the time between two looks no more than a few periods count: a machine that stops everybody makes nobody silent.
    """

    def __init__(self, period_s: float) -> None:
        self._most_ns = round(3e9 * period_s)
        self._looked_ns: int | None = None
        self._number: int | None = None
        self._silent_ns = 0

    def look(self, now_ns: int, number: int) -> float:
        """Seconds of silence. number: the newest reading's own."""
        if number != self._number:
            self._number, self._silent_ns = number, 0
        elif self._looked_ns is not None:
            self._silent_ns += min(now_ns - self._looked_ns, self._most_ns)
        self._looked_ns = now_ns
        return self._silent_ns * 1e-9
