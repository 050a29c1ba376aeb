"""Planner at 50 Hz and follower at 200 Hz wired together on a fake clock, with a plant that follows the commands."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from controller import config
from controller.follower import Command, Follower, Mode
from controller.planner import Permit, Planner
from controller.robots.base import N_JOINTS
from controller.run_options import Seam
from controller.settings import gate, planner_settings
from controller.states import State
from controller.timeline import Chunk

MS = 1_000_000
SIM = config.load(config.shipped("sim"))
SETTINGS = planner_settings(SIM)
GATE = gate(SIM)
HOME = SETTINGS.home
CONTROL_MS, MOTOR_MS, LEASE_MS = 20, 5, 80


def chunk(actions, t0_ns=0, rate_hz=50.0, chunk_id=1):
    return Chunk(chunk_id, t0_ns, rate_hz, np.asarray(actions, dtype=np.float64))


def still(q, n=50):
    """n actions at one pose."""
    return np.tile(np.asarray(q, dtype=np.float64), (n, 1))


class Row(NamedTuple):
    """What the motor process handed to the driver at one tick, and whether it was permitted to move."""

    t_ns: int
    mode: Mode
    q: np.ndarray
    qd: np.ndarray
    moving: bool
    motion_id: int
    dry: bool


@dataclass
class Rig:
    """`log` has one Row per motor tick, `steps` what control decided and when.

    A stalled loop does not run before its stall is over; control's pieces can be seen delivery_ms after they were
    made; the lease is renewed while `renewing`.
    """

    q_start: np.ndarray = field(default_factory=HOME.copy)
    lag_s: float = 0.0
    control_phase_ms: int = 1
    t_ns: int = 1_000 * MS
    state: State = State.IDLE
    motion_id: int = 0
    lease_until_ns: int = 0
    goal: np.ndarray = field(default_factory=HOME.copy)
    dry: bool = False
    seam: Seam = Seam.BLEND
    speed: float = 1.0

    def __post_init__(self):
        self.planner = Planner(SETTINGS)
        self.follower = Follower(GATE, self.q_start)
        self.q_measured = self.q_start.copy()
        self.command = None
        self.numbers = 0
        self.sent = []
        self.steps = []
        self.log = []
        self.renewing = True
        self.delivery_ms = 0
        self.control_stalled_ns = self.motor_stalled_ns = 0
        self.advance(CONTROL_MS)  # both loops tick before anything is asked of them

    # ---- what a supervisor, an operator and a policy do --------------------------------------------------

    def begin(self, state):
        self.motion_id += 1
        self.state = state

    def run(self, actions, rate_hz=50.0):
        """A run whose first chunk is there."""
        self.planner.receive(self.t_ns, self.motion_id + 1, chunk(actions, self.t_ns, rate_hz), "first")
        self.begin(State.RUNNING)

    def receive(self, actions, age_ms=0, rate_hz=50.0, motion_id=None, chunk_id=2):
        """A chunk made from an observation age_ms ago wakes control, as the chunk's wake-up does."""
        given = chunk(actions, self.t_ns - age_ms * MS, rate_hz, chunk_id)
        self.planner.receive(self.t_ns, self.motion_id if motion_id is None else motion_id, given, "next")
        if self.t_ns >= self.control_stalled_ns:
            self.control()

    def permit(self):
        return Permit(
            self.state.code, self.motion_id, self.lease_until_ns, self.goal, self.dry, self.seam, self.speed
        )

    # ---- the two loops -----------------------------------------------------------------------------------

    def advance(self, ms):
        for _ in range(ms):
            self.t_ns += MS
            ms_now = self.t_ns // MS
            if self.renewing:
                self.lease_until_ns = self.t_ns + LEASE_MS * MS
            if ms_now % CONTROL_MS == self.control_phase_ms and self.t_ns >= self.control_stalled_ns:
                self.control()
            if ms_now % MOTOR_MS == 0 and self.t_ns >= self.motor_stalled_ns:
                self.motor()

    def control(self):
        step = self.planner.step(self.t_ns, self.permit(), self.follower.q.copy(), self.q_measured.copy())
        self.steps.append((self.t_ns, step))
        if step is not None:
            self.numbers += 1
            command = Command(self.numbers, self.planner.motion_id, step.piece)
            self.sent.append((self.t_ns + self.delivery_ms * MS, command))

    def motor(self):
        while self.sent and self.sent[0][0] <= self.t_ns:
            self.command = self.sent.pop(0)[1]
        self.follower.step(self.t_ns, self.permit(), self.command, self.q_measured.copy())
        share = 1.0 if self.lag_s == 0.0 else MOTOR_MS * 1e-3 / self.lag_s
        self.q_measured += min(share, 1.0) * (self.follower.q - self.q_measured)
        follower, moving = self.follower, self.permit().moving(self.t_ns)
        self.log.append(
            Row(self.t_ns, follower.mode, follower.q.copy(), follower.qd.copy(), moving, follower.motion_id, self.dry)
        )

    # ---- what the tests look at --------------------------------------------------------------------------

    @property
    def t_s(self):
        return np.array([row.t_ns for row in self.log]) * 1e-9

    @property
    def q(self):
        return np.array([row.q for row in self.log])

    @property
    def qd(self):
        return np.array([row.qd for row in self.log])

    @property
    def modes(self):
        return [row.mode for row in self.log]

    @property
    def targets(self):
        return [step.target for _, step in self.steps if step is not None]

    def accelerations(self):
        """Second differences of the commanded positions, (ticks - 2, joints); needs ticks without stalls."""
        return np.diff(self.q, 2, axis=0) / (MOTOR_MS * 1e-3) ** 2


def joints(value, arm_index=0):
    """A vector of zeros but for one joint of the left arm."""
    vector = np.zeros(N_JOINTS)
    vector[arm_index] = value
    return vector
