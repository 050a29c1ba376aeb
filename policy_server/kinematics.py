"""Where a WidowX AI arm's tool is, and which joints bring it somewhere: plain numpy, for scripted policies.

Published kinematics of one arm in its base frame: x forward, z up, metres and radians, six joints. The tool frame
lies between the finger tips: x the approach direction, y the direction in which the fingers close.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

N = 6
AXES = np.array([(0, 0, 1), (0, 1, 0), (0, -1, 0), (0, -1, 0), (0, 0, -1), (1, 0, 0)], dtype=np.float64)
ORIGINS = np.array(
    [(0, 0, 0.05725), (0.02, 0, 0.04625), (-0.264, 0, 0), (0.245, 0, 0.06), (0.06775, 0, 0.0455), (0.02895, 0, -0.0455)]
)  # fmt: skip
TOOL = np.array((0.156062, 0.0, 0.0))
LOWER = np.array((-3.05433, 0.0, 0.0, -1.5708, -1.5708, -3.1416))
UPPER = np.array((3.05433, 3.14159, 2.3562, 1.5708, 1.5708, 3.1416))

_DAMPING = 0.03
_MAX_STEP = 0.3
_ITERATIONS = 100


class UnreachableError(ValueError):
    """No joint angles within the limits bring the tool there. The text names the target and what is left."""


@dataclass(frozen=True, slots=True)
class Pose:
    """position (3,) in m; rotation (3, 3), columns are the frame's axes."""

    position: Vector
    rotation: Matrix


def rotation_about(axis: Vector, angle: float) -> Matrix:
    """Rotation matrix about a unit axis (3,) by `angle` in rad."""
    x, y, z = axis
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    rotation: Matrix = np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)
    return rotation


def forward(q: Vector) -> Pose:
    """The tool's pose for joint angles q (6,)."""
    return _chain(q)[0]


def jacobian(q: Vector) -> Matrix:
    """(6, 6): tool velocity (m/s), then angular velocity (rad/s), per joint velocity, in the base frame."""
    return _chain(q)[1]


def inverse(target: Pose, start: Vector, tolerance_m: float = 1e-4, tolerance_rad: float = 1e-3) -> Vector:
    """Joint angles (6,) near `start` that bring the tool to `target`, by damped least squares.

    The limits hold for the answer. Raises UnreachableError when no answer is found from `start`.
    """
    q = np.clip(start, LOWER, UPPER)
    error = np.zeros(N)
    for _ in range(_ITERATIONS):
        pose, jac = _chain(q)
        error[:3] = target.position - pose.position
        error[3:] = _rotation_vector(target.rotation @ pose.rotation.T)
        off_m, off_rad = float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
        if off_m < tolerance_m and off_rad < tolerance_rad:
            return q
        # The damping fades with the error: it tames singular poses on the way and costs nothing at the end.
        damping = _DAMPING * min(1.0, off_m + off_rad)
        step = jac.T @ np.linalg.solve(jac @ jac.T + damping**2 * np.eye(N) + 1e-12 * np.eye(N), error)
        step *= min(1.0, _MAX_STEP / max(float(np.abs(step).max()), 1e-12))
        q = np.clip(q + step, LOWER, UPPER)
    raise UnreachableError(
        f"no joint angles for tool position {np.round(target.position, 3).tolist()} m in the arm's base frame: "
        f"{off_m * 1e3:.1f} mm and {math.degrees(off_rad):.1f} degrees are left"
    )


def _chain(q: Vector) -> tuple[Pose, Matrix]:
    position, rotation = np.zeros(3), np.eye(3)
    pivots, axes = np.empty((N, 3)), np.empty((N, 3))
    for joint in range(N):
        position = position + rotation @ ORIGINS[joint]
        pivots[joint], axes[joint] = position, rotation @ AXES[joint]
        rotation = rotation @ rotation_about(AXES[joint], q[joint])
    tool = position + rotation @ TOOL
    return Pose(tool, rotation), np.vstack((np.cross(axes, tool - pivots).T, axes.T))


def _rotation_vector(rotation: Matrix) -> Vector:
    """Axis times angle of a rotation matrix; near a half turn the axis comes from the symmetric part."""
    skew = 0.5 * np.array(
        (rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1])
    )
    sine = float(np.linalg.norm(skew))
    angle = math.atan2(sine, (float(np.trace(rotation)) - 1.0) / 2.0)
    if sine > 1e-6:
        return skew * (angle / sine)
    if angle < 1.0:
        return skew
    column = int(np.argmax(np.diag(rotation)))
    axis = (rotation + np.eye(3))[:, column]
    return axis / np.linalg.norm(axis) * angle
