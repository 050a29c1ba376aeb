"""Checks recorded commands against the configured limits, with none of the code that enforces them. Pure.

Positions are compared as they are, velocities and accelerations are first and second differences of the
positions over the instants of the commands. Those are means over the true motion between the commands, so
a motion within the limits has differences within them; TOLERANCE is for rounding alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.config_robot import Limits, both_arms
from controller.follower import Mode
from controller.recording import Rows
from controller.robots.base import GRIPPERS, JOINT_NAMES

TOLERANCE = 0.01
"""Relative, of velocities and accelerations."""

POSITION_TOLERANCE = 1e-6
"""rad, m."""

Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Violation:
    """One command of one joint beyond one limit (rad, m, s)."""

    what: str
    joint: str
    t_ns: int
    value: float
    bound: float

    @property
    def excess(self) -> float:
        """How far beyond the bound, as a part of it."""
        return abs(self.value - self.bound) / max(abs(self.bound), 1e-9)


def commands(joints: Rows) -> Rows:
    """Of recorded joints, the rows with a command, each command once."""
    given = joints[joints["t_command_ns"] > 0]
    if len(given) == 0:
        return given
    again = np.diff(given["t_command_ns"]) == 0
    again &= (np.diff(given["q_command"], axis=0) == 0).all(axis=1)
    return given[np.concatenate(([True], ~again))]


def violations(joints: Rows, limits: Limits) -> list[Violation]:
    """Every command beyond a limit, in no particular order. joints: layout.JOINTS rows in order of time.

    While the motor process brakes, the limits of braking count.
    """
    rows = commands(joints)
    t_ns, q = rows["t_command_ns"], rows["q_command"]
    finite = np.isfinite(q)
    found = _found("position is not a number", t_ns, np.where(finite, 0.0, 1.0), np.zeros_like(q))
    lower, upper = both_arms(limits.lower), both_arms(limits.upper)
    found += _found("position above", t_ns, q, np.broadcast_to(upper + POSITION_TOLERANCE, q.shape))
    below = _found("position below", t_ns, -q, np.broadcast_to(POSITION_TOLERANCE - lower, q.shape))
    found += [replace(violation, value=-violation.value, bound=-violation.bound) for violation in below]
    for rate in rates(joints, limits):
        found += _found(rate.what, rate.t_ns, np.abs(rate.values), rate.bounds * (1.0 + TOLERANCE))
    return found


@dataclass(frozen=True, slots=True)
class Rate:
    """Velocity or acceleration of the commands, one row per command and one column per joint, and what bounds each."""

    what: str
    t_ns: NDArray[np.int64]
    values: Table
    bounds: Table


def rates(joints: Rows, limits: Limits) -> list[Rate]:
    """Velocity and acceleration; nothing if there are fewer than two commands. joints: as of `violations`."""
    rows = commands(joints)
    if len(rows) < 2:
        return []
    t_ns, braking = rows["t_command_ns"], rows["mode"] == Mode.BRAKE
    dt_s = np.diff(t_ns)[:, None] * 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        qd = np.diff(rows["q_command"], axis=0) / dt_s
        qdd = 2.0 * np.diff(qd, axis=0) / (dt_s[1:] + dt_s[:-1])
    qd_bound = _bound(limits.velocity, limits.brake.velocity, braking[1:] | braking[:-1])
    qdd_bound = _bound(limits.acceleration, limits.brake.acceleration, braking[2:] | braking[1:-1] | braking[:-2])
    return [Rate("velocity", t_ns[1:], qd, qd_bound), Rate("acceleration", t_ns[2:], qdd, qdd_bound)]


def largest_step(joints: Rows) -> tuple[float, float]:
    """Largest change from one command to the next: of any arm joint (rad), of any gripper (m)."""
    steps = np.abs(np.diff(commands(joints)["q_command"], axis=0)).max(axis=0, initial=0.0)
    arm = np.ones(len(steps), bool)
    arm[list(GRIPPERS)] = False
    return float(steps[arm].max()), float(steps[~arm].max())


def _bound(following: tuple[float, ...], braking: tuple[float, ...], is_braking: NDArray[np.bool_]) -> Table:
    """Bound for each row and joint; while braking the wider of the two, because the change happens between."""
    normal, brake = both_arms(following), both_arms(braking)
    bound: Table = np.where(is_braking[:, None], np.maximum(normal, brake), normal)
    return bound


def _found(what: str, t_ns: NDArray[np.int64], values: Table, bounds: Table) -> list[Violation]:
    return [
        Violation(what, JOINT_NAMES[j], int(t_ns[i]), float(values[i, j]), float(bounds[i, j]))
        for i, j in np.argwhere(values > bounds)
    ]
