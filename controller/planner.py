"""What the control process decides at each step: the next piece of motion, or that there is none. Pure.

One motion (a move to a pose or a run) has one number. The planner starts it from the position that the motor process
holds, at rest; when permission ends, the plan is dropped, and nothing of it is ever taken up again. A run first moves
to the first action of the newest chunk, by a jerk-limited move, while the policy's time stands still; then that time
begins to pass and the timeline of chunks is followed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

from controller.easing import Ease
from controller.faults import FaultCode
from controller.hermite import Piece, State
from controller.moves import Bounds, Move, to_pose
from controller.playback import Playback
from controller.robots.base import JOINT_NAMES, Vector
from controller.run_options import Seam
from controller.seam_statistics import SeamStatistics
from controller.shaper import Range, shape
from controller.states import MOVING
from controller.states import State as Mode
from controller.timeline import Chunk, Fading, Timeline

AIM_S = 0.1
"""So long before its end the move to the first action stays with its goal: it shall end at rest."""

AIM_LONGEST_S = 3.0
"""After so long, at full speed, it does in any case: a policy whose first action runs away is followed from where the
arms are."""

COMMANDED = 2e-3
"""A move is over once the command is as near to its goal as this part of the tolerance of the measured joints."""


class Phase(IntEnum):
    IDLE = 0
    HOMING = 1
    RAMP = 2  # on the way to the first action
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
    home_tolerance: Vector
    home_settle_s: float
    fading: Fading
    speed_ramp_s: float
    period_ns: int = 20_000_000
    lead_ns: int = 1_000_000
    """A piece begins so long after a step begins to make it: mostly the motor process has it by then. One that comes
    later is begun where the arms are; longer would make every new plan wait for it."""
    piece_ns: int = 80_000_000


@dataclass(frozen=True, slots=True)
class Permit:
    """The permission to move, as read at the start of the step, and how: a run's options, a move's goal and speed."""

    state: int
    motion_id: int
    lease_until_ns: int
    goal: Vector | None = None
    dry: bool = False
    seam: Seam = Seam.BLEND
    speed: float = 1.0

    def moving(self, now_ns: int) -> bool:
        """Whether motion may be planned."""
        return self.state in MOVING and now_ns < self.lease_until_ns

    def commands(self, now_ns: int) -> bool:
        """Whether motion may be commanded: a dry run is planned and never commanded."""
        return self.moving(now_ns) and not self.dry


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
        self.seam = Seam.BLEND
        self.statistics = SeamStatistics()
        self.playback = Playback.standing(0, settings.speed_ramp_s)
        self.timeline: Timeline | None = None
        self.goal = settings.home
        self.move_speed = 1.0
        """Of the move to `goal`; 1: within the bounds of homing, or of the ramp."""
        self.ease = Ease.none()
        self.changes = 0
        """Rises with every change of what is followed."""
        self._first: _Received | None = None
        self._move: Move | None = None
        self._t_move_ns = 0
        self._t_ramp_ns = 0
        self._piece: Piece | None = None
        self._tau_faded_ns = 0

    @property
    def chunk_id(self) -> int:
        return self.timeline.chunk.chunk_id if self.timeline else 0

    def plan_left_s(self, now_ns: int) -> float:
        """How long the timeline lasts at the present speed; 0 without one."""
        if self.timeline is None:
            return 0.0
        left_s = max(self.timeline.end_ns - self.playback.at(now_ns), 0) * 1e-9
        return left_s / (self.playback.end or 1.0)

    def receive(self, now_ns: int, motion_id: int, chunk: Chunk, trace: Any) -> None:
        """Take a new chunk: splice it into the motion it was made for, or keep it for the one to come.

        chunk: its t0_ns is the instant of its observation; here it gets its place on the policy's time.
        """
        if self.phase in (Phase.RAMP, Phase.FOLLOW) and motion_id == self.motion_id and self.timeline:
            placed = replace(chunk, t0_ns=self.playback.at(chunk.t0_ns))
            if self.phase is Phase.RAMP:
                spliced: Timeline | None = Timeline.start(placed, self._settings.fading)
            else:
                spliced = self._splice(now_ns, placed)
            if spliced is None:
                self.late_chunks += 1
                return
            self.timeline, self.trace, self.t_spliced_ns = spliced, trace, now_ns
            self.chunks += 1
            self.changes += 1
        elif motion_id > self.motion_id:
            self._first = _Received(motion_id, chunk, trace)

    def _splice(self, now_ns: int, chunk: Chunk) -> Timeline | None:
        assert self.timeline is not None
        t_ns = now_ns + self._settings.lead_ns
        tau_ns = self.playback.at(t_ns)
        spliced = self.timeline.splice(chunk, tau_ns, self.seam, self._commanded(t_ns))
        if spliced is not None:
            self.statistics.splice(self.seam, self.timeline.at(tau_ns)[0] - chunk.at(tau_ns)[0])
            self._note_fade(spliced, tau_ns)
        return spliced

    def _commanded(self, t_ns: int) -> tuple[Vector, Vector] | None:
        """Position, and velocity on the policy's time, where the last piece leads; None while the speed changes."""
        if self._piece is None or t_ns > self._piece.t1_ns or not self.playback.is_steady(t_ns):
            return None
        state = self._piece.at(t_ns)
        return state.q, state.qd / self.playback.end

    def _note_fade(self, spliced: Timeline, tau_ns: int) -> None:
        """Until when the motion made from the timeline is that of a seam, and how hard it may be."""
        fade, bridged_ns = spliced.fade, tau_ns + self._settings.piece_ns
        self._tau_faded_ns = max(fade.end_ns if fade is not None else 0, bridged_ns)
        self.ease = Ease.of(spliced)

    def step(self, now_ns: int, permit: Permit, q_held: Vector, q_measured: Vector) -> Step | None:
        """The step for now; None when there is nothing to say (no permission to move)."""
        if not permit.moving(now_ns):
            self._note_lapse(now_ns, permit)
            self._drop()
            return None
        self.seam = permit.seam
        if permit.motion_id != self.motion_id:
            self._begin(now_ns, permit, q_held)
        if self.phase is Phase.HOMING or (self.phase is Phase.DONE and self._move):
            return self._home(now_ns, q_measured)
        if self.phase is Phase.RAMP:
            return self._ramp(now_ns, permit)
        if self.phase is Phase.FOLLOW:
            return self._follow(now_ns, permit)
        return Step(None, q_held, False, stalled=self.timeline is not None)

    def _note_lapse(self, now_ns: int, permit: Permit) -> None:
        """A lease that ends under a motion ends the motion, even if the motor process never sees the gap."""
        interrupted = permit.state in MOVING and permit.motion_id == self.motion_id
        if interrupted and self.phase is not Phase.IDLE and self.fault is None:
            late_ms = (now_ns - permit.lease_until_ns) * 1e-6
            self.fault = (FaultCode.LEASE_LOST, f"the lease ended {late_ms:.1f} ms ago")

    def _drop(self) -> None:
        self.changes += self.phase is not Phase.IDLE
        self.phase = Phase.IDLE
        self.timeline = self._move = self._piece = None
        self.trace = None

    def _begin(self, now_ns: int, permit: Permit, q_held: Vector) -> None:
        self._drop()
        self.changes += 1
        self.motion_id, self.fault = permit.motion_id, None
        t_start_ns = now_ns + self._settings.lead_ns
        self._t_ramp_ns = t_start_ns
        rest = np.zeros_like(q_held)
        start = State(q_held.copy(), rest, rest)
        self._piece = Piece(t_start_ns, t_start_ns + self._settings.piece_ns, start.q, rest, start.q, rest)
        self.playback = Playback.standing(t_start_ns, self._settings.speed_ramp_s)
        if permit.state == Mode.HOMING.code:
            assert permit.goal is not None
            self._aim(t_start_ns, start, permit.goal, self._settings.homing, permit.speed)
            self.phase = Phase.HOMING
            return
        first, self._first = self._first, None
        if first is None or first.motion_id != permit.motion_id:
            self._end(FaultCode.PLAN_ENDED, f"motion {permit.motion_id} began without a first chunk")
            return
        self.timeline = Timeline.start(replace(first.chunk, t0_ns=0), self._settings.fading)
        self._aim(t_start_ns, start, first.chunk.actions[0], self._settings.ramp, permit.speed)
        self.trace, self.t_spliced_ns = first.trace, now_ns
        self.chunks += 1
        self.phase = Phase.RAMP

    def _aim(self, t_ns: int, start: State, goal: Vector, bounds: Bounds, speed: float) -> None:
        """Move there from `start`, where the arms are at t_ns."""
        self.goal, self.move_speed, self._t_move_ns = goal, speed, t_ns
        self._move = to_pose(start, goal, bounds.slowed(speed))

    def _end(self, code: FaultCode, text: str) -> None:
        self.fault = (code, text)
        self.phase = Phase.ENDED
        self.changes += 1
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
        begin = self._start(now_ns)
        if begin is None:
            return Step(None, q_measured, False, stalled=False)
        assert self._move is not None
        t0_ns, t1_ns, start = begin
        end = self._move.at((t1_ns - self._t_move_ns) * 1e-9)
        self._piece = Piece(t0_ns, t1_ns, start.q, start.qd, end.q, end.qd)
        over_s = (now_ns - self._t_move_ns) * 1e-9 - self._move.duration_s
        if over_s > 0.0 and self.phase is Phase.HOMING:
            error, left = np.abs(q_measured - self.goal), np.abs(start.q - self.goal)
            tolerance = self._settings.home_tolerance
            # the last pieces end after the move does, and come to its goal by and by
            if (error <= tolerance).all() and (left <= COMMANDED * tolerance).all():
                self.phase = Phase.DONE
                self.changes += 1
            elif over_s > self._settings.home_settle_s and self.fault is None:
                worst = int(np.argmax(error / tolerance))
                self.fault = (
                    FaultCode.HOMING_TIMEOUT,
                    f"{JOINT_NAMES[worst]} is {error[worst]:.4f} from its goal "
                    f"(bound {tolerance[worst]:.4f}) {over_s:.1f} s after the move",
                )
        return Step(self._piece, end.q, False, stalled=False)

    def _ramp(self, now_ns: int, permit: Permit) -> Step:
        """Towards the first action of the newest chunk; once there, the policy's time begins to pass."""
        begin = self._start(now_ns)
        if begin is None:
            return Step(None, self.goal, False, stalled=True)
        assert self.timeline is not None
        assert self._move is not None
        t0_ns, t1_ns, start = begin
        left_s = self._move.duration_s - (t0_ns - self._t_move_ns) * 1e-9
        if left_s <= 0.0:
            self._set_off(t0_ns, permit)
            return self._follow(now_ns, permit)
        first = self.timeline.chunk.actions[0]
        aims = t0_ns - self._t_ramp_ns < AIM_LONGEST_S / permit.speed * 1e9
        if left_s > AIM_S and aims and (first != self.goal).any():
            self._aim(t0_ns, start, first, self._settings.ramp, permit.speed)
            self.changes += 1
        end = self._move.at((t1_ns - self._t_move_ns) * 1e-9)
        self._piece = Piece(t0_ns, t1_ns, start.q, start.qd, end.q, end.qd)
        return Step(self._piece, end.q, False, stalled=False)

    def _set_off(self, t_ns: int, permit: Permit) -> None:
        """From rest at the goal, which the newest chunk's first action may differ from by a little, into that chunk."""
        assert self.timeline is not None
        self.playback = Playback.standing(t_ns, self._settings.speed_ramp_s).towards(permit.speed, t_ns)
        newest = self.timeline.chunk
        shifted = replace(newest, actions=newest.actions + (self.goal - newest.actions[0]))
        self.timeline = self.timeline.faded_from(Timeline.start(shifted, self._settings.fading), 0)
        self._note_fade(self.timeline, 0)
        self.phase = Phase.FOLLOW
        self.changes += 1

    def _follow(self, now_ns: int, permit: Permit) -> Step:
        assert self.timeline is not None
        begin = self._start(now_ns)
        if begin is None:
            return Step(None, self.timeline.at(self.playback.at(now_ns))[0], False, stalled=True)
        t0_ns, t1_ns, start = begin
        if permit.speed != self.playback.end:
            self.playback = self.playback.towards(permit.speed, t0_ns)
            self.changes += 1
        if self.playback.at(t0_ns) >= self.timeline.end_ns:
            steps = len(self.timeline.chunk.actions)
            self._end(FaultCode.PLAN_ENDED, f"all {steps} actions of chunk {self.chunk_id} are used up")
            return Step(None, start.q, False, stalled=True)
        q, qd_tau = self.timeline.at(self.playback.at(t1_ns))
        qd = qd_tau * self.playback.speed(t1_ns)
        wanted = self.ease.applied(Piece(t0_ns, t1_ns, start.q, start.qd, q, qd), self.playback)
        settings = self._settings
        self._piece, limited = shape(start, t0_ns, t1_ns, wanted.q1, wanted.qd1, settings.limits, settings.follow)
        self._account(self._piece)
        return Step(self._piece, q, limited, stalled=False)

    def _account(self, piece: Piece) -> None:
        """Of the part of the piece that is executed before the next one takes over."""
        t_ns = piece.t0_ns + self._settings.period_ns
        acceleration = np.maximum(np.abs(piece.at(piece.t0_ns).qdd), np.abs(piece.at(t_ns).qdd))
        self.statistics.accelerate(self.seam, acceleration, fading=self.playback.at(t_ns) < self._tau_faded_ns)
