"""What is odd about a checkpoint's statistics: signs that they belong to another robot, unit or kind of action.

Told by `inspect`, `norm-stats` and `serve`. Pure: statistics in, warnings out. A warning is no error: the statistics
are what the model was trained with, and only their owner can tell. The robot is a WidowX AI on each side, in rad and m.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from policy_server.config import PolicyConfig
from policy_server.statistics import NormStats, Statistics

Vector = NDArray[np.float64]

JOINTS = tuple(
    f"{arm} {joint}" for arm in ("left", "right") for joint in (*(f"joint_{i}" for i in range(6)), "gripper")
)
"""The fourteen values of a state or an action."""

DIM = len(JOINTS)

LOWER = np.tile((-3.054, 0.0, 0.0, -1.571, -1.571, -3.142, 0.0), 2)
UPPER = np.tile((3.054, 3.142, 2.356, 1.571, 1.571, 3.142, 0.044), 2)
"""Where a WidowX AI can be: rad, gripper m."""

MARGIN = np.tile((*[0.1] * 6, 0.004), 2)
"""What calibration may add to that."""

GRIPPERS = np.array([name.endswith("gripper") for name in JOINTS])
ARMS = ~GRIPPERS

STILL = np.where(ARMS, 1e-3, 1e-4)
"""A smaller deviation, rad or m, means that the joint did not move in the data."""

SHUT = -0.9
"""What adapt_to_pi makes of a gripper that never opens by more than a twentieth: of metres, read as shares."""

FULL_TURN = 2 * math.pi

NORMAL_99 = 2.326
"""Deviations from a normal distribution's mean to its 99th percentile, where a file has no quantiles."""


def spans(statistics: Statistics) -> tuple[Vector, Vector]:
    """Where 98 % of the values lie, low and high (14,); from mean and std where the file has no quantiles."""
    if statistics.q01 is not None and statistics.q99 is not None:
        return statistics.q01[:DIM], statistics.q99[:DIM]
    mean, reach = statistics.mean[:DIM], NORMAL_99 * statistics.std[:DIM]
    return mean - reach, mean + reach


def review_for(config: PolicyConfig, stats: NormStats) -> list[str]:
    """Warnings about statistics that `config` is to be served with."""
    data = config.data
    return review(
        stats, quantiles=config.use_quantiles, adapt_to_pi=data.adapt_to_pi, delta=data.use_delta_joint_actions
    )


def review(stats: NormStats, *, quantiles: bool, adapt_to_pi: bool, delta: bool) -> list[str]:
    """Warnings, one sentence each.

    quantiles: the model is normalised by q01 and q99 (π0.5). adapt_to_pi, delta: what the config does to the data
    before training, so that its statistics are in π0's convention, or those of the actions are offsets.
    """
    warnings: list[str] = []
    for name, part in (("state", stats.state), ("actions", stats.actions)):
        low, high = spans(part)
        offsets = delta and name == "actions"
        warnings += _normalisation(name, part, quantiles)
        units = list(_units(name, low, high, adapt_to_pi))
        if not units and not adapt_to_pi and not offsets:  # in other units, every number is out of range
            units = list(_another_robot(name, low, high))
        warnings += units
    return warnings + list(_kind_of_action(stats, delta))


def _normalisation(name: str, part: Statistics, quantiles: bool) -> Iterator[str]:
    if (still := part.std[:DIM] < STILL).any():
        yield (
            f"{name}: {_named(still)} did not move in the data (std below {STILL[0]:g} rad, {STILL[6]:g} m); "
            "a small difference on the robot looks huge to the model"
        )
    if quantiles and part.q01 is not None and part.q99 is not None:
        flat = (part.q99[:DIM] - part.q01[:DIM] < STILL) & ~still
        if flat.any():
            yield f"{name}: q01 equals q99 for {_named(flat)}, so what it does in the rest of the data is blown up"


def _units(name: str, low: Vector, high: Vector, adapt_to_pi: bool) -> Iterator[str]:
    reach = np.maximum(np.abs(low), np.abs(high))
    if (turned := ARMS & (reach > FULL_TURN)).any():
        worst = int(np.argmax(np.where(turned, reach, 0)))
        yield (
            f"{name}: {_named(turned)} spans more than a full turn ({JOINTS[worst]} {low[worst]:.1f} to "
            f"{high[worst]:.1f}): degrees or motor steps rather than radians"
        )
    if adapt_to_pi:
        narrow = GRIPPERS & ((reach < 0.1) | (high < SHUT))
        if narrow.any():
            yield (
                f"{name}: {_named(narrow)} spans {low[narrow].min():.3f} to {high[narrow].max():.3f}: metres, but the "
                "config has adapt_to_pi = true, which reads shares of 0 to 1 and makes them angles of about -1 to 1"
            )
        return
    if (wide := GRIPPERS & (reach > 2.0)).any():
        yield (
            f"{name}: {_named(wide)} reaches {reach[wide].max():.1f}: millimetres or degrees; "
            f"a WidowX AI's gripper opens 0 to {UPPER[6]:g} m"
        )
    elif (wide := GRIPPERS & (reach > 0.2)).any():
        yield (
            f"{name}: {_named(wide)} spans {low[wide].min():.2f} to {high[wide].max():.2f}: a share or an angle, from "
            f"another robot; a WidowX AI's gripper opens 0 to {UPPER[6]:g} m"
        )


def _another_robot(name: str, low: Vector, high: Vector) -> Iterator[str]:
    out = (low < LOWER - MARGIN) | (high > UPPER + MARGIN)
    if out.any():
        beyond = np.maximum(LOWER - low, high - UPPER) / MARGIN
        worst = int(np.argmax(beyond))
        yield (
            f"{name}: {_named(out)} goes where a WidowX AI cannot ({JOINTS[worst]} {low[worst]:.3f} to "
            f"{high[worst]:.3f}, possible {LOWER[worst]:g} to {UPPER[worst]:g}): statistics of another robot"
        )


def _kind_of_action(stats: NormStats, delta: bool) -> Iterator[str]:
    state, action = stats.state.mean[:DIM][ARMS], stats.actions.mean[:DIM][ARMS]
    away = np.abs(state) > 0.3  # joints that tell: at rest they are not near zero
    if not away.any():
        return
    share = float(np.median(action[away] / state[away]))
    if not delta and abs(share) < 0.2:
        yield (
            "actions: their mean is near 0 where the state's is not: they look like offsets from the state, "
            "but the config has use_delta_joint_actions = false"
        )
    if delta and share > 0.6:
        yield (
            "actions: their mean is the state's: they look absolute, but the config has use_delta_joint_actions = true"
        )


def _named(which: NDArray[np.bool_]) -> str:
    names = [name for name, chosen in zip(JOINTS, which, strict=True) if chosen]
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
