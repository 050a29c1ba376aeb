"""A policy that needs no model: it puts the lighter into the cup from the poses in `environment_state`.

Runs in the policy server. One arm takes the lighter and drops it into the cup, which the other arm holds. Each phase
is a path that begins and ends at rest; a phase ends on what is seen, never on time alone, and a failure of any kind
leads through RETREAT to a new attempt.

A session keeps its own place on the path, by the policy's time that observations tell (`playback_s`) or else by its own
clock and their age, so that all its chunks are pieces of one motion however late they arrive and however slowly they
are played. A new path begins a little after the observation that allowed it: by then its chunk has arrived.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server import tabletop
from policy_server.continuation import continued, read_plain_rest
from policy_server.kinematics import Pose, UnreachableError
from policy_server.paths import Path
from policy_server.policy import Observation, ObservationError, Policy, Session
from policy_server.protocol import ENVIRONMENT_STATE, OBSERVATION_AGE, PLAYBACK, RTC, ServerInfo
from policy_server.tabletop import OPEN_M, READY_M, SQUEEZE_CUP_M, STAGED, Scene

Vector = NDArray[np.float64]

CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
ACTION_RATE_HZ = 50.0
HORIZON = 50
N_JOINTS = 14

LEAD_S = (0.1, 0.6)
"""Bounds of the time between an observation and the beginning of a path that it allowed."""

ROUND_TRIPS = 20
"""The longest of so many recent delays tells how late after its observation an answer may arrive."""

LAG_S = 0.03
"""How far the arms trail the path; it only has to be right within what STRAY_RAD allows."""

STRAY_RAD = 0.12
"""Joints further than this from the path: the robot is elsewhere on it, or not on it at all."""

ARRIVED_RAD = 0.05
GAP_S = 1.5
"""After a longer silence the robot may have been moved by others; the session starts over from where it is. A client
that executes whole chunks before it asks again is silent for one chunk and a round trip."""

PATIENCE_S = 2.0
"""How long a phase's end may be awaited after its path has ended."""

LONGEST_RUN_S = 1e7
"""A run said to have lasted longer is a client's mistake."""

OLDEST_S = 60.0
"""An observation said to be older than this is a client's mistake."""

FURTHEST_RAD = 2 * math.pi
"""A joint further than this from 0 is a client's mistake; a path from there would be endless."""

HELD_M = 0.004
"""A gripper that stays open wider than this has something between its fingers."""

_ARMS = np.array([joint for joint in range(N_JOINTS) if joint % 7 != 6])


class Phase(Enum):
    """What the arms are at."""

    REACH = auto()
    GRASP = auto()
    LIFT = auto()
    CARRY = auto()
    RELEASE = auto()
    RETREAT = auto()
    REST = auto()


