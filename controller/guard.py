"""The collision guard: looks at the coming half second of motion before the arms get there.

A process of its own at ordinary priority, so that it can never delay the ticks of control and motor. It reads what
control follows and the piece that is being executed, works out where that leads (`lookahead`), measures it on the
kit's kinematic model (`sim.clearance`) and raises a fault on the first pair of bodies that would come too near. The
supervisor then withdraws the permission to move. It also judges the guard itself: see `guard_lag`.
"""

from __future__ import annotations

import logging

import numpy as np

from controller import layout
from controller.child import Child
from controller.faults import FaultCode
from controller.hermite import Piece
from controller.lookahead import MOVING, Lookahead, Plan, piece_from, plan_from
from controller.margins import FAR_M, Margins, Nearest
from controller.moves import MoveError
from controller.settings import gate, planner_settings
from controller.sim.clearance import Clearance
from controller.ticker import Clock, MonotonicClock

GAP_NS = 20_000_000
"""Looks begin at least so far apart, whatever wakes the guard."""

PERIOD_NS = 40_000_000
"""While nothing changes they begin so far apart."""

IDLE_NS = 100_000_000

log = logging.getLogger(__name__)


class Guard:
    """One look is `look`; `run` paces it."""

    def __init__(self, child: Child, clock: Clock) -> None:
        config = child.config
        self._child, self._clock = child, clock
        self._clearance = Clearance(config.guard)
        self._margins = Margins(self._clearance.pairs)
        self._lookahead = Lookahead(
            planner_settings(config), gate(config).brake, horizon_ns=round(1e9 * config.guard.horizon_s)
        )
        self._speed_ramp_s = config.control.speed_ramp_s
        self._plans, self._plan = child.open("plan").reader(), np.zeros((), layout.PLAN)
        self._pieces, self._piece_record = child.open("piece").reader(), np.zeros((), layout.PIECE)
        self._motion_id = 0

    def look(self) -> bool:
        """Look at the motion that goes on, if one does; True then. A violation is a fault of that motion."""
        child, started_ns = self._child, self._clock.now_ns()
        permit = child.permit()
        if not permit.moving(started_ns):
            return False
        self._plans.newest(self._plan)
        self._pieces.newest(self._piece_record)
        plan = plan_from(self._plan, self._speed_ramp_s)
        if permit.motion_id == plan.motion_id == int(self._piece_record["motion_id"]):
            piece = piece_from(self._piece_record)
            if piece is None or plan.phase not in MOVING or self._examined(started_ns, plan, piece):
                self._note(started_ns, plan.motion_id)
        return True

    def _examined(self, now_ns: int, plan: Plan, piece: Piece) -> bool:
        """False when the motion could not be looked at: no number is, or there is no way to follow it."""
        try:
            path = self._lookahead.path(now_ns, plan, piece)
            stopped = self._lookahead.stopped(now_ns, piece)
        except MoveError:
            return False
        if not np.isfinite(path).all():
            return False  # the motor process's gate refuses it
        if plan.motion_id != self._motion_id:
            self._motion_id = plan.motion_id
            self._margins.begin()
        nearest = self._margins.judge(self._clearance.along(path))
        stop_clear = not self._margins.tightest(self._clearance.along(stopped)).violated
        self._tell(nearest, stop_clear)
        status = self._child.status
        status["check_ms"] = (self._clock.now_ns() - now_ns) * 1e-6
        status["check_max_ms"] = max(float(status["check_max_ms"]), float(status["check_ms"]))
        if nearest.violated:
            text = nearest.told(self._ahead_s(nearest))
            if not stop_clear:
                text += "; braking alone does not keep them apart"
            self._child.trip(self._clock.now_ns(), FaultCode.COLLISION_AHEAD, text, plan.motion_id)
        return True

    def _ahead_s(self, nearest: Nearest) -> float:
        return nearest.pose * self._lookahead.settings.period_ns * 1e-9

    def _tell(self, nearest: Nearest, stop_clear: bool) -> None:
        status = self._child.status
        near = nearest.distance_m < FAR_M
        status["nearest"] = nearest.pair.name.encode() if near else b""
        status["nearest_m"], status["nearest_bound_m"] = nearest.distance_m, nearest.bound_m
        status["nearest_s"], status["stop_clear"] = self._ahead_s(nearest), stop_clear

    def _note(self, started_ns: int, motion_id: int) -> None:
        status = self._child.status
        status["checks"] += 1
        status["checked_motion_id"], status["t_checked_ns"] = motion_id, started_ns


def run(child: Child) -> None:
    """Entry of the process."""
    clock, wake = MonotonicClock(), child.board.plan_wake
    guard = Guard(child, clock)
    config = child.config.guard
    log.info("looks %g s ahead; arms keep %g m apart", config.horizon_s, config.arm_clearance_m)
    while not child.should_end:
        wake.clear()
        started_ns = clock.now_ns()
        moving = guard.look()
        child.beat(clock.now_ns())
        clock.sleep_until(started_ns + GAP_NS)
        clock.sleep_until(started_ns + (PERIOD_NS if moving else IDLE_NS), wake.fileno())
