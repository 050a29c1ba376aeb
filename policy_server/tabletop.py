"""The lighter-and-cup task in numbers: what is seen, how it is to be gripped, and the arms' way there. Pure.

The scene's documented sizes and the kit's published layout stand here as constants; nothing is taken from the
simulation. World frame as the kit's: origin under the middle of the table plate, z up, metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.kinematics import Pose, UnreachableError, forward, inverse, rotation_about

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

SIDES = ("left", "right")
BASES = {"left": np.array((-0.019982, 0.4575, 0.039086)), "right": np.array((-0.019982, -0.4575, 0.039086))}
BASE_YAW = {"left": -math.pi / 2, "right": math.pi / 2}
STAGED = np.array((0.0, math.pi / 3, math.pi / 6, math.pi / 5, 0.0, 0.0))

TABLE_TOP_M = 0.02
CUP_HEIGHT_M = 0.09
CUP_INNER_RADIUS_M = 0.031
LIGHTER_HALF_LENGTH_M = 0.040
FINGER_BEYOND_TOOL_M = 0.010

OPEN_M = 0.039
READY_M = 0.030
SQUEEZE_CUP_M = 0.029
"""Gripper command that presses the cup's 34 mm radius with a few newtons."""

_UP = np.array((0.0, 0.0, 1.0))
_ROLL_AXIS = np.array((1.0, 0.0, 0.0))
_PITCH_AXIS = np.array((0.0, 1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Scene:
    """One observation: joints (14,), the lighter's middle and the cup's underside in the world."""

    q: Vector
    lighter: Pose
    cup: Pose

    def arm(self, side: str) -> Vector:
        """One arm's joints (7,), gripper last."""
        return self.q[:7] if side == "left" else self.q[7:]

    def in_cup(self) -> bool:
        """True when the lighter's middle is inside the standing cup."""
        x, y, z = self.cup.rotation.T @ (self.lighter.position - self.cup.position)
        standing = self.cup.rotation[2, 2] > 0.9
        return bool(standing and math.hypot(x, y) < CUP_INNER_RADIUS_M and 0.0 < z < CUP_HEIGHT_M - 0.01)

    def in_hand(self, side: str) -> bool:
        """True when the lighter is between that arm's fingers."""
        tool = to_world(side, forward(self.arm(side)[:6]).position)
        return float(np.linalg.norm(tool - self.lighter.position)) < 0.03


def to_world(side: str, position: Vector) -> Vector:
    """A point of an arm's base frame in the world."""
    point: Vector = BASES[side] + rotation_about(_UP, BASE_YAW[side]) @ position
    return point


def to_base(side: str, position: Vector) -> Vector:
    """A point of the world in an arm's base frame."""
    point: Vector = rotation_about(_UP, -BASE_YAW[side]) @ (position - BASES[side])
    return point


def above(position: Vector, height_m: float) -> Vector:
    """The point height_m higher."""
    point: Vector = position + height_m * _UP
    return point


def nearer_side(position: Vector) -> str:
    """The side whose arm's base is nearer."""
    return min(SIDES, key=lambda side: float(np.linalg.norm(to_base(side, position))))


def way(side: str, start: Vector, stops: list[tuple[Vector, float, float, float]]) -> list[Vector]:
    """Via points (7,) from joints `start` through tool stops, straight in space from the first stop on.

    stops: (world position, pitch down in rad, roll in rad, gripper in m); the hand always points away from the
    arm's base. Raises UnreachableError.
    """
    via = [start]
    last = None
    for stop in stops:
        parts = (1.0,) if last is None else (0.25, 0.5, 0.75, 1.0)
        for part in parts:
            position, pitch, roll, grip = stop if last is None else _between(last, stop, part)
            q = reach(side, position, pitch, roll, via[-1][:6] if last is not None else None)
            via.append(np.append(q, grip))
        last = stop
    return via


def reach(side: str, position: Vector, pitch: float, roll: float, near: Vector | None = None) -> Vector:
    """Joint angles (6,) that bring the tool to a world position, the hand pointing away from the arm's base.

    near: angles of a pose close by, if known. Raises UnreachableError.
    """
    return inverse(_hand(side, position, pitch, roll), _guess(side, position) if near is None else near)


def grip_lighter(side: str, scene: Scene, along_m: float) -> tuple[Vector, float]:
    """Tool position and roll to take the lighter from above, fingers across it, along_m off its middle."""
    axis = scene.lighter.rotation[:, 0]
    lying = float(np.hypot(axis[0], axis[1])) > 0.5
    position = scene.lighter.position + (along_m * axis if lying else 0.0)
    lowest = TABLE_TOP_M + FINGER_BEYOND_TOOL_M + 0.003
    tool = np.array((position[0], position[1], max(position[2] + 0.003, lowest)))
    if not lying:
        return tool, 0.0
    heading = math.atan2(axis[1], axis[0]) - BASE_YAW[side]
    x, y, _ = to_base(side, tool)
    roll = math.atan2(y, x) - heading
    return tool, (roll + math.pi / 2) % math.pi - math.pi / 2


def outward(side: str, position: Vector) -> Vector:
    """Horizontal unit vector in the world, from the arm's base towards a point."""
    away: Vector = position - BASES[side]
    away[2] = 0.0
    away /= np.linalg.norm(away)
    return away


def back_off(start: Vector, distance_m: float, level: bool) -> list[Vector]:
    """Via points that open the gripper, wait, and draw the hand straight back, as far as the arm can.

    level: back along the table, so that nothing between the fingers is raised; else the way the hand points.
    """
    opened = np.append(start[:6], max(start[6], OPEN_M))
    back = -forward(start[:6]).rotation[:, 0]
    if level:
        back[2] = 0.0
    return [start, opened, opened, *_shift(opened, distance_m * back)]


def lift(start: Vector, height_m: float) -> list[Vector]:
    """Via points that raise the hand straight up without turning it, as far as the arm can."""
    return [start, *_shift(start, height_m * _UP)]


def _shift(start: Vector, by: Vector) -> list[Vector]:
    here = forward(start[:6])
    via: list[Vector] = []
    for part in (0.33, 0.67, 1.0):
        near = via[-1] if via else start
        try:
            q = inverse(Pose(here.position + part * by, here.rotation), near[:6])
        except UnreachableError:
            break
        via.append(np.append(q, start[6]))
    return via


def _hand(side: str, position: Vector, pitch: float, roll: float) -> Pose:
    local = to_base(side, position)
    yaw = math.atan2(local[1], local[0])
    turn = rotation_about(_UP, yaw) @ rotation_about(_PITCH_AXIS, pitch) @ rotation_about(_ROLL_AXIS, roll)
    return Pose(local, turn)


def _guess(side: str, position: Vector) -> Vector:
    local = to_base(side, position)
    guess = STAGED.copy()
    guess[0] = math.atan2(local[1], local[0])
    return guess


def _between(
    a: tuple[Vector, float, float, float], b: tuple[Vector, float, float, float], part: float
) -> tuple[Vector, float, float, float]:
    return (
        a[0] + part * (b[0] - a[0]),
        a[1] + part * (b[1] - a[1]),
        a[2] + part * (b[2] - a[2]),
        a[3] + part * (b[3] - a[3]),
    )
