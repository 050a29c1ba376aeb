"""Where the arms will be commanded in the coming half second, if nothing intervenes. Pure; used by the guard.

It does what control does, with the same parts: the plan is sampled a piece ahead, each piece is shaped to the limits
and replaced by the next one after a control tick. So a motion that the limiter slows is foreseen slowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.easing import Ease
from controller.hermite import Piece, State
from controller.moves import Bounds, Move, MoveError, stop, to_pose
from controller.plan_record import playback_of
from controller.planner import Phase, Settings
from controller.playback import Playback
from controller.robots.base import N_JOINTS, Vector
from controller.shaper import shape

MOVING = (Phase.HOMING, Phase.RAMP, Phase.FOLLOW)


@dataclass(frozen=True, slots=True)
class Plan:
    """What control follows, as its PLAN record tells it. Rows lie on the policy's time."""

    motion_id: int
    phase: Phase
    goal: Vector
    move_speed: float
    playback: Playback
    tau0_ns: int
    dtau_ns: int
    q: NDArray[np.float64]
    qd: NDArray[np.float64]
    ease: Ease = field(default_factory=Ease.none)

    @property
    def end_ns(self) -> int:
        """The policy's time at the last row."""
        return self.tau0_ns + (len(self.q) - 1) * self.dtau_ns

    def at(self, t_ns: int) -> tuple[Vector, Vector]:
        """Position and velocity, in real time, that the plan asks for at t_ns; at rest outside its rows."""
        tau_ns = self.playback.at(t_ns)
        x = (tau_ns - self.tau0_ns) / self.dtau_ns
        last = len(self.q) - 1
        if x <= 0.0 or x >= last:
            return self.q[0 if x <= 0.0 else last], np.zeros_like(self.q[0])
        k = int(x)
        piece = Piece(0, self.dtau_ns, self.q[k], self.qd[k], self.q[k + 1], self.qd[k + 1])
        state = piece.at(round((x - k) * self.dtau_ns))
        return state.q, state.qd * self.playback.speed(t_ns)


def plan_from(record: np.ndarray[Any, Any], speed_ramp_s: float) -> Plan:
    """A PLAN record as the look ahead takes it; its vectors are copies."""
    n_rows = int(record["n_rows"])
    return Plan(
        motion_id=int(record["motion_id"]),
        phase=Phase(int(record["phase"])),
        goal=record["goal"].copy(),
        move_speed=float(record["move_speed"]),
        playback=playback_of(record, speed_ramp_s),
        tau0_ns=int(record["tau_row0_ns"]),
        dtau_ns=int(record["dtau_ns"]),
        q=record["q"][:n_rows].copy(),
        qd=record["qd"][:n_rows].copy(),
        ease=Ease(record["ease"].copy(), int(record["ease_until_ns"])),
    )


def piece_from(record: np.ndarray[Any, Any]) -> Piece | None:
    """The piece of a PIECE record, its vectors copies; None when the order is to brake."""
    if record["brake"]:
        return None
    ends = (record[name].copy() for name in ("q0", "qd0", "q1", "qd1"))
    return Piece(int(record["t0_ns"]), int(record["t1_ns"]), *ends)


@dataclass(frozen=True, slots=True)
class Lookahead:
    """brake: the motor process's bounds for stopping."""

    settings: Settings
    brake: Bounds
    horizon_ns: int

    def path(self, now_ns: int, plan: Plan, piece: Piece) -> NDArray[np.float64]:
        """Commanded positions (poses, joints) at now_ns and every control tick after it, up to the horizon.

        piece: the one that is being executed. Raises MoveError.
        """
        times = range(now_ns, now_ns + self.horizon_ns + 1, self.settings.period_ns)
        begun = _within(piece, now_ns)
        if plan.phase in (Phase.HOMING, Phase.RAMP):
            bounds = self.settings.homing if plan.phase is Phase.HOMING else self.settings.ramp
            return _sampled(_reachable(begun, plan.goal, bounds.slowed(plan.move_speed), self.brake), times)
        if plan.phase is Phase.FOLLOW and len(plan.q) > 1:
            return self._followed(times, plan, piece)
        return _sampled(stop(begun, self.brake), times)

    def stopped(self, now_ns: int, piece: Piece) -> NDArray[np.float64]:
        """Where the arms would come to rest if they were braked now, (1, joints)."""
        move = stop(_within(piece, now_ns), self.brake)
        return move.at(move.duration_s).q[np.newaxis]

    def _followed(self, times: range, plan: Plan, piece: Piece) -> NDArray[np.float64]:
        settings, path = self.settings, np.empty((len(times), N_JOINTS))
        for row, t_ns in enumerate(times):
            state = _within(piece, t_ns)
            if plan.playback.at(t_ns - settings.period_ns) >= plan.end_ns:
                path[row:] = _sampled(stop(state, self.brake), times[row:])
                break
            path[row] = state.q
            if plan.playback.at(t_ns) >= plan.end_ns:
                continue  # control sees the end at its next tick; until then the last piece is followed
            t1_ns = t_ns + settings.piece_ns
            wanted = plan.ease.applied(Piece(t_ns, t1_ns, state.q, state.qd, *plan.at(t1_ns)), plan.playback)
            piece, _ = shape(state, t_ns, t1_ns, wanted.q1, wanted.qd1, settings.limits, settings.follow)
        return path


def _within(piece: Piece, t_ns: int) -> State:
    """The piece's state at t_ns; before its begin the begin, after its end the end."""
    return piece.at(min(max(t_ns, piece.t0_ns), piece.t1_ns))


def _reachable(start: State, goal: Vector, bounds: Bounds, brake: Bounds) -> Move:
    """The move to the goal; where there is none from here, the motion that is left is to brake."""
    try:
        return to_pose(start, goal, bounds)
    except MoveError:
        return stop(start, brake)


def _sampled(move: Move, times: range) -> NDArray[np.float64]:
    return np.array([move.at((t_ns - times[0]) * 1e-9).q for t_ns in times])
