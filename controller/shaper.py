"""Makes a wanted motion fit the limits without touching motion that already fits. Pure; used by control.

A step that keeps within position, velocity and acceleration passes through exactly. A joint that would break a limit
goes as near to what is wanted as the limits let it; where that is not near, it runs after it, jerk-limited, and so
rejoins it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.hermite import STEEPER, Piece, State
from controller.moves import Bounds, chase
from controller.robots.base import Vector

REACTION_S = 0.02
"""Time a joint needs to turn its acceleration around before it slows down."""

Joints = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Range:
    """Lowest and highest position of each joint (rad, m)."""

    lower: Vector
    upper: Vector


def fits(piece: Piece, bounds: Bounds) -> Joints:
    """Which joints keep within velocity and acceleration all along the piece."""
    velocity, acceleration = piece.peaks()
    return (velocity <= bounds.velocity) & (acceleration <= bounds.acceleration)


def shape(
    start: State, t0_ns: int, t1_ns: int, q: Vector, qd: Vector, limits: Range, bounds: Bounds
) -> tuple[Piece, bool]:
    """The piece from `start` at t0_ns towards (q, qd) at t1_ns, and whether a limit shaped it.

    From a start inside `limits` the piece stays inside, and its end does not move outwards faster than it
    could still be stopped.
    """
    piece = Piece(t0_ns, t1_ns, start.q, start.qd, q, qd)
    if _is_plain(piece, limits, bounds):
        return piece, False
    return bounded(start, t0_ns, t1_ns, q, qd, limits, bounds)


def _is_plain(piece: Piece, limits: Range, bounds: Bounds) -> bool:
    """Whether nothing about the piece is near a limit, by its Bezier points: a sixth of the work, for most pieces.

    A curve and its derivatives lie within the hulls of their points.
    """
    h, q1, qd1 = piece.dt_s, piece.q1, piece.qd1
    places = np.array((piece.q0, piece.q0 + (h / 3.0) * piece.qd0, q1 - (h / 3.0) * qd1, q1))
    velocities = (places[1:] - places[:-1]) * (3.0 / h)
    accelerations = (velocities[1:] - velocities[:-1]) * (2.0 / h)
    if not (
        (places >= limits.lower).all()
        and (places <= limits.upper).all()
        and (np.abs(velocities) <= bounds.velocity).all()
        and (np.abs(accelerations) <= bounds.acceleration).all()
    ):
        return False
    room, speed = np.minimum(limits.upper - q1, q1 - limits.lower), np.abs(qd1)
    return bool((speed * (speed + 2.0 * REACTION_S * bounds.acceleration) <= 2.0 * bounds.acceleration * room).all())


def bounded(
    start: State, t0_ns: int, t1_ns: int, q: Vector, qd: Vector, limits: Range, bounds: Bounds
) -> tuple[Piece, bool]:
    """As `shape`, for any piece."""
    hardest = replace(bounds, acceleration=STEEPER * bounds.acceleration)
    inside = np.clip(q, limits.lower, limits.upper)
    wanted = _stoppable(inside, qd, limits, bounds)
    piece = Piece(t0_ns, t1_ns, start.q, start.qd, inside, wanted)
    free = fits(piece, bounds)
    if not free.all():
        near = reachable(replace(piece, qd1=np.clip(wanted, -bounds.velocity, bounds.velocity)), hardest)
        is_near = np.abs(near.q1 - inside) <= 0.5 * piece.dt_s**2 * hardest.acceleration
        if not (free | is_near).all():
            end = chase(start, inside, wanted, piece.dt_s, bounds)
            q1 = np.clip(end.q, limits.lower, limits.upper)
            caught = reachable(replace(piece, q1=q1, qd1=_stoppable(q1, end.qd, limits, bounds)), hardest)
            near = replace(near, q1=np.where(is_near, near.q1, caught.q1), qd1=np.where(is_near, near.qd1, caught.qd1))
        piece = replace(piece, q1=np.where(free, inside, near.q1), qd1=np.where(free, wanted, near.qd1))
    low, high = piece.span()
    leaves = (low < limits.lower) | (high > limits.upper)
    if leaves.any():
        kept = reachable(_kept_inside(piece, limits, bounds), hardest)
        piece = replace(piece, q1=np.where(leaves, kept.q1, piece.q1), qd1=np.where(leaves, kept.qd1, piece.qd1))
    return piece, bool((piece.q1 != q).any() or (piece.qd1 != qd).any())


def _stoppable(q: Vector, qd: Vector, limits: Range, bounds: Bounds) -> Vector:
    """qd, but not so fast outwards that a joint at q could not be stopped inside."""
    a, lost = bounds.acceleration, bounds.acceleration * REACTION_S
    room_up, room_down = np.maximum(limits.upper - q, 0.0), np.maximum(q - limits.lower, 0.0)
    up, down = np.sqrt(lost * lost + 2.0 * a * room_up) - lost, np.sqrt(lost * lost + 2.0 * a * room_down) - lost
    return np.clip(qd, -down, up)


def reachable(piece: Piece, bounds: Bounds) -> Piece:
    """The piece from the same start to the nearest end that takes no more than the velocity and acceleration."""
    h, a = piece.dt_s, bounds.acceleration
    change = np.clip(piece.qd1 - piece.qd0, -a * h, a * h)
    total = 2.0 * piece.qd0 + change
    # acceleration is largest at an end; velocity is below the largest of the three points of its own hull
    by_acceleration, by_velocity = h * (a * h - np.abs(change)) / 6.0, h * bounds.velocity / 3.0
    low = np.maximum(h * total / 2.0 - by_acceleration, h * total / 3.0 - by_velocity)
    high = np.minimum(h * total / 2.0 + by_acceleration, h * total / 3.0 + by_velocity)
    delta = np.maximum(low, np.minimum(high, piece.q1 - piece.q0))
    return replace(piece, q1=piece.q0 + delta, qd1=piece.qd0 + change)


def _kept_inside(piece: Piece, limits: Range, bounds: Bounds) -> Piece:
    """The piece with an end that keeps all of it inside.

    A cubic lies within the hull of its Bezier points q0, q0 + h qd0 / 3, q1 - h qd1 / 3, q1. The third and
    fourth are free; where the second lies outside already, the joint brakes with a constant deceleration that
    turns it at the limit.
    """
    h, q0, qd0 = piece.dt_s, piece.q0, piece.qd0
    q1 = np.clip(piece.q1, limits.lower, limits.upper)
    qd1 = _stoppable(q1, piece.qd1, limits, bounds)
    qd1 = np.clip(qd1, 3.0 * (q1 - limits.upper) / h, 3.0 * (q1 - limits.lower) / h)
    room = np.maximum(np.where(qd0 > 0.0, limits.upper - q0, q0 - limits.lower), 1e-9)
    turns = np.abs(qd0) * h > 3.0 * room
    deceleration = np.copysign(np.minimum(qd0 * qd0 / (2.0 * room), STEEPER * bounds.acceleration), qd0)
    return replace(
        piece,
        q1=np.where(turns, q0 + h * (qd0 - 0.5 * h * deceleration), q1),
        qd1=np.where(turns, qd0 - h * deceleration, qd1),
    )
