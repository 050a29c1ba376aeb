"""The configuration of robots and cameras that LeRobot drives: a type it knows, and that type's own table. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from controller.config_section import Section, Text
from controller.robots.base import JOINT_NAMES

Moves = Literal["connect", "disconnect"]

SIMULATED = "pi0sim"
"""The type of LeRobot robot that is our own simulated kit, so that cameras of kind sim have a world to show."""


class Units(Section):
    """What the numbers of the robot's features mean."""

    arm: Literal["rad", "deg"]
    """Of the six joints of an arm."""
    gripper: Literal["m", "mm"]
    """Of its gripper."""


class LerobotRobot(Section):
    """robot.kind = "lerobot": a robot by its type's name and settings."""

    type: Text
    """As LeRobot's own configurations name it, built in or of an installed plug-in."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The type's own settings, decoded by LeRobot itself."""
    names: dict[str, str] = Field(default_factory=dict)
    """Our joint = the robot's feature; a joint that is not named here is `<joint>.pos`."""
    units: Units | None = None
    """What the numbers of the robot's features mean; may be left out for types whose units are known
    (robots/lerobot_types.py)."""
    allow_moves: Annotated[tuple[Moves, ...], Field(strict=False)] = ()
    """Calls of LeRobot that may move the arms by themselves; anything else is refused, or not called."""

    @field_validator("names")
    @classmethod
    def _our_joints(cls, names: dict[str, str]) -> dict[str, str]:
        for joint in names:
            if joint not in JOINT_NAMES:
                raise ValueError(f"{joint!r} is no joint of ours; they are {', '.join(JOINT_NAMES)}")
        return names

    @field_validator("config")
    @classmethod
    def _joints_only(cls, config: dict[str, Any]) -> dict[str, Any]:
        if config.get("cameras"):
            raise ValueError("cameras would hold up the motor process; move them to [cameras], one process each")
        if "type" in config:
            raise ValueError("type stands beside config, not in it")
        return config


class LerobotCamera(Section):
    """cameras.NAME.kind = "lerobot": a camera by its type's name and settings."""

    type: Text
    """opencv, intelrealsense, or a plug-in's."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The type's own settings but for width, height and fps, which are the camera's width, height and rate_hz."""

    @field_validator("config")
    @classmethod
    def _said_once(cls, config: dict[str, Any]) -> dict[str, Any]:
        for key, ours in {"type": "type", "width": "width", "height": "height", "fps": "rate_hz"}.items():
            if key in config:
                raise ValueError(f"{key} stands outside of config, as {ours}")
        return config
