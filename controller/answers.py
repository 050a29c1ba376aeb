"""Is what the policy server answered fit to be executed? Pure: decoded message in, checked actions out.

A chunk is taken whole or refused whole. Actions a hair outside the limits (a learned policy's noise) are
clamped; farther ones mean wrong units, wrong statistics or a wrong checkpoint, and nothing of them moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.config import Config
from controller.config_robot import FIRMWARE_VELOCITY, both_arms
from controller.layout import MAX_STEPS
from controller.robots.base import GRIPPERS, JOINT_NAMES, N_JOINTS, Vector
from controller.timeline import Actions

IMPOSSIBLE = 2.0
"""A step that asks for more than this many times the arm's top speed is no motion but a mistake."""


class AnswerError(ValueError):
    """The answer cannot be executed. The text names joint, action, value and bound."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Bounds of an acceptable chunk, one value per joint (rad, m)."""

    lower: Vector
    upper: Vector
    overshoot: Vector
    velocity: Vector

    @classmethod
    def of(cls, config: Config) -> Acceptance:
        limits = config.robot.limits
        velocity = IMPOSSIBLE * both_arms(FIRMWARE_VELOCITY)
        velocity[list(GRIPPERS)] = np.inf  # policies open and close grippers in one step; control shapes that
        return cls(both_arms(limits.lower), both_arms(limits.upper), both_arms(limits.overshoot), velocity)


def actions_from(answer: object, acceptance: Acceptance, rate_hz: float) -> Actions:
    """The answer's actions as (n, 14) float64 within the limits. Raises AnswerError."""
    if not isinstance(answer, dict) or "actions" not in answer:
        keys = ", ".join(map(str, answer)) if isinstance(answer, dict) else type(answer).__name__
        raise AnswerError(f"the answer has no 'actions': {keys[:120] or 'empty'}")
    actions = answer["actions"]
    if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "fiu":
        kind = getattr(actions, "dtype", type(actions).__name__)
        raise AnswerError(f"'actions' is {kind}, must be an array of numbers")
    if actions.ndim != 2 or actions.shape[1] != N_JOINTS or not 2 <= len(actions) <= MAX_STEPS:
        raise AnswerError(f"'actions' has shape {actions.shape}, must be (2..{MAX_STEPS}, {N_JOINTS})")
    actions = actions.astype(np.float64)
    if not np.isfinite(actions).all():
        step, joint = np.argwhere(~np.isfinite(actions))[0]
        raise AnswerError(f"action {step} of {JOINT_NAMES[joint]} is {actions[step, joint]}")
    _check_positions(actions, acceptance)
    _check_speeds(actions, acceptance, rate_hz)
    clamped: Actions = np.clip(actions, acceptance.lower, acceptance.upper)
    return clamped


def _check_positions(actions: Actions, acceptance: Acceptance) -> None:
    low, high = acceptance.lower - acceptance.overshoot, acceptance.upper + acceptance.overshoot
    outside = (actions < low) | (actions > high)
    if outside.any():
        step, joint = np.argwhere(outside)[0]
        raise AnswerError(
            f"action {step} of {JOINT_NAMES[joint]} = {actions[step, joint]:.4f} lies outside "
            f"{acceptance.lower[joint]:.4f}..{acceptance.upper[joint]:.4f} by more than "
            f"{acceptance.overshoot[joint]:.4f}"
        )


def _check_speeds(actions: Actions, acceptance: Acceptance, rate_hz: float) -> None:
    speed = np.abs(np.diff(actions, axis=0)) * rate_hz
    if (speed > acceptance.velocity).any():
        step, joint = np.argwhere(speed > acceptance.velocity)[0]
        raise AnswerError(
            f"{JOINT_NAMES[joint]} moves at {speed[step, joint]:.2f} rad/s from action {step} to {step + 1} "
            f"(bound {acceptance.velocity[joint]:.2f})"
        )
