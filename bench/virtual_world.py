"""The simulated kit on a clock of its own: as fast as the machine allows, the same every time.

Physics, driver ticks and frames are those of the real-time simulation; only nobody waits for the wall's clock. What is
commanded is noted at the motor rate, and judged by `Account`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from controller.robots.base import GRIPPERS, N_JOINTS, JointState
from controller.robots.sim import SimRobot

MOTOR_NS = 5_000_000
FRAME_NS = 33_333_333
EXPOSED_BEFORE_NS = 10_000_000
"""A frame lies in memory so long after its exposure."""

ARMS = np.array([joint for joint in range(N_JOINTS) if joint not in GRIPPERS])
SEAM_NS = 100_000_000
"""The part of the motion that counts as a seam: so long after a new chunk is used for the first time."""

Vector = NDArray[np.float64]


@dataclass
class Account:
    """What was commanded and measured at every motor tick, when new chunks were first used, and what they asked for."""

    t_ns: list[int] = field(default_factory=list)
    command: list[Vector] = field(default_factory=list)
    measured: list[Vector] = field(default_factory=list)
    seams_ns: list[int] = field(default_factory=list)
    chunk_acceleration: float = 0.0
    """Largest second difference within any chunk, rad/s2: what the policy itself asks for."""

    def take(self, t_ns: int, actions: Vector, rate_hz: float) -> None:
        """A new chunk is used from t_ns on."""
        self.seams_ns.append(t_ns)
        asked = np.abs(np.diff(actions[:, ARMS], 2, axis=0)).max(initial=0.0) * rate_hz**2
        self.chunk_acceleration = max(self.chunk_acceleration, float(asked))

    def figures(self) -> dict[str, float]:
        """Of the arm joints: accelerations (rad/s2) at seams and elsewhere, velocity steps, jerk, tracking."""
        q, t = np.array(self.command)[:, ARMS], np.array(self.t_ns)
        dt_s = np.diff(t)[:, None] * 1e-9  # real ticks are not quite evenly apart
        qd = np.diff(q, axis=0) / dt_s
        qdd = 2.0 * np.diff(qd, axis=0) / (dt_s[1:] + dt_s[:-1])
        jerk = np.diff(qdd, axis=0) / dt_s[1:-1]
        at_seam = np.zeros(len(qdd), bool)
        for seam_ns in self.seams_ns:
            at_seam |= (t[1:-1] >= seam_ns - MOTOR_NS) & (t[1:-1] <= seam_ns + SEAM_NS)
        largest = np.abs(qdd).max(axis=1, initial=0.0)
        steps = np.abs(np.diff(qd, axis=0)).max(axis=1, initial=0.0)
        return {
            "seams": float(len(self.seams_ns)),
            "seam_acceleration": float(largest[at_seam].max(initial=0.0)),
            "elsewhere_acceleration": float(largest[~at_seam].max(initial=0.0)),
            "chunk_acceleration": self.chunk_acceleration,
            "seam_velocity_step": float(steps[at_seam].max(initial=0.0)),
            "jerk_integral": float((np.abs(jerk).mean(axis=1) * dt_s[1:-1, 0]).sum()),
            "tracking_rms": float(np.sqrt(np.mean((np.array(self.measured)[:, ARMS] - q) ** 2))),
        }


class World:
    """One simulated kit. `tick`, when set, gives position and velocity to command at each motor tick."""

    def __init__(self, seed: int, home: Vector) -> None:
        self.t_ns = 1_000_000_000
        self.robot = SimRobot(seed=seed, clock=lambda: self.t_ns)
        self.robot.connect()
        self.account = Account()
        self.tick: Callable[[JointState], tuple[Vector, Vector]] | None = None
        self.state = self.robot.read(self.t_ns)
        self._history: list[tuple[int, Vector]] = []
        self._next_ns = self.t_ns + MOTOR_NS
        self._drive_to(home)

    @property
    def now_s(self) -> float:
        return self.t_ns * 1e-9

    def advance_to(self, t_ns: int) -> None:
        """Let the world go on, motor tick by motor tick."""
        while self._next_ns <= t_ns:
            self.t_ns = self._next_ns
            self._next_ns += MOTOR_NS
            self._motor()
        self.t_ns = max(self.t_ns, t_ns)

    def _motor(self) -> None:
        self.state = state = self.robot.read(self.t_ns)
        self._history = [*self._history[-40:], (state.t_ns, state.q)]
        if self.tick is not None:
            q, qd = self.tick(state)
            self.robot.write(self.t_ns, q, qd)
            self.account.t_ns.append(self.t_ns)
            self.account.command.append(q.copy())
            self.account.measured.append(state.q)

    def frame(self) -> tuple[int, Vector]:
        """The newest frame in memory: its exposure, and the joints at that instant."""
        exposed_ns = (self.t_ns - EXPOSED_BEFORE_NS) // FRAME_NS * FRAME_NS
        return min(self._history, key=lambda row: abs(row[0] - exposed_ns))

    def next_frame_ns(self) -> int:
        """When the next frame will lie in memory."""
        return ((self.t_ns - EXPOSED_BEFORE_NS) // FRAME_NS + 1) * FRAME_NS + EXPOSED_BEFORE_NS

    def _drive_to(self, home: Vector, duration_s: float = 2.0) -> None:
        start, begun_ns = self.state.q, self.t_ns

        def home_move(_state: JointState) -> tuple[Vector, Vector]:
            x = min((self.t_ns - begun_ns) * 1e-9 / duration_s, 1.0)
            return start + x * x * (3.0 - 2.0 * x) * (home - start), np.zeros(N_JOINTS)

        self.tick = home_move
        self.advance_to(self.t_ns + round((duration_s + 1.0) * 1e9))
        self.tick = None
        self.account = Account()
