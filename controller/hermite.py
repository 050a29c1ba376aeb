"""Cubic Hermite pieces: the form in which motion travels from control to the motor process. Pure.

A piece is fixed by position and velocity at both ends, so pieces that share an end state join with
continuous velocity, and either process can evaluate one at the very instant it needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.robots.base import Vector

STEEPER = 1.5
"""A piece may have so many times the acceleration of the motion that its ends are taken from: a cubic needs it to go
from full acceleration to full deceleration within its length, and a joint that leaves its range to turn in time."""


@dataclass(slots=True)
class State:
    """Positions (rad, m), velocities and accelerations of all joints at one instant."""

    q: Vector
    qd: Vector
    qdd: Vector


@dataclass(frozen=True, slots=True)
class Piece:
    """From (q0, qd0) at t0_ns to (q1, qd1) at t1_ns > t0_ns."""

    t0_ns: int
    t1_ns: int
    q0: Vector
    qd0: Vector
    q1: Vector
    qd1: Vector

    @property
    def dt_s(self) -> float:
        return (self.t1_ns - self.t0_ns) * 1e-9

    def at(self, t_ns: int) -> State:
        """State at t_ns, which must lie inside the piece (the caller checks staleness)."""
        h = self.dt_s
        s = (t_ns - self.t0_ns) * 1e-9 / h
        delta = self.q1 - self.q0
        # q(s) = q0 + h qd0 s + a s^2 + b s^3, from the four end conditions
        a = 3.0 * delta - h * (2.0 * self.qd0 + self.qd1)
        b = h * (self.qd0 + self.qd1) - 2.0 * delta
        return State(
            q=self.q0 + s * (h * self.qd0 + s * (a + s * b)),
            qd=self.qd0 + s * (2.0 * a + 3.0 * s * b) / h,
            qdd=(2.0 * a + 6.0 * s * b) / (h * h),
        )

    def peaks(self) -> tuple[Vector, Vector]:
        """Largest |velocity| and |acceleration| of each joint anywhere in the piece."""
        h = self.dt_s
        delta = self.q1 - self.q0
        a = 3.0 * delta - h * (2.0 * self.qd0 + self.qd1)
        b = h * (self.qd0 + self.qd1) - 2.0 * delta
        acceleration = np.maximum(np.abs(2.0 * a), np.abs(2.0 * a + 6.0 * b)) / (h * h)
        # velocity is quadratic in s: its extremum, where inside, is at s = -a / 3b
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.where(b != 0.0, -a / (3.0 * b), -1.0)
        inside = (s > 0.0) & (s < 1.0)
        middle = np.where(inside, np.abs(self.qd0 + s * (2.0 * a + 3.0 * s * b) / h), 0.0)
        velocity = np.maximum(np.maximum(np.abs(self.qd0), np.abs(self.qd1)), middle)
        return velocity, acceleration

    def span(self) -> tuple[Vector, Vector]:
        """Lowest and highest position of each joint anywhere in the piece."""
        h = self.dt_s
        delta = self.q1 - self.q0
        a = 3.0 * delta - h * (2.0 * self.qd0 + self.qd1)
        b = h * (self.qd0 + self.qd1) - 2.0 * delta
        c = h * self.qd0
        low, high = np.minimum(self.q0, self.q1), np.maximum(self.q0, self.q1)
        # the velocity c + 2 a s + 3 b s^2 vanishes at up to two places, in the form that does not cancel
        root = np.sqrt(np.maximum(a * a - 3.0 * b * c, 0.0))
        t = -(a + np.copysign(root, a))
        with np.errstate(divide="ignore", invalid="ignore"):
            places = (t / (3.0 * b), c / t)
        for place in places:
            s = np.where((place > 0.0) & (place < 1.0), place, 0.0)
            q = self.q0 + s * (c + s * (a + s * b))
            low, high = np.minimum(low, q), np.maximum(high, q)
        return low, high
