"""The motion rig with a collision guard that reacts as late as the real one does, all in virtual time."""

from dataclasses import dataclass, field
from functools import cache

import mujoco
import numpy as np

from controller import layout
from controller.config import Guard
from controller.lookahead import Lookahead, plan_from
from controller.margins import Margins
from controller.plan_record import fill
from controller.planner import Phase
from controller.robots.base import GRIPPERS
from controller.sim import kit
from controller.sim.clearance import Clearance
from controller.states import State
from tests.motion_rig import GATE, MS, SETTINGS, SIM, Rig

GAP_MS, PERIOD_MS = 20, 40
REACTION_MS = 15
"""From the begin of a look to the permit without permission: the check itself, two wake-ups, the supervisor."""

LOOKAHEAD = Lookahead(SETTINGS, GATE.brake, round(1e9 * SIM.guard.horizon_s))


@cache
def clearance(guard: Guard = SIM.guard) -> Clearance:
    return Clearance(guard)


def plan_of(planner, now_ns):
    """The planner's plan by way of its PLAN record."""
    record = np.zeros((), layout.PLAN)
    fill(record, now_ns, planner)
    return plan_from(record, SETTINGS.speed_ramp_s)


@dataclass
class GuardedRig(Rig):
    """`alarms`: (instant, pose's distance in time ahead, Nearest) of every violation seen; the first one ends motion.

    reacts: False watches only; looking: False not even that.
    """

    reacts: bool = True
    looking: bool = True
    alarms: list = field(default_factory=list)
    nearest: list = field(default_factory=list)
    _guarded_motion: int = 0
    _looked_ns: int = 0
    _seen: int = -1
    _withdraw_ns: int = 0

    def __post_init__(self):
        self.clearance = clearance()
        self.margins = Margins(self.clearance.pairs)
        super().__post_init__()

    def advance(self, ms):
        for _ in range(ms):
            if self._withdraw_ns and self.t_ns >= self._withdraw_ns:
                self.state, self._withdraw_ns = State.FAULT, 0
            super().advance(1)
            self.guard()

    def guard(self):
        planner, piece = self.planner, self.planner._piece  # noqa: SLF001
        moving = self.permit().moving(self.t_ns) and planner.phase in (Phase.HOMING, Phase.RAMP, Phase.FOLLOW)
        if not moving or piece is None or self._withdraw_ns or not self.looking:
            return
        seen = planner.changes
        since_ns = self.t_ns - self._looked_ns
        if since_ns < GAP_MS * MS or (since_ns < PERIOD_MS * MS and seen == self._seen):
            return
        if planner.motion_id != self._guarded_motion:
            self._guarded_motion = planner.motion_id
            self.margins.begin()
        self._looked_ns, self._seen = self.t_ns, seen
        path = LOOKAHEAD.path(self.t_ns, plan_of(planner, self.t_ns), piece)
        nearest = self.margins.judge(self.clearance.along(path))
        self.nearest.append((self.t_ns, nearest))
        if nearest.violated:
            self.alarms.append((self.t_ns, nearest.pose * SETTINGS.period_ns * 1e-9, nearest))
            if self.reacts:
                self._withdraw_ns = self.t_ns + REACTION_MS * MS


class Touching:
    """MuJoCo's own contacts between arms, table and each other, at commanded positions."""

    def __init__(self):
        self._kit = kit.build()
        self._data = mujoco.MjData(self._kit.model)
        self._data.qpos[self._kit.environment_qpos] = [9, 9, 0, 1, 0, 0, 0, 8, 8, 0, 1, 0, 0, 0]  # out of the way
        model = self._kit.model
        self._arm = [model.body(model.geom_bodyid[geom]).name.startswith(kit.SIDES) for geom in range(model.ngeom)]

    def forbidden(self, q):
        """How deep the deepest touch is that the configuration does not allow, in m, and of what; 0 without any."""
        model, data = self._kit.model, self._data
        data.qpos[self._kit.joint_qpos] = q
        data.qpos[self._kit.mimic_qpos] = q[list(GRIPPERS)]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        depth, names = 0.0, ""
        for contact in data.contact:
            touching = sorted(model.body(model.geom_bodyid[geom]).name for geom in contact.geom)
            fingers_on_table = "world" in touching and any("carriage" in name for name in touching)
            allowed = max(-SIM.guard.finger_table_clearance_m, 0.0) if fingers_on_table else 0.0
            if any(self._arm[geom] for geom in contact.geom) and -contact.dist - allowed > depth:
                depth, names = -contact.dist - allowed, " and ".join(touching)
        return depth, names

    def deepest_of(self, path):
        return max((self.forbidden(q) for q in path), default=(0.0, ""))
