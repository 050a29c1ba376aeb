"""The vendor's driver of one arm: the calls that we make, their results as plain values, their errors as RobotError.

The only file that imports `trossen_arm`. What an object of ours calls, it calls from one thread alone: the driver is
not made for more (a cleanup beside a configure crashes the process). Nothing here moves an arm but `set_positions`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from controller.config_robot import Trossen
from controller.extras import get
from controller.robots.base import RobotError, Vector
from controller.robots.trossen_checks import N_ARM, ArmLimits
from controller.robots.trossen_errors import explain

IDENTIFY_S = 0.5
"""How long an arm may take to say who it is; an arm that answers does so in milliseconds."""

FAILURES = (RuntimeError, AssertionError, ValueError, IndexError)
"""What the driver raises: its LogicError is an AssertionError. Anything else is a mistake of ours."""

log = logging.getLogger(__name__)


def load() -> Any:
    """The vendor's package. Raises RobotError."""
    try:
        import trossen_arm
    except ImportError as error:
        raise RobotError(f"the arms' driver cannot be imported ({error}): {get('trossen')}") from error
    return trossen_arm


@dataclass(frozen=True, slots=True)
class Identity:
    """What an arm says of itself to somebody who has not taken it."""

    model: str
    firmware: str
    error: int


@dataclass(frozen=True, slots=True)
class Output:
    """One state of one arm. number and stamp_us: the controller's own, since it was taken."""

    number: int
    stamp_us: int
    q: Vector
    qd: Vector
    effort: Vector
    external_effort: Vector
    temperature: Vector
    """degrees Celsius, of the hotter of rotor and electronics."""


class ArmDriver:
    """One arm's driver. Every method may raise RobotError, with what to do."""

    def __init__(self, sdk: Any, arm: str, address: str, config: Trossen) -> None:
        """sdk: the vendor's package. arm: its name in messages, "left arm"."""
        self.arm = f"{arm} ({address})"
        self._sdk, self._address, self._config = sdk, address, config
        self._driver = sdk.TrossenArmDriver()
        self._vector = sdk.VectorDouble
        self._information = {int(state): words for state, words in sdk.ERROR_INFORMATION.items()}

    def identify(self) -> Identity | None:
        """Model, firmware and error of the arm, without taking it; None when it does not say."""
        timeout_s = min(IDENTIFY_S, self._config.connect_timeout_s)
        subnet, _, host = self._address.rpartition(".")
        found = self._call(self._sdk.TrossenArmDriver.discover, subnet, int(host), int(host), timeout_s)
        if not found:
            return None
        return Identity(self._sdk.MODEL_NAME[found[0].model], found[0].firmware_version, int(found[0].error_state))

    def package_version(self) -> str:
        """Of the installed driver; the driver itself knows it only once it is connected."""
        try:
            return version("trossen-arm")
        except PackageNotFoundError:
            return "unknown"

    def take(self) -> None:
        """Connect and take the arm, braked as it is. An arm that is in error stays so and is refused."""
        tools, name = self._sdk.StandardEndEffector, self._config.end_effector
        tool = getattr(tools, name, None)
        if not isinstance(tool, self._sdk.EndEffector):
            known = ", ".join(sorted(n for n in vars(tools) if isinstance(getattr(tools, n), self._sdk.EndEffector)))
            raise RobotError(f"robot.trossen.end_effector = {name!r}: the driver knows {known}")
        model = getattr(self._sdk.Model, self._config.model)
        self._call(self._driver.configure, model, tool, self._address, False, self._config.connect_timeout_s)

    def leave(self) -> None:
        """Brake the arm and let go of it. Harmless on an arm that was never taken."""
        self._call(self._driver.cleanup)

    def versions(self) -> tuple[str, str]:
        """Of the driver and of the firmware."""
        return self._call(self._driver.get_driver_version), self._call(self._driver.get_controller_version)

    def limits(self) -> ArmLimits:
        limits = self._call(self._driver.get_joint_limits)
        if len(limits) != N_ARM:
            raise RobotError(f"{self.arm}: has {len(limits)} joints, expected {N_ARM}; check the model")
        return ArmLimits(
            np.array([limit.position_min for limit in limits]),
            np.array([limit.position_max for limit in limits]),
            np.array([limit.velocity_max for limit in limits]),
        )

    def tool(self) -> tuple[list[float], list[float]]:
        """The values of the configured end effector, and those that the arm reports."""
        wanted = getattr(self._sdk.StandardEndEffector, self._config.end_effector)
        return _tool(wanted), _tool(self._call(self._driver.get_end_effector))

    def enter_position_mode(self) -> None:
        position = self._sdk.Mode.position
        self._call(self._driver.set_all_modes, position)
        modes = self._call(self._driver.get_modes)
        if any(mode != position for mode in modes):
            names = ", ".join(mode.name for mode in modes)
            raise RobotError(f"{self.arm}: not in position mode, but {names}; switch the arm off and on")

    def output(self) -> Output:
        """The newest state that the driver has; it may be an old one."""
        state = self._call(self._driver.get_robot_output)
        joints = state.joint.all
        return Output(
            number=state.header.id,
            stamp_us=state.header.timestamp,
            q=self._values(joints.positions),
            qd=self._values(joints.velocities),
            effort=self._values(joints.efforts),
            external_effort=self._values(joints.external_efforts),
            temperature=np.maximum(self._values(joints.rotor_temperatures), self._values(joints.driver_temperatures)),
        )

    def set_positions(self, q: Vector, qd: Vector | None, goal_time_s: float) -> None:
        """A new goal (rad, m), with the velocity there (rad/s, m/s) unless None; returns at once."""
        velocity = None if qd is None else self._vector(qd)
        self._call(self._driver.set_all_positions, self._vector(q), goal_time_s, False, velocity)

    def _values(self, vector: Any) -> Vector:
        if len(vector) != N_ARM:  # an empty one when the driver holds no arm
            raise RobotError(f"{self.arm}: a state has {len(vector)} joints, expected {N_ARM}; see the log")
        return np.fromiter(vector, np.float64, N_ARM)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except FAILURES as error:
            log.error("%s: %s", self.arm, " ".join(str(error).split()))  # noqa: TRY400  the device's words, whole
            raise RobotError(explain(self.arm, str(error), self._information)) from error


def _tool(tool: Any) -> list[float]:
    links = (tool.palm.mass, tool.finger_left.mass, tool.finger_right.mass)
    return [*links, tool.offset_finger_left, tool.offset_finger_right, tool.pitch_circle_radius, *tool.t_flange_tool]
