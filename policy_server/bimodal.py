"""A policy with two equally good ways: the left hand goes round a pillar, on either side of it.

The pillar is virtual: a circle that the tool must not enter while it goes along at one height from START_M to GOAL_M.
The policy sees the joints and nothing else. At each request it draws anew from its noise which way it takes, as a
generative policy does, so chunks that are switched between mix two ways and lead into the pillar. It keeps to one way
if the request carries the rest of the last chunk (`rtc`), or once the hand is clearly on one side close to the pillar.
Runs in the policy server; its geometry is public, so that a trial can judge a run by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server import tabletop
from policy_server.continuation import continued, read_plain_rest
from policy_server.kinematics import forward
from policy_server.policy import Observation, ObservationError, Policy, Session
from policy_server.protocol import RTC, ServerInfo
from policy_server.scripted import ACTION_RATE_HZ, HORIZON, N_JOINTS, read_joints
from policy_server.tabletop import OPEN_M, STAGED

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# ---- the task, world frame ---------------------------------------------------------------------------------

START_M = np.array((-0.020, 0.076))
"""Where the hand is in the staged pose."""

GOAL_M = np.array((0.340, 0.120))
HEIGHT_M = 0.327
PILLAR_M = 0.5 * (START_M + GOAL_M)
PILLAR_RADIUS_M = 0.05
GOAL_TOLERANCE_M = 0.015

# ---- how it is done ----------------------------------------------------------------------------------------

PITCH_RAD = math.radians(-6.0)
"""The hand's in the staged pose."""

BERTH_M = 0.11
"""How far from the pillar's axis a way passes it."""

CLOSE_M = 0.08
"""From so far before the pillar's middle on, the hand's own place decides ..."""

DECIDED_M = 0.045
"""... if it is so far to one side."""

RETURN_M = 0.10
"""A hand beside its way comes back to it within this distance."""

REACH_M = (0.24, 0.64)
"""How near to its base and how far from it the hand may thus be."""

STRAY_M = np.array((0.05, BERTH_M + 0.02, 0.05))
"""A hand farther behind start or goal, beside the line between them, or above or below it, is not at this task."""

SPEED_M_S = 0.15
FIRST_SPEED_M_S = 0.03
ACCELERATION_M_S2 = 0.25

SETTLE_S = 0.2
"""What the observed joints differ from the way's is gone after this time."""

_STEP_M = 0.002
_RIGHT = np.append(STAGED, OPEN_M)
_LENGTH_M = float(np.linalg.norm(GOAL_M - START_M))
_ALONG: Vector = (GOAL_M - START_M) / _LENGTH_M
_ACROSS = np.array((-_ALONG[1], _ALONG[0]))

SIDES = (-1.0, 1.0)


def hand(q: Vector) -> Vector:
    """The left tool in the world, (3,) m, for joints (14,)."""
    return tabletop.to_world("left", forward(q[:6]).position)


def in_pillar(place: Vector) -> bool:
    """Whether a hand at this place in the world has run into the pillar."""
    return bool(np.linalg.norm(place[:2] - PILLAR_M) < PILLAR_RADIUS_M)


def at_goal(place: Vector) -> bool:
    """Whether a hand at this place in the world is where it should end."""
    return bool(np.linalg.norm(place - np.append(GOAL_M, HEIGHT_M)) < GOAL_TOLERANCE_M)


class BimodalPolicy(Policy):
    """seed: of the choices between the ways; None takes a fresh one."""

    def __init__(self, seed: int | None = None) -> None:
        self.info = ServerInfo(
            policy="bimodal",
            cameras=("cam_high",),
            image_size=(224, 224),
            action_rate_hz=ACTION_RATE_HZ,
            action_horizon=HORIZON,
            action_dim=N_JOINTS,
            extensions=frozenset({RTC}),
        )
        self._seed = seed

    def warm_up(self, say: Callable[[str], None]) -> None:
        _bends()

    def new_session(self) -> BimodalSession:
        return BimodalSession(np.random.default_rng(self._seed))


