"""Judges the commands of every motor tick: limits, steps, when braking began, when all was at rest. Pure.

Commands are compared with what the motor process claims of them. Where it did not run for longer than Gate.stall_ns,
there is nothing between two commands that could be judged: it must go on at rest where it was, or, begun anew, where
the arms are.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from controller.config import Config
from controller.config_robot import Limits, both_arms
from controller.follower import SHORTEST_S, Mode
from controller.limits import Violation, violations
from controller.recording import Rows
from controller.robots.base import JOINT_NAMES
from controller.settings import gate

SLACK = 1.02
"""As of the motor process's gate."""

HAIR = 1e-6
"""rad, m; rounding."""

RESUMED = 0.01
"""A motor process begun anew holds what it measures: the first command may differ by so much from the reading."""


def stretches(rows: Rows, gap_ns: int) -> list[Rows]:
    """Pieces without a gap longer than this."""
    cuts = np.flatnonzero(np.diff(rows["t_command_ns"]) > gap_ns) + 1
    return [piece for piece in np.split(rows, cuts) if len(piece)]


def beyond_limits(rows: Rows, config: Config) -> list[Violation]:
    """As `controller.limits` finds them in each stretch."""
    return [
        found for piece in stretches(rows, gate(config).stall_ns) for found in violations(piece, config.robot.limits)
    ]


def steps(rows: Rows, config: Config) -> list[Violation]:
    """Every discontinuity: a change of position or velocity that the commands before and after do not explain."""
    pieces = stretches(rows, gate(config).stall_ns)
    found = [step for piece in pieces for step in _within(piece, config.robot.limits)]
    for before, after in pairwise(pieces):
        found += _across(before[-1], after[0])
    return found


def _within(rows: Rows, limits: Limits) -> list[Violation]:
    """What velocity and acceleration at both ends allow in between bounds each step."""
    t_ns = rows["t_command_ns"]
    dt_s = np.diff(t_ns)[:, None] * 1e-9
    braking = (rows["mode"][1:] == Mode.BRAKE) | (rows["mode"][:-1] == Mode.BRAKE)
    follow, brake = both_arms(limits.acceleration), both_arms(limits.brake.acceleration)
    acceleration = SLACK * np.where(braking[:, None], np.maximum(follow, brake), follow)
    speed = np.abs(rows["qd_command"])
    moved = np.abs(np.diff(rows["q_command"], axis=0))
    allowed = np.maximum(speed[1:], speed[:-1]) * dt_s + 0.25 * acceleration * dt_s**2 + HAIR
    changed = np.abs(np.diff(rows["qd_command"], axis=0))
    allowed_change = acceleration * np.maximum(dt_s, SHORTEST_S) + HAIR
    return _found("position", t_ns[1:], moved, allowed) + _found("velocity", t_ns[1:], changed, allowed_change)


def _across(before: np.void, after: np.void) -> list[Violation]:
    """Over a gap: at rest, and where it was or where the arms are."""
    t_ns = np.array([after["t_command_ns"]])
    off = np.minimum(np.abs(after["q_command"] - before["q_command"]), np.abs(after["q_command"] - after["q"]))
    return _found("position after a gap", t_ns, off[None], np.full((1, len(off)), RESUMED)) + _found(
        "velocity after a gap", t_ns, np.abs(after["qd_command"])[None], np.full((1, len(off)), HAIR)
    )


def _found(what: str, t_ns: np.ndarray, values: np.ndarray, bounds: np.ndarray) -> list[Violation]:
    return [
        Violation(what, JOINT_NAMES[j], int(t_ns[i]), float(values[i, j]), float(bounds[i, j]))
        for i, j in np.argwhere(~(values <= bounds))
    ]


def moves(rows: Rows, t_since_ns: int) -> list[Violation]:
    """Every joint whose command changed since then: none does in a dry run."""
    after = rows[rows["t_command_ns"] >= t_since_ns]
    if not len(after):
        return []
    span = np.ptp(after["q_command"], axis=0)[None]
    return _found("moved in a dry run", after["t_command_ns"][:1], span, np.zeros_like(span))


def longest_gap_s(rows: Rows) -> float:
    """Between two motor ticks."""
    return float(np.diff(rows["t_command_ns"]).max(initial=0)) * 1e-9


def braking(rows: Rows, t_cause_ns: int) -> tuple[float, float] | None:
    """Seconds from the cause to the first command that does not follow, and from there to rest.

    None if the arms did not follow then, or were not yet at rest when the rows end.
    """
    followed = rows[rows["t_command_ns"] <= t_cause_ns]
    after = rows[rows["t_command_ns"] > t_cause_ns]
    if not len(followed) or followed["mode"][-1] != Mode.FOLLOW:
        return None
    ended, resting = after["mode"] != Mode.FOLLOW, after["mode"] == Mode.HOLD
    if not resting.any():
        return None
    t_brake_ns = int(after["t_command_ns"][int(np.argmax(ended))])
    t_rest_ns = int(after["t_command_ns"][int(np.argmax(resting))])
    return (t_brake_ns - t_cause_ns) * 1e-9, (t_rest_ns - t_brake_ns) * 1e-9