class ScriptedPolicy(Policy):
    """The scripted policy. seed: of the small variations between attempts; None takes a fresh one."""

    def __init__(self, seed: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.info = ServerInfo(
            policy="scripted",
            cameras=CAMERAS,
            image_size=(224, 224),
            action_rate_hz=ACTION_RATE_HZ,
            action_horizon=HORIZON,
            action_dim=N_JOINTS,
            extensions=frozenset({ENVIRONMENT_STATE, OBSERVATION_AGE, PLAYBACK, RTC}),
        )
        self._seed = seed
        self._clock = clock

    def new_session(self) -> ScriptedSession:
        return ScriptedSession(np.random.default_rng(self._seed), self._clock)


class ScriptedSession(Session):
    """One attempt after the other until the lighter is in the cup."""

    def __init__(self, random: np.random.Generator, clock: Callable[[], float]) -> None:
        self._random = random
        self._clock = clock
        self._seen_s = -math.inf
        self._played_s: float | None = None
        self._delays_s: deque[float] = deque(maxlen=ROUND_TRIPS)
        self._t_s = 0.0
        self._path = Path([np.zeros(7)], [np.zeros(7)])
        self._picker = "left"
        self._aim = np.zeros(3)
        self._grip_m = 0.0
        self._attempt = 0
        self.phase = Phase.REST

    def infer(self, observation: Observation) -> dict[str, Any]:
        scene, rest = read_scene(observation), read_plain_rest(observation, HORIZON, N_JOINTS)
        age_s = read_age_s(observation)
        passed_s = self._passed_s(observation, age_s)
        goes_on = passed_s <= GAP_S
        if goes_on:
            self._delays_s.append(passed_s + age_s)  # a client asks again once it has its answer
        if goes_on and self._find_place(self._t_s + passed_s, scene.q):
            self._advance(scene)
        else:
            self._start_over(scene)
        self._grip_m = scene.arm(self._picker)[6]
        actions = self._path.at(self._t_s + np.arange(HORIZON) / ACTION_RATE_HZ)
        return {"actions": actions if rest is None else continued(actions, *rest)}

    def _passed_s(self, observation: Observation, age_s: float) -> float:
        """The policy's time since the last observation of the run; infinite if there was none."""
        last_s, self._played_s = self._played_s, read_playback_s(observation)
        seen_s = self._clock() - age_s
        silent_s, self._seen_s = seen_s - self._seen_s, seen_s
        if self._played_s is None or last_s is None:
            return silent_s
        return self._played_s - last_s if self._played_s >= last_s else math.inf

    def _find_place(self, t_s: float, q: Vector) -> bool:
        """Set the place on the path: by the clock, or, when the joints say otherwise, by the joints."""
        self._t_s = t_s
        if self._stray(np.array([t_s]), q)[0] <= STRAY_RAD:
            return True
        nearby = t_s + np.arange(-0.8, 0.4, 0.02)
        stray = self._stray(nearby, q)
        best = int(np.argmin(stray))
        self._t_s = float(nearby[best])
        return bool(stray[best] <= STRAY_RAD)

    def _stray(self, t_s: Vector, q: Vector) -> Vector:
        apart: Vector = np.abs(self._path.at(t_s - LAG_S)[:, _ARMS] - q[_ARMS]).max(axis=1)
        return apart

    def _start_over(self, scene: Scene) -> None:
        """Begin from the measured joints, knowing nothing of what was before."""
        self._path = Path([scene.arm("left")], [scene.arm("right")])
        staged = np.abs(scene.q[_ARMS] - np.tile(STAGED, 2)).max() < 0.2
        self._begin(self._next_attempt(scene) if staged else Phase.RETREAT, scene)

    def _advance(self, scene: Scene) -> None:
        """Begin the next phase once this one's path is at its end and what it was for is seen."""
        over_s = self._t_s - self._path.duration_s
        if over_s < 0.0:
            return
        following = self._after(scene, over_s)
        if following is not None:
            self._begin(following, scene)

    def _after(self, scene: Scene, over_s: float) -> Phase | None:
        """The phase that what is seen calls for; None: wait."""
        late = over_s > PATIENCE_S
        if self.phase is Phase.REST:
            return None if scene.in_cup() or not late else Phase.REACH
        if self.phase is Phase.RELEASE:
            return Phase.RETREAT if scene.in_cup() or late else None
        if self.phase is Phase.GRASP:
            grip_m = scene.arm(self._picker)[6]
            if abs(grip_m - self._grip_m) > 2e-4 or over_s < 0.1:
                return Phase.RETREAT if late else None
            return Phase.LIFT if grip_m > HELD_M else Phase.RETREAT
        if self._stray(np.array([math.inf]), scene.q)[0] > ARRIVED_RAD:
            return Phase.RETREAT if late else None
        if self.phase is Phase.REACH:
            moved = float(np.linalg.norm(scene.lighter.position - self._aim)) > 0.015
            return Phase.REACH if moved else Phase.GRASP
        if self.phase is Phase.RETREAT:
            return self._next_attempt(scene)
        held = scene.in_hand(self._picker) and scene.lighter.position[2] > self._aim[2] + 0.05
        following = Phase.CARRY if self.phase is Phase.LIFT else Phase.RELEASE
        return following if held else Phase.RETREAT

    def _next_attempt(self, scene: Scene) -> Phase:
        return Phase.REST if scene.in_cup() else Phase.REACH

    def _begin(self, phase: Phase, scene: Scene) -> None:
        """Plan a phase from where the last path ends. Raises ObservationError; the arms then stay on the old one."""
        if phase is Phase.REACH:
            self._picker = tabletop.nearer_side(scene.lighter.position)
            self._aim = scene.lighter.position
            self._attempt += 1
        here = {"left": self._path.end[:7], "right": self._path.end[7:]}
        try:
            ways = {side: self._way(phase, side, side == self._picker, here[side], scene) for side in tabletop.SIDES}
        except UnreachableError as error:
            raise ObservationError(
                f"lighter at {np.round(scene.lighter.position, 3).tolist()} or cup at "
                f"{np.round(scene.cup.position, 3).tolist()} is out of reach: {error}; lay the scene out anew"
            ) from error
        self._path = Path(ways["left"], ways["right"])
        self._t_s = -float(np.clip(max(self._delays_s, default=0.2) + 0.05, *LEAD_S))
        self.phase = phase

    def _way(self, phase: Phase, side: str, picks: bool, here: Vector, scene: Scene) -> list[Vector]:
        """One arm's via points in a phase."""
        if phase is Phase.RETREAT:
            return [*tabletop.back_off(here, 0.09, level=not picks), np.append(STAGED, OPEN_M)]
        if phase is Phase.REST:
            return [here]
        if not picks:
            return self._hold_cup(phase, side, here, scene)
        if phase is Phase.REACH:
            along_m = 0.0 if self._attempt == 1 else self._random.uniform(-0.008, 0.008)
            tool, roll = tabletop.grip_lighter(side, scene, along_m)
            down = math.pi / 2
            return tabletop.way(
                side, here, [(tabletop.above(tool, 0.09), down, roll, READY_M), (tool, down, roll, READY_M)]
            )
        if phase is Phase.GRASP:
            return [here, np.append(here[:6], 0.0)]
        if phase is Phase.LIFT:
            return tabletop.lift(here, 0.12)
        if phase is Phase.CARRY:
            return self._carry(side, here, scene)
        return [here, np.append(here[:6], READY_M)]

    def _hold_cup(self, phase: Phase, side: str, here: Vector, scene: Scene) -> list[Vector]:
        """The other arm: astride the cup while the lighter is reached for, then closed around it."""
        if phase is Phase.GRASP:
            return [here, np.append(here[:6], SQUEEZE_CUP_M)]
        if phase is not Phase.REACH:
            return [here]
        middle = tabletop.above(scene.cup.position, 0.05)
        away = 0.11 * tabletop.outward(side, middle)
        pitch = math.radians(25)
        return tabletop.way(side, here, [(middle - away, pitch, 0.0, OPEN_M), (middle, pitch, 0.0, OPEN_M)])

    def _carry(self, side: str, here: Vector, scene: Scene) -> list[Vector]:
        """From beside the cup to over it, the hand tilted up so that the lighter hangs upright, and down."""
        pitch = math.radians(20)
        rim = tabletop.above(scene.cup.position, tabletop.CUP_HEIGHT_M)
        away = tabletop.outward(side, rim)
        # The lighter's lower end hangs back towards the arm; the hand goes as much further.
        spot = rim + 0.010 * away
        high = tabletop.above(spot, 0.085)
        stops = [(high - 0.10 * away, pitch, 0.0, 0.0), (high, pitch, 0.0, 0.0)]
        return tabletop.way(side, here, [*stops, (tabletop.above(spot, 0.022), pitch, 0.0, 0.0)])


def read_scene(observation: Mapping[str, Any]) -> Scene:
    """What an observation shows. Raises ObservationError naming the key, its value and what to send."""
    q = read_joints(observation)
    environment = _numbers(observation, ENVIRONMENT_STATE, 14, "the poses (x, y, z, qw, qx, qy, qz) of lighter and cup")
    return Scene(q, _pose(environment[:7], "lighter"), _pose(environment[7:], "cup"))


def read_joints(observation: Mapping[str, Any]) -> Vector:
    """The joint positions (14,) that an observation shows. Raises ObservationError."""
    q = _numbers(observation, "state", N_JOINTS, "the joint positions")
    if np.abs(q).max() > FURTHEST_RAD:
        raise ObservationError(f"'state' is {q.tolist()}, send at most ±{FURTHEST_RAD:.3f} rad (grippers in m)")
    return q


def read_age_s(observation: Mapping[str, Any]) -> float:
    """Age of the observation when it was sent, 0 if it does not say. Raises ObservationError."""
    age_s = observation.get(OBSERVATION_AGE, 0.0)
    if not isinstance(age_s, float) or not 0.0 <= age_s <= OLDEST_S:
        raise ObservationError(f"{OBSERVATION_AGE!r} is {age_s!r}, send seconds from 0 to {OLDEST_S:g}")
    return age_s


def read_playback_s(observation: Mapping[str, Any]) -> float | None:
    """How much of the policy's time had passed in this run, None if it does not say. Raises ObservationError."""
    played_s = observation.get(PLAYBACK)
    if played_s is not None and (not isinstance(played_s, float) or not 0.0 <= played_s <= LONGEST_RUN_S):
        raise ObservationError(f"{PLAYBACK!r} is {played_s!r}, send seconds from 0 to {LONGEST_RUN_S:g}")
    return played_s


def _numbers(observation: Mapping[str, Any], key: str, size: int, meaning: str) -> Vector:
    if key not in observation:
        raise ObservationError(f"observation lacks {key!r}: the policy needs {meaning}, {size} numbers")
    try:
        values = np.array(observation[key], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ObservationError(f"{key!r} must be {size} numbers ({meaning}): {error}") from error
    if values.shape != (size,):
        raise ObservationError(f"{key!r} has shape {values.shape}, send ({size},): {meaning}")
    if not np.isfinite(values).all():
        raise ObservationError(f"{key!r} holds non-finite numbers: {values.tolist()}")
    return values


def _pose(values: Vector, name: str) -> Pose:
    norm = float(np.linalg.norm(values[3:]))
    if abs(norm - 1.0) > 1e-2:
        raise ObservationError(f"{ENVIRONMENT_STATE!r}: the {name}'s quaternion has length {norm:.3f}, send 1")
    w, x, y, z = values[3:] / norm
    rotation = np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        )
    )
    return Pose(values[:3], rotation)
