"""What the numbers say about each step of a bring-up: was the jog what was asked for, how far would a run go. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controller.jog import Jog
from controller.robots.base import GRIPPERS, JOINT_NAMES, N_JOINTS, Vector

JOG_RAD, JOG_M = np.deg2rad(5.0), 0.005

PART = 0.3
"""A jog counts as done when the reading moved by what was asked for, less or more this part of it."""

STILL = np.array([0.002 if joint in GRIPPERS else 0.02 for joint in range(N_JOINTS)])
"""The other joints' readings stay within this (rad, m)."""


def jogs(q: Vector, lower: Vector, upper: Vector) -> list[Jog]:
    """One for each joint, upwards where its limits leave room for that, else downwards."""
    size = np.array([JOG_M if joint in GRIPPERS else JOG_RAD for joint in range(N_JOINTS)])
    sign = np.where(q + size <= upper, 1.0, -1.0)
    return [Jog(name, float(by)) for name, by in zip(JOINT_NAMES, sign * size, strict=True)]


def wrong_with(jog: Jog, before: Vector, after: Vector) -> str:
    """Why the readings do not show this jog; empty when they do."""
    moved = after - before
    if not np.isfinite(moved).all():
        return "a joint reading is no number"
    own = moved[jog.index]
    if abs(own - jog.by) > PART * abs(jog.by):
        bound = PART * abs(jog.by)
        asked = f"asked for was {told(jog.index, jog.by)} (bound {told(jog.index, bound)} off)"
        return f"{jog.joint} moved by {told(jog.index, own)}, {asked}"
    others = np.abs(moved) / STILL
    others[jog.index] = 0.0
    worst = int(np.argmax(others))
    if others[worst] > 1.0:
        by, bound = told(worst, moved[worst]), float(STILL[worst])
        return (
            f"{JOINT_NAMES[worst]} moved too, by {by} (bound {told(worst, bound)}): "
            "are the arms' addresses or cables swapped?"
        )
    return ""


def told(joint: int, value: float) -> str:
    """A position or distance as people think of it."""
    return f"{1e3 * value:.1f} mm" if joint in GRIPPERS else f"{np.rad2deg(value):.1f} deg"


def farthest(q: Vector, planned: Sequence[Vector]) -> Vector:
    """Of each joint, the planned position farthest from q."""
    path: NDArray[np.float64] = np.array(planned)
    rows = np.argmax(np.abs(path - q), axis=0)
    found: Vector = path[rows, np.arange(N_JOINTS)]
    return found
