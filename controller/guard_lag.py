"""Whether the collision guard keeps up with the motion, as the supervisor sees it. Pure.

It thinks as the lease does: motion needs a guard that looked at it a short while ago. Only time in which the supervisor
itself watched counts: on a machine that stands still for everybody nobody falls behind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LONGEST_LOOK_NS = 50_000_000
"""A gap between two looks counts as no more than this."""


class GuardLag:
    """bound_s: a motion that has not been looked at for so long is to end."""

    def __init__(self, bound_s: float) -> None:
        self._bound_ns = round(1e9 * bound_s)
        self._motion_id = 0
        self._t_checked_ns = 0
        self._looked_ns = 0
        self._behind_ns = 0

    def watch(self, now_ns: int, motion_id: int, guard: np.ndarray[Any, Any]) -> str:
        """Why the motion is to end; empty while the guard keeps up.

        motion_id: of the motion under way, 0: none. guard: its newest GUARD_STATUS.
        """
        checked_motion_id, t_checked_ns = int(guard["checked_motion_id"]), int(guard["t_checked_ns"])
        gap_ns = min(now_ns - self._looked_ns, LONGEST_LOOK_NS)
        looked_at = checked_motion_id == motion_id and t_checked_ns != self._t_checked_ns
        if motion_id != self._motion_id or looked_at:
            self._behind_ns = 0
        elif motion_id:
            self._behind_ns += gap_ns
        self._motion_id, self._t_checked_ns, self._looked_ns = motion_id, t_checked_ns, now_ns
        if self._behind_ns <= self._bound_ns:
            return ""
        behind_s, bound_s = self._behind_ns * 1e-9, self._bound_ns * 1e-9
        return f"it has not looked at motion {motion_id} for {behind_s:.2f} s (bound {bound_s:g} s)"
