"""Smooth joint-space paths for scripted policies. Pure.

A path begins and ends at rest. It is a function of time alone, so chunks sampled from it at different instants
always agree with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

ARM_SPEED = np.array((1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 0.075))
"""Fastest motion of one arm's joints: rad/s, gripper m/s."""

SEGMENT_S = 0.12
"""Shortest time from one via point to the next; it sets the pace where via points lie close together."""

PAUSE_S = 0.35
"""How long an arm waits at a via point that is given twice."""

STEP_S = 0.01
WINDOWS_S = (0.42, 0.14)
"""Two moving averages. The first bounds the acceleration: 1.1 rad/s in 0.42 s from rest, twice that in a reversal.
The second bounds the jerk."""


class Path:
    """Both arms through via points of their own, beginning and ending together.

    left, right: via points, each (7,), the first one where the arm is. Each arm follows straight lines at constant
    speeds, smoothed by moving averages: no joint is ever faster than on the lines, corners are rounded, and the ends
    are met exactly.
    """

    def __init__(self, left: Sequence[Vector], right: Sequence[Vector]) -> None:
        lines = (_Lines(np.array(left)), _Lines(np.array(right)))
        total_s = max(line.duration_s for line in lines)
        t_s = np.arange(0.0, total_s + STEP_S, STEP_S)
        q = np.hstack([line.at(t_s * (line.duration_s / total_s if total_s else 1.0)) for line in lines])
        for window_s in WINDOWS_S:
            q = _average(q, round(window_s / STEP_S))
        self._q = q
        self.duration_s = (len(q) - 1) * STEP_S
        self.end: Vector = q[-1]

    def at(self, t_s: Vector) -> Matrix:
        """Joint positions (n, 14) at instants (n,) since the path's beginning; its ends hold before and after."""
        place = np.clip(t_s, 0.0, self.duration_s) / STEP_S
        low = np.minimum(place.astype(np.intp), len(self._q) - 2)
        part = (place - low)[:, None]
        q: Matrix = self._q[low] + part * (self._q[low + 1] - self._q[low])
        return q


class _Lines:
    """Straight lines between via points, each at the speed of its slowest joint."""

    def __init__(self, via: Matrix) -> None:
        needed_s = np.abs(np.diff(via, axis=0) / ARM_SPEED).max(axis=1)
        self._via = via
        segments_s = np.where(needed_s > 0.0, np.maximum(needed_s, SEGMENT_S), PAUSE_S)
        self._t_s = np.concatenate(([0.0], np.cumsum(segments_s)))
        self.duration_s = float(self._t_s[-1])

    def at(self, t_s: Vector) -> Matrix:
        return np.column_stack([np.interp(t_s, self._t_s, joint) for joint in self._via.T])


def _average(q: Matrix, width: int) -> Matrix:
    """Moving average over `width` samples, the ends extended so that they are met at rest."""
    padded = np.vstack((np.repeat(q[:1], width, axis=0), q, np.repeat(q[-1:], width - 1, axis=0)))
    sums = np.cumsum(padded, axis=0)
    averaged: Matrix = (sums[width:] - sums[:-width]) / width
    averaged[-1] = q[-1]  # free of the sums' rounding, so that the next path begins where this one ended
    return averaged
