"""What the control process decides at each step: the next piece of motion, or that there is none. Pure.

One motion (a home or a run) has one number. The planner starts it from the position that the motor process
holds, at rest; when permission ends, the plan is dropped, and nothing of it is ever taken up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from controller.faults import FaultCode
from controller.hermite import Piece, State
from controller.moves import Bounds, Move, to_pose
from controller.robots.base import JOINT_NAMES, Vector
from controller.run_options import Seam
from controller.shaper import Range, fits, shape
from controller.states import MOVING
from controller.states import State as Mode
from controller.timeline import Chunk, Timeline


class Phase(IntEnum):
    IDLE = 0
    HOMING = 1
    RAMP = 2  # some joint still catches up with the first chunk
    FOLLOW = 3
    DONE = 4  # arrived
    ENDED = 5  # failed: nothing left to follow, or too late


@dataclass(frozen=True, slots=True)
class Settings:
    """What the planner needs of the configuration; vectors have one value per joint."""

    limits: Range
    follow: Bounds
    ramp: Bounds
    homing: Bounds
    home: Vector
    park: Vector
    home_tolerance: Vector
    home_settle_s: float
    blend_s: float
    lead_ns: int = 2_000_000
    """A piece begins this long after it is made, so that the motor process has it when it begins."""
    piece_ns: int = 80_000_000


@dataclass(frozen=True, slots=True)
class Permit:
    """The permission to move, as read at the start of the step."""

    state: int
    motion_id: int
    lease_until_ns: int
    park: bool = False
    dry: bool = False
    seam: Seam = Seam.BLEND
    speed: float = 1.0

    def moving(self, now_ns: int) -> bool:
        return self.state in MOVING and now_ns < self.lease_until_ns


@dataclass(frozen=True, slots=True)
class Step:
    """What goes to the motor process: a piece to follow, or the order to brake."""

    piece: Piece | None
    target: Vector
    limited: bool
    stalled: bool


@dataclass(frozen=True, slots=True)
class _Received:
    motion_id: int
    chunk: Chunk
    trace: Any


class Planner:
    """See the module. `trace` is carried from a chunk to the steps made from it and never looked at."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.phase = Phase.IDLE
        self.motion_id = 0
        self.fault: tuple[FaultCode, str] | None = None
        self.trace: Any = None
        self.t_spliced_ns = 0
        self.late_chunks = 0
        self.chunks = 0
        self._first: _Received | None = None
        self._timeline: Timeline | None = None
        self._move: Move | None = None
        self._goal = settings.home
        self._t_start_ns = 0
        self._piece: Piece | None = None
        self._ramping = np.ones(len(settings.home), dtype=bool)

    @property
    def chunk_id(self) -> int:
        return self._timeline.chunk.chunk_id if self._timeline else 0

    def plan_left_s(self, now_ns: int) -> float:
        """How much timeline is left; 0 without one."""
        return max(self._timeline.end_ns - now_ns, 0) * 1e-9 if self._timeline else 0.0

    def receive(self, now_ns: int, motion_id: int, chunk: Chunk, trace: Any) -> None:
        """Take a new chunk: splice it into the motion it was made for, or keep it for the one to come."""
        if self.phase in (Phase.RAMP, Phase.FOLLOW) and motion_id == self.motion_id and self._timeline:
            spliced = self._timeline.splice(chunk, now_ns + self._settings.lead_ns)
            if spliced is None:
                self.late_chunks += 1
                return
            self._timeline, self.trace, self.t_spliced_ns = spliced, trace, now_ns
            self.chunks += 1
        elif motion_id > self.motion_id:
            self._first = _Received(motion_id, chunk, trace)

    def step(self, now_ns: int, permit: Permit, q_held: Vector, q_measured: Vector) -> Step | None:
        """The step for now; None when there is nothing to say (no permission to move)."""
        if not permit.moving(now_ns):
            self._note_lapse(now_ns, permit)
            self._drop()
            return None
        if permit.motion_id != self.motion_id:
            self._begin(now_ns, permit, q_held)
        if self.phase is Phase.HOMING or (self.phase is Phase.DONE and self._move):
            return self._home(now_ns, q_measured)
        if self.phase in (Phase.RAMP, Phase.FOLLOW):
            return self._follow(now_ns)
        return Step(None, q_held, False, stalled=self._timeline is not None)

    def _note_lapse(self, now_ns: int, permit: Permit) -> None:
        """A lease that ends under a motion ends the motion, even if the motor process never sees the gap."""
        interrupted = permit.state in MOVING and permit.motion_id == self.motion_id
        if interrupted and self.phase is not Phase.IDLE and self.fault is None:
            late_ms = (now_ns - permit.lease_until_ns) * 1e-6
            self.fault = (FaultCode.LEASE_LOST, f"the lease ended {late_ms:.1f} ms ago")

    def _drop(self) -> None:
        self.phase = Phase.IDLE
        self._timeline = self._move = self._piece = None
        self.trace = None

    def _begin(self, now_ns: int, permit: Permit, q_held: Vector) -> None:
        self._drop()
        self.motion_id, self.fault = permit.motion_id, None
        self._t_start_ns = now_ns + self._settings.lead_ns
        start = State(q_held.copy(), np.zeros_like(q_held), np.zeros_like(q_held))
        end_ns = self._t_start_ns + self._settings.piece_ns
        self._piece = Piece(self._t_start_ns, end_ns, start.q, start.qd, start.q, start.qd)
        if permit.state == Mode.HOMING.code:
            self._goal = self._settings.park if permit.park else self._settings.home
            self._move = to_pose(start, self._goal, self._settings.homing)
            self.phase = Phase.HOMING
            return
        first, self._first = self._first, None
        if first is None or first.motion_id != permit.motion_id:
            self._end(FaultCode.PLAN_ENDED, f"motion {permit.motion_id} began without a first chunk")
            return
        self._timeline = Timeline.start(first.chunk, self._t_start_ns, self._settings.blend_s)
        self.trace, self.t_spliced_ns = first.trace, now_ns
        self.chunks += 1
        self.phase = Phase.RAMP
        self._ramping[:] = True

    def _end(self, code: FaultCode, text: str) -> None:
        self.fault = (code, text)
        self.phase = Phase.ENDED
        self._move = None

    def _start(self, now_ns: int) -> tuple[int, int, State] | None:
        """Begin, end and first state of the next piece; None when the last one has run out meanwhile."""
        assert self._piece is not None
        t0_ns = max(now_ns + self._settings.lead_ns, self._piece.t0_ns)
        if t0_ns > self._piece.t1_ns:
            late_ms = (t0_ns - self._piece.t1_ns) * 1e-6
            text = f"the control process was {late_ms:.0f} ms too late for its own piece"
            self._end(FaultCode.COMMAND_STALE, text)
            return None
        return t0_ns, t0_ns + self._settings.piece_ns, self._piece.at(t0_ns)

    def _home(self, now_ns: int, q_measured: Vector) -> Step | None:
        assert self._move is not None
        begin = self._start(now_ns)
        if begin is None:
            return Step(None, q_measured, False, stalled=False)
        t0_ns, t1_ns, start = begin
        end = self._move.at((t1_ns - self._t_start_ns) * 1e-9)
        self._piece = Piece(t0_ns, t1_ns, start.q, start.qd, end.q, end.qd)
        over_s = (now_ns - self._t_start_ns) * 1e-9 - self._move.duration_s
        if over_s > 0.0 and self.phase is Phase.HOMING:
            error = np.abs(q_measured - self._goal)
            if (error <= self._settings.home_tolerance).all():
                self.phase = Phase.DONE
            elif over_s > self._settings.home_settle_s and self.fault is None:
                worst = int(np.argmax(error / self._settings.home_tolerance))
                self.fault = (
                    FaultCode.HOMING_TIMEOUT,
                    f"{JOINT_NAMES[worst]} is {error[worst]:.4f} from home "
                    f"(bound {self._settings.home_tolerance[worst]:.4f}) {over_s:.1f} s after the move",
                )
        return Step(self._piece, end.q, False, stalled=False)

    def _follow(self, now_ns: int) -> Step:
        assert self._timeline is not None
        begin = self._start(now_ns)
        if begin is None:
            return Step(None, self._timeline.at(now_ns)[0], False, stalled=True)
        t0_ns, t1_ns, start = begin
        if t0_ns >= self._timeline.end_ns:
            steps = len(self._timeline.chunk.actions)
            self._end(FaultCode.PLAN_ENDED, f"all {steps} actions of chunk {self.chunk_id} are used up")
            return Step(None, start.q, False, stalled=True)
        q, qd = self._timeline.at(t1_ns)
        bounds = self._bounds(Piece(t0_ns, t1_ns, start.q, start.qd, q, qd))
        self._piece, limited = shape(start, t0_ns, t1_ns, q, qd, self._settings.limits, bounds)
        return Step(self._piece, q, limited, stalled=False)

    def _bounds(self, wanted: Piece) -> Bounds:
        """A joint keeps to the ramp's bounds until it could follow, and then never falls back to them."""
        follow, ramp = self._settings.follow, self._settings.ramp
        if self.phase is Phase.RAMP:
            self._ramping &= ~fits(wanted, follow)
            if not self._ramping.any():
                self.phase = Phase.FOLLOW
        if self.phase is Phase.FOLLOW:
            return follow
        return Bounds(
            np.where(self._ramping, ramp.velocity, follow.velocity),
            np.where(self._ramping, ramp.acceleration, follow.acceleration),
            np.where(self._ramping, ramp.jerk, follow.jerk),
        )
