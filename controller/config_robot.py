"""The configuration of the robot: which one, what it may do, and the poses that we drive to. Pure."""

from __future__ import annotations

import math
from ipaddress import IPv4Address
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from controller.config_lerobot import SIMULATED, LerobotRobot
from controller.config_section import Arm, Positive, PositiveArm, Section, Text
from controller.hermite import STEEPER
from controller.robots.base import ARM_JOINTS, Vector

# The firmware's own limits of a WidowX AI (rad, m; rad/s, m/s): ours must lie inside them.
FIRMWARE_LOWER = (-math.pi, 0.0, 0.0, -math.pi / 2, -math.pi / 2, -math.pi, 0.0)
FIRMWARE_UPPER = (math.pi, math.pi, 0.75 * math.pi, math.pi / 2, math.pi / 2, math.pi, 0.044)
FIRMWARE_VELOCITY = (2 * math.pi, 2 * math.pi, 2 * math.pi, 3 * math.pi, 3 * math.pi, 3 * math.pi, 0.25)


def both_arms(values: tuple[float, ...]) -> Vector:
    """Seven values of one arm -> the fourteen of both."""
    return np.array(values + values, dtype=np.float64)


def _inside(name: str, values: tuple[float, ...], lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
    for joint, value, low, high in zip(ARM_JOINTS, values, lower, upper, strict=True):
        if not low <= value <= high:
            raise ValueError(f"{name} of {joint} = {value} lies outside {low:.4f}..{high:.4f}")


class MoveLimits(Section):
    """Velocity, acceleration and jerk of a move that we generate ourselves."""

    velocity: PositiveArm
    """rad/s, m/s."""
    acceleration: PositiveArm
    """rad/s2, m/s2. Of homing and ramp at most two thirds of robot.limits.acceleration: a piece of them takes more."""
    jerk: PositiveArm
    """rad/s3, m/s3."""

    def within(self, name: str, limits: Limits) -> None:
        """Raises ValueError where pieces of the move would be beyond the robot's own limits."""
        _inside(f"{name}.velocity", self.velocity, (0.0,) * 7, limits.velocity)
        _inside(f"{name}.acceleration", self.acceleration, (0.0,) * 7, tuple(a / STEEPER for a in limits.acceleration))


class Limits(Section):
    """What no command may exceed: control shapes motion to fit, the motor process refuses what does not."""

    lower: Arm
    """Least position; within the firmware's own, as `upper` and `velocity` are."""
    upper: Arm
    """Largest position."""
    velocity: PositiveArm
    """rad/s, m/s."""
    acceleration: PositiveArm
    """rad/s2, m/s2."""
    tracking: PositiveArm
    """Largest distance between command and measurement."""
    overshoot: PositiveArm
    """An action this far outside lower..upper is clamped to it; farther, and its whole chunk is refused."""
    contact: PositiveArm | None = None
    """Largest external effort (N m, grippers N) while moving, of drivers that report it; none: not watched."""
    contact_s: Positive = 0.03
    """How long it must be exceeded."""
    brake: MoveLimits
    """Velocity, acceleration and jerk of a stop: above those of motion, so that what moves at them can be braked."""

    @model_validator(mode="after")
    def _ordered(self) -> Limits:
        for joint, low, high in zip(ARM_JOINTS, self.lower, self.upper, strict=True):
            if low >= high:
                raise ValueError(f"limits of {joint} are reversed: lower {low} >= upper {high}")
        _inside("lower", self.lower, FIRMWARE_LOWER, FIRMWARE_UPPER)
        _inside("upper", self.upper, FIRMWARE_LOWER, FIRMWARE_UPPER)
        _inside("velocity", self.velocity, (0.0,) * 7, FIRMWARE_VELOCITY)
        for name in ("velocity", "acceleration"):
            least, most = getattr(self, name), (math.inf,) * 7
            _inside(f"brake.{name}", getattr(self.brake, name), least, most)
        return self

    def longest_stop_s(self) -> float:
        """Time in which every joint comes to rest from its top speed."""
        brake = self.brake
        joints = zip(self.velocity, brake.acceleration, brake.jerk, strict=True)
        return max(v / a + a / j if v * j > a * a else 2.0 * math.sqrt(v / j) for v, a, j in joints)


class Homing(MoveLimits):
    """The jerk-limited move to the home pose."""

    pose: Arm
    """The home pose."""
    tolerance: PositiveArm
    """Measured joints this near the pose count as arrived."""
    settle_s: Positive = 3.0
    """Time after the end of the move within which the joints must arrive."""


class Trossen(Section):
    """robot.kind = "trossen": the arms' own settings."""

    model: Literal["wxai_v0"] = "wxai_v0"
    """As the driver's Model names it."""
    end_effector: Text = "wxai_v0_follower"
    """As the driver's StandardEndEffector names it; the controller compensates for its weight."""
    connect_timeout_s: Annotated[float, Field(ge=0.1, le=20)] = 10.0
    """For both arms at once. An arm that has just been switched on takes some seconds."""
    stale_s: Annotated[float, Field(ge=0.02, le=0.5)] = 0.05
    """An arm that has said nothing new for so long is given up, and both are braked."""
    warm_c: Annotated[float, Field(ge=30, le=120)] = 65.0
    """A joint this hot is told in the log and in `pi0ctl status`; the controller has a bound of its own."""


class Robot(Section):
    """Which robot, what it may do, and the poses that it is driven to."""

    kind: Literal["sim", "trossen", "lerobot"]
    """The simulated kit, two WidowX AI by their vendor's driver, or a robot that LeRobot drives."""
    rate_hz: Annotated[float, Field(ge=50, le=1000)] = 200.0
    """Commands per second to the driver; at least control.rate_hz."""
    limits: Limits
    homing: Homing
    park: Arm | None = None
    """Pose to drive to at an ordered shutdown from a homed idle; none: hold where the arms are."""
    seed: Annotated[int, Field(ge=0)] = 0
    """sim: the layout of lighter and cup."""
    velocity_feedforward: bool = True
    """Hand the driver the velocity of each command too, where it takes one."""
    left_ip: Text | None = None
    """trossen: address of the arm that is on the left as seen from the operator's camera post."""
    right_ip: Text | None = None
    """trossen: that of the other."""
    trossen: Trossen = Trossen()
    lerobot: LerobotRobot | None = None

    @model_validator(mode="after")
    def _poses(self) -> Robot:
        _inside("homing.pose", self.homing.pose, self.limits.lower, self.limits.upper)
        self.homing.within("homing", self.limits)
        if self.park is not None:
            _inside("park", self.park, self.limits.lower, self.limits.upper)
        if self.kind == "trossen":
            self._addresses()
        if self.kind == "lerobot" and self.lerobot is None:
            raise ValueError("kind = 'lerobot' needs a table [robot.lerobot] with type and config")
        if self.lerobot is not None and self.kind != "lerobot":
            raise ValueError(f"[robot.lerobot] is a matter of kind = 'lerobot', not of {self.kind!r}")
        return self

    def _addresses(self) -> None:
        if not (self.left_ip and self.right_ip):
            raise ValueError("kind = 'trossen' needs left_ip and right_ip")
        for name, address in (("left_ip", self.left_ip), ("right_ip", self.right_ip)):
            try:
                IPv4Address(address)
            except ValueError:
                raise ValueError(f"{name} = {address!r} is no IPv4 address, like 192.168.1.5") from None
        if self.left_ip == self.right_ip:
            raise ValueError(f"left_ip and right_ip are both {self.left_ip!r}; each arm has its own address")

    @property
    def is_simulated(self) -> bool:
        """Whether this robot publishes a world that simulated cameras can show."""
        return self.kind == "sim" or (self.lerobot is not None and self.lerobot.type == SIMULATED)
