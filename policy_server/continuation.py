"""What is left of a client's last chunk, and how a new chunk continues it (`rtc` in an observation). Pure.

Used by the model's guidance and by policies that need no model. Row 0 of the rest is the step that row 0 of the new
chunk replaces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from reprlib import repr as brief
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server.policy import ObservationError
from policy_server.protocol import RTC

Matrix = NDArray[np.float64]


def soft_mask(horizon: int, num_left: int, delay_steps: int) -> NDArray[np.float32]:
    """The importance of each step, (horizon,), when the old chunk has `num_left` steps left.

    The first `delay_steps` will have been executed when the new chunk is ready: 1. From there to the old chunk's end
    it decays as (e^c - 1) · c / (e - 1), c falling linearly; beyond, 0.
    """
    importance = np.zeros(horizon, np.float32)
    frozen = min(delay_steps, num_left)
    importance[:frozen] = 1.0
    for i in range(frozen, num_left):
        c = (num_left - i) / (num_left - frozen + 1)
        importance[i] = c * math.expm1(c) / math.expm1(1.0)
    return importance


def read_rest(observation: Mapping[str, Any], horizon: int, n_joints: int) -> tuple[Any, int] | None:
    """`rtc` of an observation: its actions, not looked at yet, and its delay_steps; None without. Raises
    ObservationError."""
    rest = observation.get(RTC)
    if rest is None:
        return None
    if not isinstance(rest, Mapping) or rest.keys() != {"actions", "delay_steps"}:
        raise ObservationError(f"{RTC!r} must be a map of 'actions' (steps, {n_joints}) and 'delay_steps'")
    delay_steps = rest["delay_steps"]
    if type(delay_steps) is bool or not isinstance(delay_steps, int | np.integer):
        raise ObservationError(f"'rtc.delay_steps' is {brief(delay_steps)}, send a whole number in 0..{horizon}")
    if not 0 <= delay_steps <= horizon:
        raise ObservationError(f"'rtc.delay_steps' is {delay_steps}, send a whole number in 0..{horizon}")
    return rest["actions"], int(delay_steps)


def check_length(left: NDArray[Any], horizon: int) -> None:
    """Raises ObservationError for a rest that is empty or longer than a chunk."""
    if not 1 <= len(left) <= horizon:
        raise ObservationError(f"'rtc.actions' has {len(left)} steps, send what is left of an answer: 1..{horizon}")


def read_plain_rest(observation: Mapping[str, Any], horizon: int, n_joints: int) -> tuple[Matrix, int] | None:
    """`rtc` of an observation for a policy that works in the units of answers. Raises ObservationError."""
    rest = read_rest(observation, horizon, n_joints)
    if rest is None:
        return None
    try:
        left = np.array(rest[0], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ObservationError(f"'rtc.actions' must be (steps, {n_joints}) numbers: {error}") from error
    if left.ndim != 2 or left.shape[1] != n_joints:
        raise ObservationError(f"'rtc.actions' has shape {left.shape}, send (steps, {n_joints}), as in an answer")
    check_length(left, horizon)
    if not np.isfinite(left).all():
        step, joint = np.argwhere(~np.isfinite(left))[0]
        raise ObservationError(f"'rtc.actions' holds {left[step, joint]} at step {step}, joint {joint}")
    return left, rest[1]


def continued(actions: Matrix, left: Matrix, delay_steps: int) -> Matrix:
    """`actions` (horizon, joints) that begin as `left` (k, joints) and leave it little by little, as the mask says."""
    weight = soft_mask(len(actions), len(left), delay_steps).astype(np.float64)[: len(left), None]
    begun: Matrix = actions.copy()
    begun[: len(left)] += weight * (left - actions[: len(left)])
    begun[: min(delay_steps, len(left))] = left[:delay_steps]  # to the bit
    return begun
