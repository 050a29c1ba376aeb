"""Makes a wanted motion fit the limits without touching motion that already fits. Pure; used by control.

A step that keeps within velocity and acceleration passes through exactly. A joint that would break a limit
instead runs after the wanted state as fast as the limits allow, jerk-limited, and so rejoins it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.hermite import Piece, State
from controller.moves import Bounds, catch_up
from controller.robots.base import Vector


@dataclass(frozen=True, slots=True)
class Range:
    """Lowest and highest position of each joint (rad, m)."""

    lower: Vector
    upper: Vector


def shape(
    start: State, t0_ns: int, t1_ns: int, q: Vector, qd: Vector, limits: Range, bounds: Bounds
) -> tuple[Piece, bool]:
    """The piece from `start` at t0_ns towards (q, qd) at t1_ns, and whether a limit shaped it.

    The end never lies outside `limits`, nor does it move outwards faster than it could still be stopped.
    """
    inside = np.clip(q, limits.lower, limits.upper)
    room_up = np.sqrt(2.0 * bounds.acceleration * np.maximum(limits.upper - inside, 0.0))
    room_down = np.sqrt(2.0 * bounds.acceleration * np.maximum(inside - limits.lower, 0.0))
    wanted = np.clip(qd, -room_down, room_up)
    piece = Piece(t0_ns, t1_ns, start.q, start.qd, inside, wanted)
    velocity, acceleration = piece.peaks()
    fits = (velocity <= bounds.velocity) & (acceleration <= bounds.acceleration)
    if fits.all():
        return piece, bool((inside != q).any())
    end = catch_up(start, inside, wanted, bounds).at(piece.dt_s)
    end_q = np.clip(np.where(fits, inside, end.q), limits.lower, limits.upper)
    return Piece(t0_ns, t1_ns, start.q, start.qd, end_q, np.where(fits, wanted, end.qd)), True