class BimodalSession(Session):
    """Remembers nothing but its noise."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def infer(self, observation: Observation) -> dict[str, Any]:
        q = read_joints(observation)
        rest = read_plain_rest(observation, HORIZON, N_JOINTS)
        coin = SIDES[int(self._random.integers(2))]
        decided = side_of(hand(q))
        if rest is None:
            return {"actions": chunk(q, decided or coin)}
        left, delay_steps = rest
        ways = {side: chunk(q, side) for side in ((decided,) if decided else (coin, -coin))}
        nearest = min(ways, key=lambda side: float(np.square(ways[side][: len(left)] - left).sum()))
        return {"actions": continued(ways[nearest], left, delay_steps)}


def side_of(place: Vector) -> float:
    """-1 or 1: the side of the pillar on which a hand at this place must stay; 0 where it still has the choice."""
    along, across = _ALONG @ (place[:2] - PILLAR_M), _ACROSS @ (place[:2] - PILLAR_M)
    return math.copysign(1.0, across) if along > -CLOSE_M and abs(across) > DECIDED_M else 0.0


def chunk(q: Vector, side: float) -> Matrix:
    """(HORIZON, 14): from joints q (14,) on, past the pillar's `side`, to rest at the goal. Raises ObservationError.

    An observation has no velocity: the hand sets out along its way with the speed that belongs to its place on it.
    """
    here = hand(q)
    along, across = _ALONG @ (here[:2] - START_M), _ACROSS @ (here[:2] - START_M)
    if (np.abs((along - np.clip(along, 0.0, _LENGTH_M), across, here[2] - HEIGHT_M)) > STRAY_M).any():
        raise ObservationError(
            f"'state' has the left hand at {np.round(here, 3).tolist()} m, more than {STRAY_M.tolist()} m (along, "
            f"beside, above) from the line from {START_M.tolist()} to {GOAL_M.tolist()} {HEIGHT_M:g} m high; home first"
        )
    line = way(here[:2], side)
    s_m = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))))
    joints = np.hstack((_joints_at(_paced(line, s_m)), np.full((HORIZON, 1), OPEN_M), np.tile(_RIGHT, (HORIZON, 1))))
    x = np.clip(np.arange(HORIZON) / (SETTLE_S * ACTION_RATE_HZ), 0.0, 1.0)[:, None]
    settled: Matrix = joints + (1.0 - x * x * (3.0 - 2.0 * x)) * (q - joints[0])
    return settled


def _joints_at(places: Matrix) -> Matrix:
    """The left arm's joints (n, 6) for places (n, 2) of its hand."""
    away = places - tabletop.BASES["left"][:2]
    radius_m = np.linalg.norm(away, axis=1)
    table_m, bends = _bends()
    joints = np.zeros((len(places), 6))
    joints[:, 0] = np.arctan2(away[:, 1], away[:, 0]) - tabletop.BASE_YAW["left"]
    joints[:, 1:4] = np.column_stack([np.interp(radius_m, table_m, bend) for bend in bends.T])
    return joints


@cache
def _bends() -> tuple[Vector, Matrix]:
    """Distances of the hand from the arm's base (n,), and joints 1 to 3 (n, 3), which depend on nothing else here."""
    radius_m = np.arange(*REACH_M, _STEP_M)
    away = tabletop.outward("left", np.append(PILLAR_M, HEIGHT_M))
    base, near, bends = np.append(tabletop.BASES["left"][:2], HEIGHT_M), None, []
    for radius in radius_m:
        near = tabletop.reach("left", base + radius * away, PITCH_RAD, 0.0, near)
        bends.append(near[1:4])
    return radius_m, np.array(bends)


def way(here: Vector, side: float) -> Matrix:
    """Points (n, 2) from a place to the goal past one side of the pillar, close together."""
    along, across = float(_ALONG @ (here - START_M)), float(_ACROSS @ (here - START_M))
    left = _LENGTH_M - along
    part = np.linspace(0.0, 1.0, 2 + int(math.hypot(left, across) / _STEP_M))
    u = along + part * left
    back = np.minimum(part * max(abs(left) / RETURN_M, 1.0), 1.0)
    off = across - side * _berth(np.array([along]))[0]
    v = side * _berth(u) + off * (1.0 - back * back * (3.0 - 2.0 * back))
    line: Matrix = START_M + u[:, None] * _ALONG + v[:, None] * _ACROSS
    return line


def _berth(u_m: Vector) -> Vector:
    """How far from the straight line a way is, at a place along it."""
    berth: Vector = BERTH_M * np.sin(np.pi * np.clip(u_m / _LENGTH_M, 0.0, 1.0)) ** 2
    return berth


def _paced(line: Matrix, s_m: Vector) -> Matrix:
    """Places (HORIZON, 2) along the line, one per step; the speed follows from the place alone."""
    from_start_m = float(np.linalg.norm(line[0] - START_M))
    places, s = np.empty((HORIZON, 2)), 0.0
    for row in range(HORIZON):
        places[row] = [np.interp(s, s_m, column) for column in line.T]
        begun = math.sqrt(FIRST_SPEED_M_S**2 + 2.0 * ACCELERATION_M_S2 * (from_start_m + s))
        ending = math.sqrt(2.0 * ACCELERATION_M_S2 * max(s_m[-1] - s, 0.0))
        s = min(s + min(SPEED_M_S, begun, ending) / ACTION_RATE_HZ, s_m[-1])
    return places
