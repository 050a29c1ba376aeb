"""Whether joint readings can be believed: frozen, stamped backwards in time, or no numbers. Pure.

The motor process asks it in each tick and brakes on what it finds. Arms at rest may well read the same for ever: a
reading counts as frozen only while the command moves.
"""

from __future__ import annotations

import numpy as np

from controller.faults import FaultCode
from controller.robots.base import ARM_JOINTS, JOINT_NAMES, JointState, Vector

FROZEN_S = 0.1
"""A reading that stays the same, or gets no newer, for this long is frozen."""

MOVED = 0.01
"""rad, m: so far some joint's command must have gone meanwhile."""

SIDES = (slice(0, len(ARM_JOINTS)), slice(len(ARM_JOINTS), None))
"""The joints of each arm: one that is silent is not to be covered up by the other."""

QUARANTINE_S = 1.0
"""How long readings are not trusted after one that was stamped earlier than the one before it."""


class _Since:
    """The instant at which something last changed, or the command of its joints set out since, and the command then."""

    def __init__(self, joints: slice) -> None:
        self._joints = joints
        self._t_ns = 0
        self._q_command: Vector | None = None

    def changed(self, now_ns: int, q_command: Vector) -> None:
        self._t_ns, self._q_command = now_ns, q_command.copy()

    def frozen(self, now_ns: int, q_command: Vector) -> str:
        """For how long and under what command nothing changed; empty when that is in order."""
        if self._q_command is None:
            return ""
        moved = np.zeros_like(q_command)
        moved[self._joints] = np.abs(q_command - self._q_command)[self._joints]
        if not moved.any():
            self._t_ns = now_ns  # at rest: nothing has to change yet
        age_ms = (now_ns - self._t_ns) * 1e-6
        if age_ms < 1e3 * FROZEN_S or not (moved > MOVED).any():
            return ""
        worst = int(np.argmax(moved))
        return (
            f"for {age_ms:.0f} ms (bound {1e3 * FROZEN_S:.0f} ms) while the command of {JOINT_NAMES[worst]} "
            f"went {moved[worst]:.4f} (bound {MOVED:g})"
        )


class JointWatch:
    """`alarm` is what is wrong with the readings now, None when nothing is."""

    def __init__(self) -> None:
        self.alarm: tuple[FaultCode, str] | None = None
        self._values = [b"" for _ in SIDES]
        self._t_ns: int | None = None
        self._new_values, self._newer = [_Since(side) for side in SIDES], _Since(slice(None))
        self._backwards: tuple[int, str] | None = None

    def look(self, now_ns: int, state: JointState, q_command: Vector) -> tuple[FaultCode, str] | None:
        """Judge the newest reading; q_command is the command given before it."""
        self._note(now_ns, state, q_command)
        self.alarm = self._judge(now_ns, state, q_command)
        return self.alarm

    def rebase(self, now_ns: int, q_command: Vector) -> None:
        """The command was set to another place, by no motion: nothing has to follow it there."""
        for since in (*self._new_values, self._newer):
            since.changed(now_ns, q_command)

    def _note(self, now_ns: int, state: JointState, q_command: Vector) -> None:
        for number, side in enumerate(SIDES):
            values = state.q[side].tobytes() + state.qd[side].tobytes() + state.effort[side].tobytes()
            if values != self._values[number]:
                self._values[number] = values
                self._new_values[number].changed(now_ns, q_command)
        before_ns, self._t_ns = self._t_ns, state.t_ns
        if before_ns is None or state.t_ns > before_ns:
            self._newer.changed(now_ns, q_command)
        elif state.t_ns < before_ns:
            text = f"a reading is stamped {(before_ns - state.t_ns) * 1e-6:.1f} ms before the one that came before it"
            self._backwards = now_ns, text

    def _judge(self, now_ns: int, state: JointState, q_command: Vector) -> tuple[FaultCode, str] | None:
        if text := not_numbers(state.q, state.qd):
            return FaultCode.JOINTS_INVALID, text
        if self._backwards is not None and (now_ns - self._backwards[0]) * 1e-9 < QUARANTINE_S:
            return FaultCode.JOINTS_TIME, self._backwards[1]
        for since in self._new_values:
            if text := since.frozen(now_ns, q_command):
                return FaultCode.JOINTS_FROZEN, f"the same reading of that arm to the bit {text}"
        if text := self._newer.frozen(now_ns, q_command):
            return FaultCode.JOINTS_FROZEN, f"no newer reading {text}"
        return None


def not_numbers(q: Vector, qd: Vector) -> str:
    """The first value that is not finite, in words; empty when all are."""
    for what, values in (("position", q), ("velocity", qd)):
        finite = np.isfinite(values)
        if not finite.all():
            worst = int(np.argmin(finite))
            return f"{JOINT_NAMES[worst]}: measured {what} {values[worst]} is not finite"
    return ""
