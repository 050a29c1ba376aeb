"""The task on the simulated table, without physics: where lighter and cup lie, and whether the one is in the other.

Used by the simulated robot, to lay the scene out, and by whoever judges a run from `environment_state` alone.
Sizes are in metres, poses in the kit's world frame, quaternions (w, x, y, z).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TABLE_TOP_M = 0.02
LIGHTER_HALF_M = (0.040, 0.012, 0.007)
LIGHTER_KG = 0.022
CUP_HEIGHT_M = 0.09
CUP_INNER_RADIUS_M = 0.031
CUP_WALL_M = 0.003
CUP_KG = 0.25
CUP_WALLS = 12

ENVIRONMENT_NAMES = tuple(
    f"{thing}_{part}" for thing in ("lighter", "cup") for part in ("x", "y", "z", "qw", "qx", "qy", "qz")
)
"""The environment_state vector: pose of the lighter's middle, then of the cup's underside."""


def layout(seed: int) -> NDArray[np.float64]:
    """Environment vector (14,) of a fresh scene: the cup near the middle, the lighter flat on one arm's side.

    The same seed gives the same scene. Everything lies where the arm on the lighter's side reaches it.
    """
    random = np.random.default_rng(seed)
    side = random.choice((-1.0, 1.0))
    cup = (random.uniform(-0.07, 0.03), random.uniform(-0.03, 0.03), TABLE_TOP_M)
    spot = (random.uniform(-0.13, 0.09), side * random.uniform(0.11, 0.20))
    yaw = random.uniform(-math.pi, math.pi)
    turn = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
    return np.array((*spot, TABLE_TOP_M + LIGHTER_HALF_M[2], *turn, *cup, 1.0, 0.0, 0.0, 0.0))


def lighter_in_cup(environment: Sequence[float] | NDArray[np.float64]) -> bool:
    """True when the lighter's middle is inside the standing cup.

    environment: (14,) in ENVIRONMENT_NAMES order. Raises ValueError on another size or a non-finite number.
    """
    values = np.asarray(environment, dtype=np.float64)
    if values.shape != (len(ENVIRONMENT_NAMES),) or not np.isfinite(values).all():
        raise ValueError(f"environment must be {len(ENVIRONMENT_NAMES)} finite numbers, got {values!r}")
    cup = _rotation(values[10:14])
    x, y, z = cup.T @ (values[0:3] - values[7:10])
    upright = cup[2, 2] > 0.9
    return bool(upright and math.hypot(x, y) < CUP_INNER_RADIUS_M and 0.0 < z < CUP_HEIGHT_M - 0.01)


def _rotation(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
