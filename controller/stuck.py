"""Does the policy still look? Pure: watches its answers beside what it was shown.

A server that hangs on to one answer, whatever it sees, would have the arms go to one place and stay there, each chunk
as fresh as ever. The same answer to the same scene is no fault.
"""

from __future__ import annotations

import numpy as np

from controller.faults import FaultCode
from controller.robots.base import GRIPPERS, JOINT_NAMES, N_JOINTS, Vector
from controller.timeline import Actions

REPEATS = 10
MOVED_RAD = 0.05

_ARMS = [joint for joint in range(N_JOINTS) if joint not in GRIPPERS]


class StuckWatch:
    """same: how many answers in a row were, to the bit, the one before them."""

    def __init__(self) -> None:
        self.same = 0
        self._motion_id = 0
        self._actions: bytes | None = None
        self._q_first: Vector | None = None

    def answered(self, motion_id: int, actions: Actions, q: Vector, playing: bool) -> tuple[FaultCode, str] | None:
        """One more answer, to an observation with the joints q. The fault when it is one too many.

        playing: the policy's time passes. What is the same while it stands is not held against the policy.
        """
        content = actions.tobytes()
        if motion_id != self._motion_id or content != self._actions or not playing:
            self._motion_id, self._actions, self._q_first = motion_id, content, q.copy()
            self.same = 0
            return None
        self.same += 1
        assert self._q_first is not None
        moved = np.abs(q - self._q_first)[_ARMS]
        worst = int(np.argmax(moved))
        if self.same < REPEATS or moved[worst] <= MOVED_RAD:
            return None
        return FaultCode.POLICY_STUCK, (
            f"{self.same} answers in a row were the one before them to the bit (bound {REPEATS}) while "
            f"{JOINT_NAMES[_ARMS[worst]]} moved by {moved[worst]:.3f} rad (bound {MOVED_RAD:g})"
        )
