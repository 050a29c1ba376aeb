"""What the motor process commands at each of its ticks: follow, brake or hold. Pure.

The last gate before the driver. It trusts nobody: a piece is followed only with permission, only for the
motion that the permission names, and only while every command passes the gate. Whatever else happens it
brakes within its own limits and holds. A motion that has been braked is never followed again. Every piece is
begun where the joints are, so position and velocity never step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np

from controller.faults import FaultCode
from controller.hermite import Piece, State
from controller.moves import Bounds, Move, stop
from controller.planner import Permit
from controller.robots.base import GRIPPERS, JOINT_NAMES, Vector
from controller.shaper import Range, fits, reachable
from controller.states import MOVING

SHORTEST_S = 5e-3
"""Rates of change are judged over at least this long. A tick that follows a late one is short, and a piece that
came late differs a little from the one before it; neither is a jump."""

WAITING = 3
"""So many pieces may wait for their beginning: two of a new plan, control's own tick between them, come within one
period."""


class Mode(IntEnum):
    HOLD = 0
    FOLLOW = 1
    BRAKE = 2


@dataclass(frozen=True, slots=True)
class Gate:
    """Bounds of the last check, one value per joint."""

    limits: Range
    follow: Bounds
    tracking: Vector
    brake: Bounds
    stall_ns: int = 80_000_000
    """After a gap this long between two steps the arms stand at the last command: nothing is left to brake."""
    margin: float = 1e-3
    """A position this far outside the limits is still clamped (rad, m); farther is refused."""
    slack: float = 1.02
    """Velocities and accelerations are refused beyond so many times their bounds: rounding is no fault."""
    start: float = 0.02
    """A motion may be taken up this far on its way (rad, m), because its first piece came late. It is then begun at
    the hold all the same."""

    @property
    def apart(self) -> Vector:
        """So far from the hold an arm's joint may be measured when a motion begins; a gripper may have closed on a
        thing, as far from its command as in motion."""
        share = np.full_like(self.tracking, 0.5)
        share[list(GRIPPERS)] = 1.0
        return share * self.tracking

    @property
    def refused(self) -> Bounds:
        """Beyond these a command is refused."""
        follow = self.follow
        return Bounds(self.slack * follow.velocity, self.slack * follow.acceleration, follow.jerk)


@dataclass(frozen=True, slots=True)
class Command:
    """What control said newest. piece None: nothing to follow, brake. trace: carried and never looked at."""

    number: int
    motion_id: int
    piece: Piece | None
    trace: Any = field(default=None, compare=False)

    def begun(self, now_ns: int) -> bool:
        """Whether it counts by now; an order to brake does at once."""
        return self.piece is None or self.piece.t0_ns <= now_ns


class Follower:
    """Holds, follows, brakes. `q`, `qd` are the command after each step; `trace` is that of the piece it came from."""

    def __init__(self, gate: Gate, q_measured: Vector) -> None:
        self._gate = gate
        self.q = q_measured.copy()
        self.qd = np.zeros_like(self.q)
        self.mode = Mode.HOLD
        self.motion_id = 0
        self.piece_number = 0
        self.trace: Any = None
        self.refused = 0
        self.fault: tuple[FaultCode, str] | None = None
        self._t_ns = 0
        self._qdd = np.zeros_like(self.q)
        self._command: Command | None = None
        self._waiting: deque[Command] = deque(maxlen=WAITING)
        self._number = 0
        self._followed: Piece | None = None
        self._move: Move | None = None
        self._t_brake_ns = 0

    def step(
        self,
        now_ns: int,
        permit: Permit,
        newest: Command | None,
        q_measured: Vector,
        alarm: tuple[FaultCode, str] | None = None,
    ) -> None:
        """Work out the command for now. A fault found here is left in `fault`.

        alarm: what a watch over the robot has found; a motion under way brakes on it, and none begins but
        ends in it.
        """
        if newest is not None:
            self.expect(newest)
        self._take_due(now_ns)
        if self.mode is Mode.HOLD:
            self._start(now_ns, permit, q_measured, alarm)
        if self.mode is Mode.FOLLOW and alarm is not None:
            self._start_brake(now_ns, alarm)
        if self.mode is Mode.FOLLOW:
            self._follow(now_ns, permit, q_measured)
        if self.mode is Mode.BRAKE:
            self._brake(now_ns)
        self._t_ns = now_ns

    def expect(self, newest: Command) -> None:
        """Note a piece that may begin before the next step; by then another may have come in its place."""
        if newest.number != self._number:
            self._waiting.append(newest)
            self._number = newest.number

    def take_measured(self, q_measured: Vector) -> bool:
        """Make the measured pose the new hold, if the held one is too far from it (an operator's reset); whether so.

        A gripper that may be where it is goes on pressing: it has closed on a thing.
        """
        taken = self.mode is Mode.HOLD and bool(np.isfinite(q_measured).all()) and bool(self._mismatch(q_measured))
        if taken:
            held, self.q = self.q, q_measured.copy()
            for gripper in GRIPPERS:
                if abs(held[gripper] - q_measured[gripper]) <= self._gate.apart[gripper]:
                    self.q[gripper] = held[gripper]
        return taken

    def _take_due(self, now_ns: int) -> None:
        """A piece is used from its own beginning on; until then the one before it, which may itself have waited."""
        begun = [one for one in self._waiting if one.begun(now_ns)]
        if not begun:
            return
        due = begun[-1]
        while self._waiting.popleft() is not due:
            pass  # what came before it is over
        self._command = due if self.mode is not Mode.FOLLOW else self._joined(due)

    def _joined(self, command: Command) -> Command:
        """The command with its piece begun where the one before it leads, or at the hold: never a jump.

        A piece that comes in time begins there already and is left as it is.
        """
        before, piece = self._followed, command.piece
        if piece is None or piece.t1_ns <= self._t_ns:
            return command
        t_ns = max(piece.t0_ns, self._t_ns)
        if before is not None:
            t_ns = min(t_ns, before.t1_ns)  # the joints do not stand still between the two
        state = self._state if before is None else before.at(t_ns)
        if t_ns == piece.t0_ns and (state.q == piece.q0).all() and (state.qd == piece.qd0).all():
            return command
        joined = replace(piece, t0_ns=t_ns, q0=state.q, qd0=state.qd)
        if self._only_late(piece, joined):
            joined = reachable(joined, self._gate.follow)
        return replace(command, piece=joined)

    def _only_late(self, piece: Piece, joined: Piece) -> bool:
        """Whether a piece is as it should be, and only its being late makes it too steep: not control's fault."""
        near = np.abs(piece.at(max(joined.t0_ns, piece.t0_ns)).q - joined.q0) <= self._gate.start
        refused = self._gate.refused
        return bool(near.all() and fits(piece, refused).all() and not fits(joined, refused).all())

    @property
    def _state(self) -> State:
        return State(self.q, self.qd, self._qdd)

    def _inside(self, q: Vector) -> Vector:
        """q within the limits; a joint that is held outside them may come back but go no farther."""
        limits = self._gate.limits
        return np.clip(q, np.minimum(limits.lower, self.q), np.maximum(limits.upper, self.q))

    def _start(
        self, now_ns: int, permit: Permit, q_measured: Vector, alarm: tuple[FaultCode, str] | None
    ) -> None:
        command = self._command
        if command is None or command.piece is None or not permit.commands(now_ns):
            return
        if permit.motion_id <= self.motion_id or command.motion_id != permit.motion_id:
            return
        if now_ns > command.piece.t1_ns:
            return
        fault = alarm or self._mismatch(q_measured) or self._far(command.piece.at(now_ns).q)
        self.fault, self.motion_id = fault, permit.motion_id
        if fault is None:
            self.mode, self._followed = Mode.FOLLOW, None
            self._command = self._joined(command)

    def _mismatch(self, q_measured: Vector) -> tuple[FaultCode, str] | None:
        error, bound = np.abs(self.q - q_measured), self._gate.apart
        if (error <= bound).all():
            return None
        worst = int(np.argmax(error / bound))
        return FaultCode.START_MISMATCH, (
            f"{JOINT_NAMES[worst]} is held at {self.q[worst]:.4f} but measured at {q_measured[worst]:.4f} "
            f"(bound {bound[worst]:.4f} apart)"
        )

    def _far(self, first: Vector) -> tuple[FaultCode, str] | None:
        """A first command away from the hold. One that is not finite is left to the gate."""
        error = np.abs(first - self.q)
        if not (error > self._gate.start).any():
            return None
        worst = int(np.nanargmax(error))
        return FaultCode.START_MISMATCH, (
            f"{JOINT_NAMES[worst]} is held at {self.q[worst]:.4f} but its first command is {first[worst]:.4f} "
            f"(bound {self._gate.start:.4f} apart)"
        )

    def _follow(self, now_ns: int, permit: Permit, q_measured: Vector) -> None:
        command = self._command
        if permit.state not in MOVING or permit.motion_id != self.motion_id or permit.dry:
            self._start_brake(now_ns, None)  # ordered
        elif not permit.moving(now_ns):
            late_ms = (now_ns - permit.lease_until_ns) * 1e-6
            self._start_brake(now_ns, (FaultCode.LEASE_LOST, f"the lease ended {late_ms:.1f} ms ago"))
        elif command is None or command.motion_id != self.motion_id or command.piece is None:
            self._start_brake(now_ns, None)  # control has nothing left and says why itself
        elif now_ns > command.piece.t1_ns:
            late_ms = (now_ns - command.piece.t1_ns) * 1e-6
            text = f"the last command ended {late_ms:.1f} ms ago"
            self._start_brake(now_ns, (FaultCode.COMMAND_STALE, text))
        else:
            wanted = command.piece.at(now_ns)
            reason = self._check(now_ns, wanted, q_measured)
            if reason is not None:
                self.refused += 1
                self._start_brake(now_ns, reason)
                return
            self.piece_number, self._followed, self.trace = command.number, command.piece, command.trace
            self.q, self.qd, self._qdd = self._inside(wanted.q), wanted.qd, wanted.qdd

    def _check(self, now_ns: int, wanted: State, q_measured: Vector) -> tuple[FaultCode, str] | None:
        gate = self._gate
        for what, value in (("position", wanted.q), ("velocity", wanted.qd)):
            if not np.isfinite(value).all():
                worst = int(np.argmin(np.isfinite(value)))
                return FaultCode.COMMAND_REFUSED, f"{JOINT_NAMES[worst]}: {what} {value[worst]} is not finite"
        if now_ns - self._t_ns > self._gate.stall_ns:
            stall_ms = (now_ns - self._t_ns) * 1e-6
            return FaultCode.COMMAND_STALE, (
                f"the motor process stood still for {stall_ms:.0f} ms (bound {self._gate.stall_ns * 1e-6:.0f} ms)"
            )
        inside = self._inside(wanted.q)
        outside = np.abs(wanted.q - inside)
        dt_s = max((now_ns - self._t_ns) * 1e-9, SHORTEST_S)
        for what, value, bound in (
            ("position outside the limits by", outside, np.full_like(outside, gate.margin)),
            ("velocity", np.abs(wanted.qd), gate.refused.velocity),
            ("acceleration", np.abs(wanted.qd - self.qd) / dt_s, gate.refused.acceleration),
            # a piece may be over before anybody sees how fast it is in between
            ("step from the last command", np.abs(inside - self.q), gate.refused.velocity * dt_s),
        ):
            if (value > bound).any():
                worst = int(np.argmax(value / bound))
                return FaultCode.COMMAND_REFUSED, (
                    f"{JOINT_NAMES[worst]}: {what} {value[worst]:.4f} (bound {bound[worst]:.4f})"
                )
        error = np.abs(wanted.q - q_measured)
        if not (error <= gate.tracking).all():
            worst = int(np.argmax(error / gate.tracking))
            return FaultCode.TRACKING, (
                f"{JOINT_NAMES[worst]} is {error[worst]:.4f} from its command (bound {gate.tracking[worst]:.4f})"
            )
        return None

    def _start_brake(self, now_ns: int, reason: tuple[FaultCode, str] | None) -> None:
        """Brake from the last command that was given, so that the first braking command is no step."""
        self.fault = reason
        if now_ns - self._t_ns > self._gate.stall_ns:  # the driver has long come to rest at the last command
            self._rest()
            return
        self._t_brake_ns = self._t_ns
        self._move = stop(self._state, self._gate.brake)
        self.mode = Mode.BRAKE

    def _brake(self, now_ns: int) -> None:
        if self._move is None or now_ns - self._t_ns > self._gate.stall_ns:
            self._rest()
            return
        t_s = (now_ns - self._t_brake_ns) * 1e-9
        state = self._move.at(t_s)
        self.q, self.qd, self._qdd = self._inside(state.q), state.qd, state.qdd
        if t_s >= self._move.duration_s:
            self._rest()

    def _rest(self) -> None:
        self.qd, self._qdd = np.zeros_like(self.q), np.zeros_like(self.q)
        self._move = None
        self.mode = Mode.HOLD
