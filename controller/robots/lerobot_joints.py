"""A LeRobot robot's features and our joint vector: matched by name, never by position; units converted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from controller.config_lerobot import Units
from controller.robots.base import GRIPPERS, JOINT_NAMES, N_JOINTS, Vector

POSITION, VELOCITY, EFFORT, EXTERNAL = ".pos", ".vel", ".eff", ".ext_eff"

ARM_FACTOR = {"rad": 1.0, "deg": np.pi / 180.0}
GRIPPER_FACTOR = {"m": 1.0, "mm": 1e-3}

OUTSIDE = 0.4, 0.005
"""rad, m: a joint that reads farther outside its limits is not where it says, or its unit is another one."""


class Mismatch(ValueError):
    """The robot's features are not our joints. The message names what is missing or too much."""


class JointMap:
    """Translates one robot's observations and actions.

    names: our joint -> its feature, where that is not `<joint>.pos`. observation, action: the robot's features, name ->
    `float` or a picture's shape. efforts: whether its efforts are believed to be N m and N. Raises Mismatch.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        units: Units,
        observation: Mapping[str, Any],
        action: Mapping[str, Any],
        *,
        efforts: bool = False,
    ) -> None:
        self.positions = tuple(names.get(joint, joint + POSITION) for joint in JOINT_NAMES)
        _check(self.positions, observation, action)
        self._factor = np.full(N_JOINTS, ARM_FACTOR[units.arm])
        self._factor[list(GRIPPERS)] = GRIPPER_FACTOR[units.gripper]
        self._velocities = self._companions(VELOCITY, observation)
        self._efforts = self._companions(EFFORT, observation) if efforts else ()
        self._externals = self._companions(EXTERNAL, observation) if efforts else ()

    def _companions(self, suffix: str, observation: Mapping[str, Any]) -> tuple[str, ...]:
        """The features beside the positions; none unless every joint has one."""
        names = tuple(name.removesuffix(POSITION) + suffix for name in self.positions)
        return names if all(observation.get(name) is float for name in names) else ()

    def q(self, observation: Mapping[str, Any]) -> Vector:
        """Positions, rad and m. Raises KeyError."""
        q: Vector = _vector(observation, self.positions) * self._factor
        return q

    def qd(self, observation: Mapping[str, Any]) -> Vector | None:
        """Velocities, rad/s and m/s; None when the robot does not tell them."""
        return _vector(observation, self._velocities) * self._factor if self._velocities else None

    def effort(self, observation: Mapping[str, Any]) -> Vector:
        """N m, N; nan when the robot does not tell them."""
        return _vector(observation, self._efforts) if self._efforts else np.full(N_JOINTS, np.nan)

    def external_effort(self, observation: Mapping[str, Any]) -> Vector:
        """N m, N; nan when the robot does not tell them."""
        return _vector(observation, self._externals) if self._externals else np.full(N_JOINTS, np.nan)

    def action(self, q: Vector) -> dict[str, float]:
        """What `send_action` takes."""
        return dict(zip(self.positions, (q / self._factor).tolist(), strict=True))


def _vector(observation: Mapping[str, Any], names: Iterable[str]) -> Vector:
    return np.array([float(observation[name]) for name in names])


def _check(wanted: tuple[str, ...], observation: Mapping[str, Any], action: Mapping[str, Any]) -> None:
    for joint, name in zip(JOINT_NAMES, wanted, strict=True):
        for what, features in (("observation", observation), ("action", action)):
            if features.get(name) is not float:
                has = f"is {features[name]!r}, not a number" if name in features else "is not there"
                raise Mismatch(
                    f"{joint}: {what} feature {name!r} {has}; the robot has {', '.join(features)}. "
                    "Name the right one in robot.lerobot.names"
                )
    if len(set(wanted)) < N_JOINTS:
        twice = sorted(name for name in set(wanted) if wanted.count(name) > 1)
        raise Mismatch(f"robot.lerobot.names gives {', '.join(twice)} to more than one joint")
    if extra := [name for name in action if name not in wanted]:
        raise Mismatch(f"the robot also wants {', '.join(extra)} in each action, which is no joint of this kit")
    if pictures := [name for name, kind in observation.items() if kind is not float]:
        raise Mismatch(
            f"each observation would wait for {', '.join(pictures)}; take cameras out of the robot's configuration "
            "and into [cameras]"
        )


def implausible(q: Vector, lower: Vector, upper: Vector) -> str:
    """The first joint that reads far outside of its limits, as one in the wrong unit would; empty when none does."""
    margin = np.full(N_JOINTS, OUTSIDE[0])
    margin[list(GRIPPERS)] = OUTSIDE[1]
    beyond = (q < lower - margin) | (q > upper + margin)
    if not beyond.any():
        return ""
    worst = int(np.argmax(beyond))
    return (
        f"{JOINT_NAMES[worst]} reads {q[worst]:.3f}, outside {lower[worst]:.3f}..{upper[worst]:.3f}: "
        "is its unit another one (robot.lerobot.units), or is it another joint (robot.lerobot.names)?"
    )
