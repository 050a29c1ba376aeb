"""Whether an arm may be used as it is configured: versions, limits, rest, place, temperature. Pure.

Connecting refuses on the first FAIL; `pi0ctl doctor` prints them all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.config_robot import Limits
from controller.findings import Finding, Level
from controller.robots.base import ARM_JOINTS, Vector

N_ARM = len(ARM_JOINTS)

MARGIN = np.array([1e-3] * (N_ARM - 1) + [1e-4])
"""Commands stay so far inside the arm's position limits (rad; gripper m): the controller stops the arm on what goes
beyond. A whole millimetre at the gripper would keep its closed fingers 2 mm apart, too far for the rim of a cup."""

VELOCITY_SHARE = 0.9
"""Commanded velocities stay within this part of the arm's limits: what it measures may overshoot, and its tolerance
on velocity is 0."""

REST = np.array([0.1] * (N_ARM - 1) + [0.02])
"""A joint slower than this is at rest (rad/s; gripper m/s)."""

OUTSIDE = np.array([0.05] * (N_ARM - 1) + [0.004])
"""A joint so far outside the range of commands is brought to its edge when the arm takes hold (rad; gripper m). An
arm that lies folded on its stops reads a little beyond zero."""


@dataclass(frozen=True, slots=True)
class ArmLimits:
    """What the controller enforces, one value per joint (rad, gripper m; rad/s, m/s)."""

    lower: Vector
    upper: Vector
    velocity: Vector

    @property
    def commands(self) -> tuple[Vector, Vector]:
        """The range that commands are kept in."""
        return self.lower + MARGIN, self.upper - MARGIN


def _at(joint: int) -> str:
    return ARM_JOINTS[joint]


def versions(arm: str, driver: str, firmware: str) -> Finding:
    """The driver speaks to firmware of its own major.minor only."""
    text = f"driver {driver}, firmware {firmware}"
    ours, theirs = (re.match(r"v?(\d+)\.(\d+)", version) for version in (driver, firmware))
    if ours is None or theirs is None:
        return Finding(Level.FAIL, f"{arm} versions", f"{text}: not versions", "check power and firmware of the arm")
    if ours.groups() == theirs.groups():
        return Finding(Level.OK, f"{arm} versions", text)
    wanted = ".".join(theirs.groups())
    return Finding(
        Level.FAIL,
        f"{arm} versions",
        f"{text}: major.minor must be equal",
        f"uv pip install 'trossen-arm=={wanted}.*', or bring the firmware to {'.'.join(ours.groups())}",
    )


def limits(arm: str, ours: Limits, theirs: ArmLimits) -> list[Finding]:
    """Ours must lie inside what the controller enforces, or it would stop the arm in the middle of a motion."""
    low, high = theirs.commands
    fastest = VELOCITY_SHARE * theirs.velocity
    edit = "correct it in the configuration: the arm stops on what goes beyond its own limits"
    found = []
    for what, values, bounds, sign in (
        ("lower", ours.lower, low, -1.0),
        ("upper", ours.upper, high, 1.0),
        ("velocity", ours.velocity, fastest, 1.0),
        ("brake.velocity", ours.brake.velocity, theirs.velocity, 1.0),
    ):
        for joint in map(int, np.flatnonzero(~(sign * np.array(values) <= sign * bounds))):
            side = "least" if sign < 0 else "most"
            text = f"robot.limits.{what} of {_at(joint)} = {values[joint]:g} must be at {side} {bounds[joint]:.6g}"
            found.append(Finding(Level.FAIL, f"{arm} limits", text, edit))
    return found or [Finding(Level.OK, f"{arm} limits", "ours lie inside those that the arm enforces")]


def at_rest(arm: str, qd: Vector) -> Finding:
    """A joint that moves while it is switched to position mode may be stopped hard by the controller."""
    share = np.abs(qd) / REST
    if (share < 1.0).all():
        worst = int(np.argmax(share))
        return Finding(Level.OK, f"{arm} rest", f"fastest: {_at(worst)} at {qd[worst]:.3f} (bound {REST[worst]:g})")
    worst = int(np.argmax(np.nan_to_num(share, nan=np.inf)))
    return Finding(
        Level.FAIL,
        f"{arm} rest",
        f"{_at(worst)} moves at {qd[worst]:.3f} (bound {REST[worst]:g})",
        "let the arm come to rest, then start again",
    )


def inside(arm: str, q: Vector, theirs: ArmLimits) -> Finding:
    """Where the joints are, against the range of commands."""
    low, high = theirs.commands
    beyond = np.maximum(low - q, q - high)
    if (beyond <= OUTSIDE).all():
        worst = int(np.argmax(beyond / OUTSIDE))
        edge = "inside" if beyond[worst] <= 0 else "at the edge of"
        return Finding(Level.OK, f"{arm} position", f"{edge} the range; nearest to its edge: {_at(worst)}")
    worst = int(np.argmax(np.nan_to_num(beyond / OUTSIDE, nan=np.inf)))
    return Finding(
        Level.FAIL,
        f"{arm} position",
        f"{_at(worst)} at {q[worst]:.4f} lies outside {low[worst]:.4f}..{high[worst]:.4f} "
        f"by more than {OUTSIDE[worst]:g}",
        "switch the arm off and bring the joint into its range by hand",
    )


def temperature(arm: str, celsius: Vector, warm_c: float) -> Finding:
    """The hottest joint against robot.trossen.warm_c. The controller has a bound of its own, and stops on it."""
    finite = np.isfinite(celsius)
    if not finite.all():
        joint = int(np.argmin(finite))
        text = f"{_at(joint)} says {celsius[joint]} °C (bound {warm_c:g})"
        return Finding(Level.WARN, f"{arm} temperature", text, "feel the joint, switch the arm off and on")
    worst = int(np.argmax(celsius))
    text = f"{_at(worst)} at {celsius[worst]:.0f} °C (bound {warm_c:g})"
    if celsius[worst] < warm_c:
        return Finding(Level.OK, f"{arm} temperature", text)
    return Finding(Level.WARN, f"{arm} temperature", text, "let the arm cool down; hold it stretched out less long")


def same_tool(arm: str, name: str, wanted: Sequence[float], reported: Sequence[float]) -> Finding:
    """The end effector that the controller compensates for is the configured one (masses kg, offsets m)."""
    if len(wanted) == len(reported) and np.allclose(wanted, reported, rtol=1e-3, atol=1e-6):
        return Finding(Level.OK, f"{arm} end effector", name)
    return Finding(
        Level.FAIL,
        f"{arm} end effector",
        f"the arm does not report the values of {name}: {list(reported)} for {list(wanted)}",
        "check robot.trossen.end_effector and the firmware's version",
    )


def failures(findings: Sequence[Finding]) -> str:
    """Every FAIL in one line; empty when there is none."""
    return "; ".join(f"{f.subject}: {f.text}; {f.next_step}" for f in findings if f.level is Level.FAIL)
