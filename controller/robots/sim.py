"""The kit simulated: the default robot, a MuJoCo world stepped in real time inside the motor process.

Physics advances only inside `read`, by fixed 2 ms steps up to the instant given; a command counts from the step that it
came in, as if physics had gone on by itself. When the process was away for longer than CATCH_UP_NS, the surplus is
dropped and counted instead of being made up in a burst. Commands pass through the same clipping as in the arm's
firmware (position, velocity, effort) and through position servos that lag as the real ones.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from controller.robots.base import GRIPPERS, N_JOINTS, JointState, Robot, RobotError, Vector
from controller.sim import kit, task, world

STEP_NS = round(kit.TIMESTEP_S * 1e9)
CATCH_UP_NS = 100_000_000
"""Longest pause that physics makes up for: 50 steps, about 2 ms of work."""

PUBLISH_NS = 1_000_000_000 // 60
FEEDFORWARD_NS = 100_000_000
"""How long a command's feed-forward velocity lasts; the driver's interpolation ends its goal time the same way."""


CONTACT = int(mujoco.mjtConstraint.mjCNSTR_CONTACT_FRICTIONLESS)
"""The kinds of constraint from here on are contacts; friction, stops and couplings come before."""


@dataclass(frozen=True, slots=True)
class _Goal:
    """A command, clipped. lead: what the servos add to it for its velocity (rad, m)."""

    t_ns: int
    q: Vector
    lead: Vector


class SimRobot(Robot):
    """Both arms, lighter and cup. Not thread-safe: one process, one caller.

    world_writer: gets a WORLD record at most 60 times a second. world_reader: the records of an earlier run of
    this process; when one is there the world goes on from it, at rest. seed: of the first scene.
    velocity_feedforward: each servo gets q + (kv / kp) * qd, which cancels the lag its own damping makes; False
    models servos that see positions only and lag by kv / kp (50 to 100 ms).
    clock: CLOCK_MONOTONIC in ns, read by `connect` alone.
    """

    def __init__(
        self,
        *,
        world_writer: world.WorldWriter | None = None,
        world_reader: world.WorldReader | None = None,
        seed: int = 0,
        velocity_feedforward: bool = True,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._writer = world_writer
        self._reader = world_reader
        self._seed = seed
        self._clock = clock
        self._kit = kit.build()
        self._model = self._kit.model
        self._data = mujoco.MjData(self._model)
        self._mimic_dof = self._model.jnt_dofadr[[self._model.joint(name).id for name in kit.MIMICS]]
        self._lower, self._upper, velocity = kit.joint_limits()
        self._velocity_max = velocity
        self._stride = velocity * kit.TIMESTEP_S
        self._lead_s = np.tile([kv / kp for kp, kv in kit.GAINS], 2) * (1.0 if velocity_feedforward else 0.0)
        self._goal = _Goal(0, np.zeros(N_JOINTS), np.zeros(N_JOINTS))
        self._goals: deque[_Goal] = deque()
        self._setpoint = np.zeros(N_JOINTS)
        self._t_ns: int | None = None
        self._published_ns = -PUBLISH_NS
        self._record = world.blank()
        self.lost_s = 0.0
        """Time that passed outside and not in the world, because the process was away too long."""

    @property
    def environment_names(self) -> tuple[str, ...]:
        """What the numbers of `environment` are."""
        return task.ENVIRONMENT_NAMES

    @property
    def environment(self) -> Vector:
        """The objects' poses, (14,) float64, in `environment_names` order."""
        return np.array(self._data.qpos[self._kit.environment_qpos])

    @property
    def scene_count(self) -> int:
        """How many times the scene was laid out anew."""
        return int(self._record["scene_count"])

    def connect(self) -> JointState:
        previous = world.blank()
        if self._reader is not None and self._reader.newest(previous):
            self._resume(previous)
        else:
            self._start()
        self._hold()
        now_ns = self._clock()
        self._publish(now_ns)
        return self._state(now_ns)

    def read(self, now_ns: int) -> JointState:
        t_ns = self._advance(now_ns)
        if t_ns - self._published_ns >= PUBLISH_NS:
            self._publish(t_ns)
        return self._state(t_ns)

    def write(self, now_ns: int, q: Vector, qd: Vector) -> None:
        if q.shape != (N_JOINTS,) or qd.shape != (N_JOINTS,):
            raise RobotError(f"a command has {N_JOINTS} positions and velocities, got {q.shape} and {qd.shape}")
        if not (np.isfinite(q).all() and np.isfinite(qd).all()):
            raise RobotError(f"non-finite command refused: q {q.tolist()}, qd {qd.tolist()}")
        lead = np.clip(qd, -self._velocity_max, self._velocity_max) * self._lead_s
        self._goals.append(_Goal(now_ns, np.clip(q, self._lower, self._upper), lead))

    def disconnect(self) -> None:
        self._hold()

    def lay_out(self, seed: int, scene_count: int | None = None) -> None:
        """Place lighter and cup anew; the arms stay as they are.

        scene_count: the number of the order that asked for it; None counts on by one.
        """
        self._place(seed)
        self._record["scene_count"] = self.scene_count + 1 if scene_count is None else scene_count
        mujoco.mj_forward(self._model, self._data)
        self._publish(self._clock() if self._t_ns is None else self._t_ns)

    def _start(self) -> None:
        pose = np.tile(kit.START_POSE, 2)
        self._data.qpos[self._kit.joint_qpos] = pose
        self._data.qpos[self._kit.mimic_qpos] = pose[[6, 13]]
        self._place(self._seed)
        mujoco.mj_forward(self._model, self._data)

    def _resume(self, previous: NDArray[np.void]) -> None:
        try:
            self._data.qpos[:] = world.read_qpos(previous, self._model.nq)
        except ValueError as error:
            raise RobotError(f"cannot go on in the previous world: {error}; restart the controller") from error
        self._data.qvel[:] = 0.0
        self._record[...] = previous
        mujoco.mj_forward(self._model, self._data)

    def _place(self, seed: int) -> None:
        self._data.qpos[self._kit.environment_qpos] = task.layout(seed)
        self._data.qvel[self._model.nv - 12 :] = 0.0  # the two free joints come last
        self._record["scene_seed"] = seed

    def _hold(self) -> None:
        pose = self._data.qpos[self._kit.joint_qpos]
        self._goals.clear()
        self._goal = _Goal(0, pose.copy(), np.zeros(N_JOINTS))
        self._setpoint[:] = pose
        self._data.ctrl[:] = pose

    def _advance(self, now_ns: int) -> int:
        """Step the world to the last whole step before now_ns and return that instant."""
        if self._t_ns is None:
            self._t_ns = now_ns
        behind_ns = now_ns - self._t_ns - CATCH_UP_NS
        if behind_ns > 0:
            self._t_ns += behind_ns
            self.lost_s += behind_ns / 1e9
        while self._t_ns + STEP_NS <= now_ns:
            self._step(self._t_ns)
            self._t_ns += STEP_NS
        return self._t_ns

    def _step(self, t_ns: int) -> None:
        while self._goals and self._goals[0].t_ns < t_ns + STEP_NS:
            self._goal = self._goals.popleft()
        # The firmware clips velocities, so a jump of the goal becomes a ramp.
        self._setpoint += np.clip(self._goal.q - self._setpoint, -self._stride, self._stride)
        fresh = t_ns - self._goal.t_ns < FEEDFORWARD_NS
        self._data.ctrl[:] = self._setpoint + self._goal.lead if fresh else self._setpoint
        mujoco.mj_step(self._model, self._data)

    def _state(self, t_ns: int) -> JointState:
        data = self._data
        return JointState(
            t_ns=t_ns,
            q=np.array(data.qpos[self._kit.joint_qpos]),
            qd=np.array(data.qvel[self._kit.joint_dof]),
            effort=np.array(data.qfrc_actuator[self._kit.joint_dof]),
            external_effort=self._contact_effort(),
        )

    def _contact_effort(self) -> Vector:
        """What contacts exert on each joint (N m, N): their forces alone, carried to the joints.

        Friction in the joints, their stops and the fingers' coupling are constraints to the physics too, and are left
        out. A gripper's value is the sum of its two fingers', as its one motor would feel it.
        """
        model, data = self._model, self._data
        if not data.ncon:
            return np.zeros(N_JOINTS)
        forces = np.where(data.efc_type >= CONTACT, data.efc_force, 0.0)
        joints = np.zeros(model.nv)
        mujoco.mj_mulJacTVec(model, data, joints, forces)
        effort: Vector = joints[self._kit.joint_dof]
        effort[list(GRIPPERS)] += joints[self._mimic_dof]
        return effort

    def _publish(self, t_ns: int) -> None:
        self._published_ns = t_ns
        if self._writer is not None:
            world.fill(self._record, t_ns, self._data.qpos, self.environment)
            self._writer.write(self._record)
