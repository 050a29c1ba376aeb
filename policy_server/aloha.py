"""The two conventions for two arms of six joints and a gripper: the robot's, and that of π0's pretraining data.

Pure functions, used by the policy server with `adapt_to_pi` and by `norm-stats`. They turn the signs of four joints
around and change the gripper's unit; all numbers are those of openpi. Kits whose data were recorded as they are, such
as Trossen's, are served with `adapt_to_pi = false` and need none of this.

Arrays have 14 elements along the last axis (joints in rad, left arm first) and come back as new float64 arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRIPPERS = (6, 13)

JOINTS = np.array([index not in GRIPPERS for index in range(14)])
"""Which elements are joints: those that delta actions count from the state."""

_SIGNS = np.array([1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0] * 2)

# The state's gripper: 0 = closed, 1 = open, linear in the fingers' opening.
_CLOSED_M, _OPEN_M = 0.01844, 0.05800
_HORN_M, _ROD_M = 0.022, 0.036
"""The crank that moves a finger, and the rod between the two."""

# π0's gripper: 0 and 1 are these angles of the crank.
_PI_ZERO_RAD, _PI_ONE_RAD = 0.5476, 1.6296

# The gripper that a command names: 0 and 1 are these angles.
_COMMAND_ZERO_RAD, _COMMAND_ONE_RAD = -0.6213, 1.4910


def decode_state(state: NDArray[Any]) -> Array:
    """π0's convention of a robot's `state` (..., 14). A gripper far beyond its range is read as a quarter turn."""
    result: Array = _SIGNS * state
    grippers = result[..., GRIPPERS]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        opening_m = grippers * (_OPEN_M - _CLOSED_M) + _CLOSED_M
        sine = (_HORN_M**2 + opening_m**2 - _ROD_M**2) / (2 * _HORN_M * opening_m)
    angle_rad = np.arcsin(np.clip(sine, -1.0, 1.0))
    result[..., GRIPPERS] = (angle_rad - _PI_ZERO_RAD) / (_PI_ONE_RAD - _PI_ZERO_RAD)
    return result


def encode_actions(actions: NDArray[Any]) -> Array:
    """The robot's convention of π0's `actions` (..., 14)."""
    result: Array = _SIGNS * actions
    angle_rad = result[..., GRIPPERS] + _PI_ZERO_RAD
    result[..., GRIPPERS] = (angle_rad - _COMMAND_ZERO_RAD) / (_COMMAND_ONE_RAD - _COMMAND_ZERO_RAD)
    return result


def encode_actions_inverse(actions: NDArray[Any]) -> Array:
    """π0's convention of the robot's `actions` (..., 14): the inverse of `encode_actions`."""
    result: Array = _SIGNS * actions
    angle_rad = result[..., GRIPPERS] * (_COMMAND_ONE_RAD - _COMMAND_ZERO_RAD) + _COMMAND_ZERO_RAD
    result[..., GRIPPERS] = angle_rad - _PI_ZERO_RAD
    return result
