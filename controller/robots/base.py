"""What the motor process needs from a robot, whatever moves it: the one interface every adapter implements.

Only the motor process creates and calls a robot. None of these calls may move the arm, except `write`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

ARM_JOINTS = ("joint_0", "joint_1", "joint_2", "joint_3", "joint_4", "joint_5", "left_carriage_joint")
JOINT_NAMES: tuple[str, ...] = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ARM_JOINTS)
"""The order of every joint vector: 14 floats, radians, the two grippers (6 and 13) in metres."""

N_JOINTS = len(JOINT_NAMES)
GRIPPERS = (6, 13)


class RobotError(RuntimeError):
    """The robot or its driver refused or failed. The message names the value, the bound and the next step."""


@dataclass(slots=True)
class JointState:
    """One reading of all joints, in JOINT_NAMES order.

    t_ns: instant of the reading, CLOCK_MONOTONIC. q: rad, grippers m. qd: rad/s, m/s. effort: N m, N.
    external_effort: N m, N: what pushes against the joints from outside. temperature: degrees Celsius, of each joint's
    hottest part. The last three are nan where the driver does not say.
    """

    t_ns: int
    q: Vector
    qd: Vector
    effort: Vector
    external_effort: Vector = field(default_factory=lambda: np.full(N_JOINTS, np.nan))
    temperature: Vector = field(default_factory=lambda: np.full(N_JOINTS, np.nan))


class Robot(ABC):
    """A two-armed robot in position control."""

    failure = ""
    """Why a part of the robot no longer obeys; empty while all of it does. Its readings stay what they were last. The
    motor process brakes what still obeys, then ends."""

    between_ticks = True
    """Whether one more `write` between two ticks leaves time for the next; the first piece of a new plan is then
    commanded at once."""

    @abstractmethod
    def connect(self) -> JointState:
        """Open the robot, hold it where it is, and return a reading taken after the hold is active.

        Must not move anything: the hold's set-point is the measured position. Raises RobotError, and has let go then.
        """

    @abstractmethod
    def read(self, now_ns: int) -> JointState:
        """The newest joint state. Raises RobotError when the state is older than the adapter's bound."""

    @abstractmethod
    def write(self, now_ns: int, q: Vector, qd: Vector) -> None:
        """Command positions (rad, m) with feed-forward velocities (rad/s, m/s). Raises RobotError."""

    @abstractmethod
    def disconnect(self) -> None:
        """Leave the robot held where it is and close it. Must not move anything, must not raise."""
