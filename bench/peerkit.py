"""The robot of `bench.peer_lerobot`, as LeRobot wants one: cameras that are always in time, a command is only noted.

LeRobot finds the class of a robot by its name, less "Config", in a module of that name. The interface is LeRobot's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig

from bench.frames import Frames
from controller.config_camera import CAMERA_NAMES
from controller.robots.base import JOINT_NAMES

JOINTS = tuple(f"{name}.pos" for name in JOINT_NAMES)


@RobotConfig.register_subclass("pi0bench")
@dataclass
class PeerKitConfig(RobotConfig):  # type: ignore[misc]
    """Nothing to choose."""


class PeerKit(Robot):  # type: ignore[misc]
    """Where it is commanded to be it is at once."""

    config_class = PeerKitConfig
    name = "pi0bench"

    def __init__(self, config: PeerKitConfig) -> None:
        super().__init__(config)
        self.cameras = dict.fromkeys(CAMERA_NAMES)
        self._frames = Frames()
        self._state = dict.fromkeys(JOINTS, 0.0)
        self.t_frame_ns = 0
        self.t_command_ns = 0

    @property
    def observation_features(self) -> dict[str, Any]:
        return dict.fromkeys(JOINTS, float) | dict.fromkeys(CAMERA_NAMES, self._frames.shape)

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(JOINTS, float)

    is_connected = is_calibrated = True

    def connect(self, calibrate: bool = True) -> None: ...

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def disconnect(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        pictures, self.t_frame_ns = self._frames.newest(time.monotonic_ns())
        return self._state | {name: np.asarray(picture) for name, picture in pictures.items()}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self._state = dict(action)
        self.t_command_ns = time.monotonic_ns()
        return action
